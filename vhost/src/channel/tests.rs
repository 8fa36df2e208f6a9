use std::io::{IoSlice, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage};

use super::*;
use crate::message::{Message, ReplyBody, Request};

const PATIENCE: Duration = Duration::from_secs(5);

fn pair() -> (UnixStream, Channel) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (theirs, Channel::new(TenantFd::from(OwnedFd::from(ours)), PATIENCE))
}

fn send_fds(to: &UnixStream, bytes: &[u8], count: usize) {
    let (pipe, _) = io::pipe().unwrap();
    let fds = vec![pipe.as_fd(); count];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(KERNEL_MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
    let sent = rustix::net::sendmsg(to, &[IoSlice::new(bytes)], &mut control, SendFlags::empty()).unwrap();
    assert_eq!(sent, bytes.len());
}

#[test]
fn a_message_in_single_bytes_comes_whole() {
    let (mut peer, mut channel) = pair();
    let message = Message::SetFeatures(0x1234);
    let bytes = message.encode(true);
    let now = Instant::now();
    for byte in &bytes[..bytes.len() - 1] {
        peer.write_all(&[*byte]).unwrap();
        assert!(channel.receive(now).unwrap().is_none());
    }
    assert_eq!(channel.deadline(), Some(now + PATIENCE));
    peer.write_all(&bytes[bytes.len() - 1..]).unwrap();
    let envelope = channel.receive(now).unwrap().unwrap();
    assert_eq!(Message::parse(&envelope.header, &envelope.payload), Ok(message));
    assert_eq!(channel.deadline(), None);
    assert!(channel.receive(now).unwrap().is_none());
}

#[test]
fn messages_sent_together_come_apart() {
    let (mut peer, mut channel) = pair();
    let mut bytes = Vec::new();
    for n in 0..100 {
        bytes.extend(Message::SetFeatures(n).encode(false));
    }
    peer.write_all(&bytes).unwrap();
    for n in 0..100 {
        let envelope = channel.receive(Instant::now()).unwrap().unwrap();
        assert_eq!(Message::parse(&envelope.header, &envelope.payload), Ok(Message::SetFeatures(n)));
    }
}

#[test]
fn descriptors_stay_with_their_message() {
    let (peer, mut channel) = pair();
    send_fds(&peer, &Message::GetFeatures.encode(false), 8);
    send_fds(&peer, &Message::SetOwner.encode(false), 1);
    let now = Instant::now();
    assert_eq!(channel.receive(now).unwrap().unwrap().fds.len(), 8);
    assert_eq!(channel.receive(now).unwrap().unwrap().fds.len(), 1);
}

#[test]
fn surplus_descriptors_end_the_connection() {
    for count in [9, 64, KERNEL_MAX_FDS] {
        let (peer, mut channel) = pair();
        send_fds(&peer, &Message::GetFeatures.encode(false), count);
        let error = channel.receive(Instant::now()).unwrap_err();
        assert!(matches!(error, ChannelError::Descriptors), "{error}");
        assert_eq!(error.fault(), Some(Fault::ProtocolViolation));
    }
}

#[test]
fn descriptors_sent_with_every_byte_end_the_connection() {
    let (peer, mut channel) = pair();
    let bytes = Message::GetFeatures.encode(false);
    for byte in &bytes[..9] {
        send_fds(&peer, &[*byte], 1);
    }
    assert!(matches!(channel.receive(Instant::now()), Err(ChannelError::Descriptors)));
}

#[test]
fn a_bad_header_ends_the_connection_at_once() {
    let (mut peer, mut channel) = pair();
    peer.write_all(&Header { request: 1, flags: 1, size: u32::MAX }.to_bytes()).unwrap();
    assert!(matches!(channel.receive(Instant::now()), Err(ChannelError::Header(_))));
}

#[test]
fn a_peer_that_leaves_is_no_fault() {
    let (mut peer, mut channel) = pair();
    peer.write_all(&Message::SetFeatures(0).encode(false)[..13]).unwrap();
    assert!(!channel.is_hung_up());
    drop(peer);
    assert!(channel.is_hung_up());
    let error = channel.receive(Instant::now()).unwrap_err();
    assert!(matches!(error, ChannelError::Closed));
    assert_eq!(error.fault(), None);
}

#[test]
fn half_a_message_has_a_deadline() {
    let (mut peer, mut channel) = pair();
    let start = Instant::now();
    channel.check_deadline(start + PATIENCE).unwrap();
    peer.write_all(&[1]).unwrap();
    channel.receive(start).unwrap();
    // More bytes later do not move it.
    peer.write_all(&[0]).unwrap();
    channel.receive(start + PATIENCE / 2).unwrap();
    channel.check_deadline(start + PATIENCE / 2).unwrap();
    assert!(matches!(channel.check_deadline(start + PATIENCE), Err(ChannelError::Deadline)));
}

#[test]
fn replies_that_nobody_reads_stay_bounded() {
    let (mut peer, mut channel) = pair();
    let reply = Reply { request: Request::GetFeatures as u32, body: ReplyBody::Number(7) };
    let start = Instant::now();
    while !channel.is_stalled() {
        channel.send(&reply, start).unwrap();
    }
    assert!(matches!(channel.check_deadline(start + PATIENCE), Err(ChannelError::Deadline)));
    let mut sink = [0; 4096];
    peer.read_exact(&mut sink).unwrap();
    channel.flush(start).unwrap();
    while channel.send(&reply, start).is_ok() {}
    assert!(channel.output.len() <= OUTPUT);
}
