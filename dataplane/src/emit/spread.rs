//! Spreading frames over the queues of a receiver, so that the frames of a flow stay in order.

use arrayvec::ArrayVec;
use vhost::ring::BURST;

use super::Frames;
use crate::burst::Burst;

/// Queue pairs a port can have.
const MAX_PAIRS: usize = 16;

/// Groups of frames, each for one of the pairs whose bits are set in `open`.
pub(super) fn by_flow(burst: &Burst, frames: &[u8], open: u32) -> ArrayVec<(u16, Frames), MAX_PAIRS> {
    let mut pairs: ArrayVec<(u16, Frames), MAX_PAIRS> = ArrayVec::new();
    for pair in (0..MAX_PAIRS as u16).filter(|p| open >> p & 1 == 1) {
        pairs.push((pair, Frames::new()));
    }
    let count = pairs.len() as u64;
    for &i in frames {
        let hash = flow(burst.head(usize::from(i)));
        // The upper half of the product of a 32-bit hash and the count is evenly below the count.
        let chosen = ((hash >> 32) * count) >> 32;
        pairs[chosen as usize].1.push(i);
    }
    pairs.retain(|(_, frames)| !frames.is_empty());
    debug_assert!(pairs.iter().map(|p| p.1.len()).sum::<usize>() <= BURST);
    pairs
}

/// A number that is the same for all frames of a flow: both addresses, and both ports where every frame of the flow
/// shows them (TCP, UDP and SCTP that are not fragments), else the MAC addresses.
fn flow(head: &[u8]) -> u64 {
    let word = |at: usize| -> u64 {
        head.get(at..at + 8).map_or(0, |b| u64::from_le_bytes(b.try_into().expect("the slice has 8 bytes")))
    };
    let ports = |at: usize| -> u64 {
        head.get(at..at + 4).map_or(0, |b| u64::from(u32::from_le_bytes(b.try_into().expect("4 bytes"))))
    };
    let has_ports = |proto: Option<&u8>| matches!(proto, Some(6 | 17 | 132));
    let mix = |a: u64, b: u64| (a ^ b.rotate_left(32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    match head.get(12..14) {
        Some([0x08, 0x00]) => {
            let addresses = word(26);
            let plain = head.get(14) == Some(&0x45)
                && head.get(20..22).is_some_and(|f| f[0] & 0x3F == 0 && f[1] == 0)
                && has_ports(head.get(23));
            mix(addresses, if plain { ports(34) } else { 0 })
        }
        Some([0x86, 0xDD]) => {
            let addresses = mix(mix(word(22), word(30)), mix(word(38), word(46)));
            mix(addresses, if has_ports(head.get(20)) { ports(54) } else { 0 })
        }
        _ => mix(word(0), ports(8)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn udp(source: u8, port: u8, fragment: bool) -> Vec<u8> {
        let mut head = vec![0; 64];
        head[12..15].copy_from_slice(&[0x08, 0x00, 0x45]);
        head[23] = 17;
        head[20] = if fragment { 0x20 } else { 0x40 };
        head[29] = source;
        head[35] = port;
        head
    }

    #[test]
    fn flows_are_told_apart_and_stay_together() {
        assert_eq!(flow(&udp(1, 1, false)), flow(&udp(1, 1, false)));
        assert_ne!(flow(&udp(1, 1, false)), flow(&udp(1, 2, false)));
        assert_ne!(flow(&udp(1, 1, false)), flow(&udp(2, 1, false)));
        assert_eq!(flow(&udp(1, 1, true)), flow(&udp(1, 2, true)), "fragments show no ports");
        assert_eq!(flow(&[]), flow(&[]), "a frame too short for anything");
    }

    #[test]
    fn many_flows_reach_every_queue_evenly() {
        let mut counts = [0; 4];
        for source in 0..=255 {
            for port in 0..16 {
                counts[(((flow(&udp(source, port, false)) >> 32) * 4) >> 32) as usize] += 1;
            }
        }
        assert!(counts.iter().all(|c| (900..1150).contains(c)), "{counts:?}");
    }
}
