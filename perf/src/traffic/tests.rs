use std::collections::HashSet;

use super::*;

fn spec(size: Size, flows: u32, macs: u32) -> TrafficSpec {
    let macs = |last| Macs { first: Mac([2, 0, 0, 0, last, 0]), count: macs };
    TrafficSpec {
        size,
        flows,
        sources: macs(0),
        destinations: Macs { first: Mac([2, 1, 0, 0, 0, 0]), ..macs(0) },
        ..TrafficSpec::new(Mac([0; 6]), Mac([0; 6]))
    }
}

fn distinct<const N: usize>(table: &HeadTable, key: impl Fn(&[u8; 64]) -> [u8; N]) -> usize {
    table.heads().iter().map(|head| key(&head.0)).collect::<HashSet<_>>().len()
}

/// Addresses, ports and protocol.
fn tuple(head: &[u8; 64]) -> [u8; 13] {
    let mut tuple = [0; 13];
    tuple[..12].copy_from_slice(&head[26..38]);
    tuple[12] = head[23];
    tuple
}

#[test]
fn flows_and_addresses_are_as_many_as_asked_for() {
    for (flows, macs, shuffled) in
        [(1, 1, false), (7, 3, true), (1_000_000, 100_000, true), (1_000_000, 1, false)]
    {
        let table = HeadTable::new(&TrafficSpec { shuffled, ..spec(Size::Fixed(64), flows, macs) }).unwrap();
        assert_eq!(table.heads().len(), HeadTable::ENTRIES, "the sender's work is the same");
        assert_eq!(distinct(&table, tuple), flows as usize);
        assert_eq!(distinct::<6>(&table, |h| h[6..12].try_into().unwrap()), macs as usize);
        assert_eq!(distinct::<6>(&table, |h| h[..6].try_into().unwrap()), macs as usize);
    }
}

#[test]
fn an_order_by_chance_has_the_same_frames() {
    let make = |shuffled| {
        HeadTable::with_entries(&TrafficSpec { shuffled, ..spec(Size::Fixed(64), 4096, 64) }, 4096)
    };
    let (straight, mixed) = (make(false).unwrap(), make(true).unwrap());
    let set = |table: &HeadTable| table.heads().iter().map(|h| h.0).collect::<HashSet<_>>();
    assert_eq!(set(&straight), set(&mixed));
    let same = straight.heads().iter().zip(mixed.heads()).filter(|(a, b)| a.0 == b.0).count();
    assert!(same < 100, "{same} of 4096 frames are where they were");
}

#[test]
fn headers_are_right() {
    for (size, flow) in [(Size::Fixed(64), 1), (Size::Fixed(9000), 70_000), (Size::Imix, 1_000)] {
        let table = HeadTable::with_entries(&spec(size, flow, 5), 1 << 17).unwrap();
        for (i, head) in table.heads().iter().enumerate().step_by(97) {
            let (bytes, len) = (head.0, size.of(i));
            assert_eq!(head.frame_len(), u32::from(len));
            let words: u32 =
                (14..34).step_by(2).map(|at| u32::from(bytes[at]) << 8 | u32::from(bytes[at + 1])).sum();
            assert_eq!(
                (words >> 16) + (words & 0xffff),
                0xffff,
                "the header's sum with its checksum is all ones"
            );
            assert_eq!(bytes[12..15], [8, 0, 0x45]);
            assert_eq!(bytes[23], 17);
            assert_eq!(u16::from_be_bytes([bytes[38], bytes[39]]), len - 34);
            assert_eq!(bytes[MAGIC_AT..], MAGIC);
        }
    }
}

#[test]
fn imix_is_mixed_as_it_is_defined() {
    let count = |len| (0..48).filter(|&i| Size::Imix.of(i) == len).count();
    assert_eq!([count(64), count(570), count(1518)], [28, 16, 4]);
    let mean = (0..48).map(|i| f64::from(Size::Imix.of(i))).sum::<f64>() / 48.0;
    assert!((mean - Size::Imix.mean()).abs() < 1e-9);
}

#[test]
fn what_is_out_of_range_is_refused() {
    let small = |s: &TrafficSpec| HeadTable::with_entries(s, 16);
    assert!(matches!(small(&spec(Size::Fixed(63), 1, 1)), Err(TrafficError::Range { value: 63, .. })));
    assert!(matches!(small(&spec(Size::Fixed(9001), 1, 1)), Err(TrafficError::Range { .. })));
    assert!(matches!(small(&spec(Size::Fixed(64), 0, 1)), Err(TrafficError::Range { .. })));
    assert!(matches!(small(&spec(Size::Fixed(64), 17, 1)), Err(TrafficError::Range { .. })));
    assert!(matches!(small(&spec(Size::Fixed(64), 1, 0)), Err(TrafficError::Range { .. })));
    assert!(matches!(HeadTable::new(&spec(Size::Fixed(64), 1_000_001, 1)), Err(TrafficError::Range { .. })));
    assert!(HeadTable::with_entries(&spec(Size::Fixed(64), 1, 1), 15).is_err());
}

#[test]
fn addresses_read_and_count_on() {
    let mac: Mac = "02:00:00:00:00:ff".parse().unwrap();
    assert_eq!(mac.plus(1).to_string(), "02:00:00:00:01:00");
    assert_eq!("02:00:00:00:00".parse::<Mac>(), Err(NotAMac));
    assert_eq!("02:00:00:00:00:00:00".parse::<Mac>(), Err(NotAMac));
    assert_eq!("02:00:00:00:00:0".parse::<Mac>(), Err(NotAMac));
    assert_eq!("imix".parse(), Ok(Size::Imix));
    assert_eq!("1500".parse(), Ok(Size::Fixed(1500)));
    assert_eq!("63".parse::<Size>(), Err(NotASize));
}
