//! `net_af_packet` over a veth pair, and `net_tap`, in a network namespace of the test's own thread.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::Command;
use std::time::{Duration, Instant};

use dataplane::dpdk::{DpdkError, DpdkPort, DpdkPortConfig};
use dataplane::eal::Eal;

use super::frames::{build, open_with, pattern, receive, send};
use super::{life, process};

pub(crate) fn all(eal: &Eal) {
    // SAFETY: changes the namespace of this thread alone; it is the test's, and ends with it.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
        println!("SKIPPED: no network namespace of its own ({})", io::Error::last_os_error());
        return;
    }
    ip("link add sw0 type veth peer name peer0");
    for name in ["sw0", "peer0"] {
        ip(&format!("link set {name} addrgenmode none"));
        ip(&format!("link set {name} up"));
    }
    life::buffers_are_present(eal, "net_af_packet0,iface=sw0,framesz=16384,blocksz=16384,framecnt=64");
    let (used, files) = (life::settle(eal), process::open_files());
    frames_cross(eal, None, 1500, &[60, 61, 1000, 1514]);
    ip("link set peer0 mtu 9000");
    frames_cross(eal, Some(9000), 9000, &[60, 1514, 2048, 2049, 4100, 9000, 9014]);
    link_follows_the_interface(eal);
    two_queues_and_an_interface_that_vanishes(eal);
    if std::path::Path::new("/dev/net/tun").exists() {
        tap_passes_frames(eal);
    } else {
        println!("SKIPPED: net_tap, as there is no /dev/net/tun");
    }
    life::settled(eal, used);
    assert_eq!(process::open_files(), files, "a closed port left descriptors open");
}

fn tap_passes_frames(eal: &Eal) {
    let config = DpdkPortConfig { mtu: Some(4000), ..DpdkPortConfig::default() };
    let why = DpdkPort::open(eal, "large", "net_tap0,iface=sw1", &config);
    assert!(matches!(why, Err(DpdkError::Mtu { asked: 4000, most: 1500..=1504, .. })), "{why:?}");

    let (port, mut queues) = open_with(eal, "net_tap0,iface=sw1", &DpdkPortConfig::default());
    assert_eq!((port.driver(), port.mtu()), ("net_tap", 1500));
    assert!(port.link().up && !port.is_gone());
    let kernel = raw_socket("sw1");
    for (seed, length) in [60, 1000, 1514].into_iter().enumerate() {
        let bytes = ethernet(length, seed);
        let frame = build(&mut queues.tx, &bytes);
        send(&mut queues.tx, frame);
        assert_eq!(receive_raw(&kernel), bytes, "{length} bytes out");
        send_raw(&kernel, &bytes);
        // The kernel says hello on a new interface. And the driver reads only after a signal, which it counts
        // without care for threads: a frame whose signal comes beside another's can stay until the next frame.
        let mut nudges = 0;
        let received = loop {
            match receive(&mut queues.rx, 1).pop() {
                Some(other) if other[12..14] != bytes[12..14] => {}
                None if nudges < 3 => {
                    nudges += 1;
                    println!("  net_tap: {length} bytes stay in the kernel; another frame follows");
                    let mut nudge = ethernet(60, seed);
                    nudge[12..14].copy_from_slice(&[0x88, 0xb6]);
                    send_raw(&kernel, &nudge);
                }
                received => break received,
            }
        };
        assert_eq!(received, Some(bytes), "{length} bytes in");
    }
    drop((queues, kernel));
    port.close().unwrap();
}

fn frames_cross(eal: &Eal, mtu: Option<u16>, expected_mtu: u16, lengths: &[usize]) {
    let config = DpdkPortConfig { mtu, ..DpdkPortConfig::default() };
    let (port, mut queues) = open_with(eal, "net_af_packet0,iface=sw0", &config);
    println!("  af_packet at MTU {expected_mtu}: pool of {} KB", port.pool_bytes() >> 10);
    assert_eq!((port.driver(), port.mtu()), ("net_af_packet", expected_mtu));
    assert!(port.link().up);
    let peer = raw_socket("peer0");
    for (seed, &length) in lengths.iter().enumerate() {
        let bytes = ethernet(length, seed);
        let frame = build(&mut queues.tx, &bytes);
        send(&mut queues.tx, frame);
        assert_eq!(receive_raw(&peer), bytes, "{length} bytes out");
        send_raw(&peer, &bytes);
        assert_eq!(receive(&mut queues.rx, 1), [bytes], "{length} bytes in");
    }
    let count = lengths.len() as u64;
    let stats = port.stats();
    assert_eq!((stats.rx_frames, stats.tx_frames), (count, count));
    assert_eq!(port.mbufs_in_use(), 0);
    drop(queues);
    port.close().unwrap();
}

fn link_follows_the_interface(eal: &Eal) {
    let (port, queues) = open_with(eal, "net_af_packet0,iface=sw0", &DpdkPortConfig::default());
    for (change, up) in [("down", false), ("up", true)] {
        ip(&format!("link set peer0 {change}"));
        let deadline = Instant::now() + Duration::from_secs(2);
        while port.link().up != up {
            assert!(Instant::now() < deadline, "the link does not go {change}");
        }
    }
    drop(queues);
    port.close().unwrap();
}

fn two_queues_and_an_interface_that_vanishes(eal: &Eal) {
    let two = DpdkPortConfig { queue_pairs: 2, mtu: Some(1500), ..DpdkPortConfig::default() };
    let mut port = DpdkPort::open(eal, "two", "net_af_packet0,iface=sw0", &two).unwrap();
    assert_eq!(port.take_queues().len(), 2, "qpairs follows the queues asked for");
    let again = DpdkPort::open(eal, "again", "net_af_packet0,iface=peer0", &two);
    assert!(matches!(again, Err(DpdkError::InUse { .. })), "{again:?}");
    assert!(!port.is_gone());
    ip("link del sw0");
    assert!(port.is_gone() && !port.link().up);
    port.close().unwrap();
}

/// A frame with an EtherType that nothing on the machine answers to.
fn ethernet(length: usize, seed: usize) -> Vec<u8> {
    let mut bytes = pattern(length, seed);
    bytes[..14].copy_from_slice(&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5]);
    bytes
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().expect("iproute2 is installed");
    assert!(status.success(), "ip {arguments}");
}

fn raw_socket(interface: &str) -> OwnedFd {
    let protocol = 0x88b5u16.to_be();
    let name = std::ffi::CString::new(interface).unwrap();
    // SAFETY: plain system calls on structures of our own.
    unsafe {
        let socket = libc::socket(libc::AF_PACKET, libc::SOCK_RAW, i32::from(protocol));
        assert!(socket >= 0, "{}", io::Error::last_os_error());
        let socket = OwnedFd::from_raw_fd(socket);
        let mut address: libc::sockaddr_ll = std::mem::zeroed();
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = protocol;
        address.sll_ifindex = libc::if_nametoindex(name.as_ptr()) as i32;
        let size = size_of::<libc::sockaddr_ll>() as u32;
        assert_eq!(libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size), 0);
        let timeout = libc::timeval { tv_sec: 1, tv_usec: 0 };
        let size = size_of::<libc::timeval>() as u32;
        let set = libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVTIMEO,
            (&raw const timeout).cast(),
            size,
        );
        assert_eq!(set, 0);
        socket
    }
}

fn send_raw(socket: &OwnedFd, bytes: &[u8]) {
    // SAFETY: the slice is readable.
    let sent = unsafe { libc::send(socket.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) };
    assert_eq!(sent, bytes.len() as isize, "{}", io::Error::last_os_error());
}

/// The next frame that came from the other end, not one of this socket's own.
fn receive_raw(socket: &OwnedFd) -> Vec<u8> {
    let mut bytes = vec![0; 65_536];
    // SAFETY: the buffer is writable.
    let length = unsafe { libc::recv(socket.as_raw_fd(), bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    assert!(length >= 0, "nothing came: {}", io::Error::last_os_error());
    bytes.truncate(length as usize);
    bytes
}
