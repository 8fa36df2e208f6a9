//! A client that disconnects at any point of the handshake leaves no descriptor, mapping or thread behind.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::support::lab::Lab;
use crate::support::switch::{Setup, Switch};
use crate::support::{wait, watch};

/// The beginning of what virtio-user says, message by message: number, payload (vhost-user, "Front-end message types").
fn opening() -> Vec<u8> {
    let state = |index: u32, number: u32| [index.to_ne_bytes(), number.to_ne_bytes()].concat();
    let messages: [(u32, Vec<u8>); 9] = [
        (3, vec![]),                                   // SET_OWNER
        (1, vec![]),                                   // GET_FEATURES
        (15, vec![]),                                  // GET_PROTOCOL_FEATURES
        (16, 0x9_u64.to_ne_bytes().to_vec()),          // SET_PROTOCOL_FEATURES: MQ, REPLY_ACK
        (17, vec![]),                                  // GET_QUEUE_NUM
        (2, 0x1_4000_0000_u64.to_ne_bytes().to_vec()), // SET_FEATURES: VERSION_1, PROTOCOL_FEATURES
        (8, state(0, 256)),                            // SET_VRING_NUM
        (10, state(0, 0)),                             // SET_VRING_BASE
        (18, state(0, 1)),                             // SET_VRING_ENABLE
    ];
    let mut bytes = Vec::new();
    for (number, payload) in messages {
        bytes.extend(number.to_ne_bytes());
        bytes.extend(1_u32.to_ne_bytes());
        bytes.extend(u32::try_from(payload.len()).unwrap().to_ne_bytes());
        bytes.extend(payload);
    }
    bytes
}

#[test]
fn a_client_that_leaves_at_any_byte_leaves_nothing_behind() {
    let Some(lab) = Lab::open() else { return };
    let switch = Switch::start(&lab, Setup::new(&lab, 1));
    switch.cli().ok(&["network", "add", "net"]);
    let socket = lab.path("a.sock");
    let path = socket.display().to_string();
    switch.cli().ok(&["port", "add", "a", "--network", "net", "--vhost-user", &path, "--mode", "client"]);
    let bytes = opening();
    let meet = |length: usize| {
        let mut client = wait::until("the switch to take a client", || UnixStream::connect(&socket).ok());
        client.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        // The switch may have closed already: then there is nothing to leave behind.
        let _ = client.write_all(&bytes[..length]);
        let _ = client.read(&mut [0; 64]);
    };
    let count = || {
        let pid = switch.pid();
        (watch::descriptors(pid), watch::mappings(pid), watch::thread_count(pid))
    };
    // What is made on the first use stays.
    (0..20).for_each(|_| meet(bytes.len()));
    let before = wait::settled(Duration::from_millis(500), count);
    for length in 0..=bytes.len() {
        meet(length);
    }
    let after = wait::settled(Duration::from_millis(500), count);
    assert!(
        after.0 <= before.0 && after.1 <= before.1 + 2 && after.2 <= before.2,
        "descriptors, mappings, threads: {before:?} before, {after:?} after"
    );
}
