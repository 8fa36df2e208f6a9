//! Records what a vhost-user frontend sends: `record listen|connect SOCKET PAIRS FILE`.
//!
//! It answers as the device does (the features that it offers, every request done) and moves no frame. Each
//! message becomes a line: `>` from the frontend or `<` from here, the bytes in hexadecimal, the kinds of the
//! descriptors beside it, and the request's name for people. `close` stands where the frontend hung up. The
//! recording ends after eight seconds without a message. A connection after the first is appended to the file.
#![allow(clippy::print_stderr, reason = "a command line tool")]

use std::fs::OpenOptions;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use vhost::driver::wire;
use vhost::features::{Features, ProtocolFeatures};
use vhost::message::{HEADER_LEN, Header, Message, Reply, ReplyBody, VringState};

const QUIET: Duration = Duration::from_secs(8);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().collect();
    let [_, mode, socket, pairs, file] = args.as_slice() else {
        return Err("usage: record listen|connect SOCKET PAIRS FILE".into());
    };
    let stream = match mode.as_str() {
        "listen" => UnixListener::bind(socket)?.accept()?.0,
        "connect" => connect(socket)?,
        _ => return Err("the mode is listen or connect".into()),
    };
    stream.set_read_timeout(Some(QUIET))?;
    let out = OpenOptions::new().create(true).append(true).open(file)?;
    Recorder { stream, out, pairs: pairs.parse()?, protocol: ProtocolFeatures::empty(), status: 0 }.run()
}

fn connect(socket: &str) -> std::io::Result<UnixStream> {
    for _ in 0..200 {
        if let Ok(stream) = UnixStream::connect(socket) {
            return Ok(stream);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    UnixStream::connect(socket)
}

struct Recorder {
    stream: UnixStream,
    out: std::fs::File,
    pairs: u64,
    protocol: ProtocolFeatures,
    status: u64,
}

impl Recorder {
    fn run(mut self) -> Result<(), Box<dyn std::error::Error>> {
        loop {
            let mut header = [0; HEADER_LEN];
            let mut descriptors = Vec::new();
            match wire::receive(&self.stream, &mut header, &mut descriptors) {
                Ok(true) => {}
                Ok(false) => return Ok(writeln!(self.out, "close")?),
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e.into()),
            }
            let parsed = Header::parse_request(&header)?;
            let mut payload = vec![0; parsed.size as usize];
            wire::receive(&self.stream, &mut payload, &mut descriptors)?;
            let message = Message::parse(&parsed, &payload);
            let kinds: Vec<String> = descriptors.iter().map(kind).collect();
            let fds = if kinds.is_empty() { "-".into() } else { kinds.join(",") };
            let name = message.as_ref().map_or("?".into(), |m| format!("{:?}", m.request()));
            writeln!(self.out, "> {}{} {fds} {name}", hex(&header), hex(&payload))?;
            let body = match message {
                Ok(message) => self.answer(&message, parsed.need_reply()),
                Err(error) => {
                    eprintln!("{error}");
                    parsed.need_reply().then_some(ReplyBody::Number(1))
                }
            };
            if let Some(body) = body {
                let reply = Reply { request: parsed.request, body }.encode();
                writeln!(self.out, "< {} - {name}", hex(&reply))?;
                wire::send(&self.stream, &reply, &[])?;
            }
        }
    }

    fn answer(&mut self, message: &Message, need_reply: bool) -> Option<ReplyBody> {
        let number = match message {
            Message::GetFeatures => Features::OFFERED.bits(),
            Message::GetProtocolFeatures => ProtocolFeatures::OFFERED.bits(),
            Message::GetQueueNum => self.pairs,
            Message::GetMaxMemSlots => 509,
            Message::GetStatus => self.status,
            Message::GetVringBase(ring) => {
                return Some(ReplyBody::Vring(VringState { index: ring.index, num: 0 }));
            }
            Message::SetProtocolFeatures(bits) => {
                self.protocol = ProtocolFeatures::from_bits_truncate(*bits);
                0
            }
            Message::SetStatus(status) => {
                self.status = *status;
                0
            }
            _ => 0,
        };
        let asks = matches!(
            message,
            Message::GetFeatures
                | Message::GetProtocolFeatures
                | Message::GetQueueNum
                | Message::GetMaxMemSlots
                | Message::GetStatus
        );
        let acknowledged = need_reply && self.protocol.contains(ProtocolFeatures::REPLY_ACK);
        (asks || acknowledged).then_some(ReplyBody::Number(number))
    }
}

/// `memory` with the file's size, `eventfd`, or what the kernel calls it.
fn kind(descriptor: &OwnedFd) -> String {
    let link = std::fs::read_link(format!("/proc/self/fd/{}", descriptor.as_raw_fd()));
    let name = link.map(|path| path.display().to_string()).unwrap_or_default();
    if name == "anon_inode:[eventfd]" {
        return "eventfd".into();
    }
    match descriptor.try_clone().map(std::fs::File::from).and_then(|file| file.metadata()) {
        Ok(metadata) if metadata.is_file() => format!("memory:{}", metadata.len()),
        _ => name.replace([' ', ','], "_"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
