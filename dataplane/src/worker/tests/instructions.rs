//! The main paths of a worker, one after the other, laid out so that valgrind can count what a frame costs.
//!
//! As an ordinary test it only checks that each path is what its name says: every frame that goes in comes out, or
//! is dropped for the reason that was meant. Under `valgrind --tool=callgrind --collect-atstart=no` it switches
//! collecting on for the worker's turns alone and has the sum of each path written to a file of its own, which
//! `perf/instructions.sh` reads and compares with `perf/instructions.toml`. Guests live in memory, nothing runs
//! beside it, and no branch depends on a clock: the counts are the same on every run.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::*;

const BURST: usize = vhost::ring::BURST;
/// Bursts before counting: addresses are learned and hints are right.
const WARM_UP: usize = 8;
/// Bursts that are counted; a multiple of what is done only every so many visits.
const BURSTS: usize = 128;

/// One path: who is there, what the first guest sends in each burst, and what must become of it.
struct Path {
    name: &'static str,
    plans: Vec<Plan>,
    burst: Vec<Vec<u8>>,
    shape: Shape<'static>,
    /// Copies that each of the other guests receives of a burst, in buffers.
    buffers: usize,
    /// The reason for which the whole burst is dropped instead.
    dropped: Option<DropReason>,
}

impl Path {
    /// `fill` frames of `len` bytes from a port with a declared address to another.
    fn declared(name: &'static str, len: usize, fill: usize) -> Self {
        Self {
            name,
            plans: vec![owned(0), owned(1)],
            burst: vec![ipv4(mac(1), mac(0), len); fill],
            shape: PLAIN,
            buffers: fill,
            dropped: None,
        }
    }

    fn settings(mut self, settings: PortSettings) -> Self {
        self.plans[0].settings = settings;
        self
    }
}

/// An IPv4 frame with UDP, as a load generator sends it.
fn ipv4(to: MacAddr, from: MacAddr, len: usize) -> Vec<u8> {
    let mut bytes = frame(to, from, len);
    let total = (len as u16 - 14).to_be_bytes();
    bytes[12..34].copy_from_slice(&[
        8, 0, 0x45, 0, total[0], total[1], 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
    ]);
    bytes
}

/// An IPv6 frame with UDP.
fn ipv6(to: MacAddr, from: MacAddr, len: usize) -> Vec<u8> {
    let mut bytes = frame(to, from, len);
    let payload = (len as u16 - 54).to_be_bytes();
    bytes[12..22].copy_from_slice(&[0x86, 0xDD, 0x60, 0, 0, 0, payload[0], payload[1], 17, 64]);
    bytes[22..38].copy_from_slice(&V6.octets());
    bytes[38..54].copy_from_slice(&Ipv6Addr::new(0xFD00, 0, 0, 0, 0, 0, 0, 2).octets());
    bytes
}

const V4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const V6: Ipv6Addr = Ipv6Addr::new(0xFD00, 0, 0, 0, 0, 0, 0, 1);

fn paths() -> Vec<Path> {
    let trusted = PortSettings { trusted: true, ..PortSettings::default() };
    let limited = PortSettings {
        mac: Some(mac(0)),
        ips: vec![IpAddr::from(V4), IpAddr::from(V6)],
        ..PortSettings::default()
    };
    let sources = |n: usize| (0..BURST).map(|i| ipv4(mac(1), mac(1000 + i % n), 64)).collect();
    vec![
        Path::declared("declared_64", 64, BURST),
        Path::declared("declared_1500", 1500, BURST),
        Path { buffers: 5 * BURST, ..Path::declared("declared_9000", 9000, BURST) },
        Path::declared("declared_64_burst_4", 64, 4),
        Path::declared("declared_64_burst_1", 64, 1),
        Path { shape: Shape::HEADER_APART, ..Path::declared("declared_64_two_descriptors", 64, BURST) },
        Path { shape: Shape::INDIRECT, ..Path::declared("declared_64_indirect", 64, BURST) },
        Path::declared("adopted_64", 64, BURST).settings(PortSettings::default()),
        Path::declared("trusted_64_1_source", 64, BURST).settings(trusted.clone()),
        Path { burst: sources(32), ..Path::declared("trusted_64_32_sources", 64, BURST) }.settings(trusted),
        Path::declared("declared_ips_64_ipv4", 64, BURST).settings(limited.clone()),
        Path {
            burst: vec![ipv6(mac(1), mac(0), 64); BURST],
            ..Path::declared("declared_ips_64_ipv6", 64, BURST)
        }
        .settings(limited),
        Path {
            plans: (0..5).map(owned).collect(),
            burst: (0..BURST).map(|i| ipv4(mac(1 + i % 4), mac(0), 64)).collect(),
            buffers: BURST / 4,
            ..Path::declared("declared_64_to_4_ports", 64, BURST)
        },
        Path {
            plans: (0..5).map(owned).collect(),
            burst: vec![ipv4(MacAddr([0xFF; 6]), mac(0), 64); BURST],
            ..Path::declared("broadcast_64_to_4_ports", 64, BURST)
        },
        Path {
            burst: vec![ipv4(mac(1), mac(7), 64); BURST],
            buffers: 0,
            dropped: Some(DropReason::MacSpoofed),
            ..Path::declared("spoofed_64", 64, BURST)
        },
    ]
}

#[test]
fn paths_are_what_their_names_say() {
    for path in paths() {
        run(&path);
    }
    poll_empty_ports("empty_poll", 64);
}

/// Warms a path up, counts it, and checks what came of it.
fn run(path: &Path) {
    let mut world = World::new(&path.plans.iter().map(roomy).collect::<Vec<_>>());
    let level = world.ground.level;
    world.with_turns(|turns, guests| {
        counted_turn(level, turns);
        for burst in 0..WARM_UP + BURSTS {
            for frame in &path.burst {
                guests[0].transmit.send(frame, path.shape).unwrap();
            }
            guests[0].transmit.publish();
            if burst < WARM_UP {
                counted_turn(level, turns);
            } else {
                valgrind::collecting(|| counted_turn(level, turns));
            }
            assert_eq!(guests[0].transmit.reap(), path.burst.len(), "{}", path.name);
            for guest in &mut guests[1..] {
                assert_eq!(guest.receive.discard(), path.buffers, "{}", path.name);
                guest.receive.publish();
            }
            assert_eq!(guests[0].receive.discard(), 0, "{}", path.name);
        }
        let sent = ((WARM_UP + BURSTS) * path.burst.len()) as u64;
        let expected: Vec<(DropReason, u64)> =
            path.dropped.map(|reason| (reason, sent)).into_iter().collect();
        assert_eq!(guests[0].counters().drops, expected, "{}", path.name);
    });
    valgrind::report(path.name, BURSTS * path.burst.len(), level);
}

/// Turns that find nothing: what a visit to an idle port costs, its share of the turn included.
fn poll_empty_ports(name: &str, ports: usize) {
    let mut world = World::new(&(0..ports).map(owned).map(|p| Plan { entries: 8, ..p }).collect::<Vec<_>>());
    let level = world.ground.level;
    world.with_turns(|turns, _| {
        counted_turn(level, turns);
        for _ in 0..BURSTS {
            valgrind::collecting(|| assert_eq!(counted_turn(level, turns), 0));
        }
    });
    valgrind::report(name, BURSTS * ports, level);
}

fn roomy(plan: &Plan) -> Plan {
    Plan { frame_len: 9216, ..plan.clone() }
}

/// One turn, as the product's loop runs it but for the clock.
#[inline(never)]
fn counted_turn(level: CopyLevel, turns: &mut Turns<'_>) -> usize {
    dispatch(level, OneTurn(turns))
}
