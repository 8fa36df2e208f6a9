//! Network namespaces with a veth pair each: what a wire looks like without one.

use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A namespace with one interface `eth0`, whose other end stays outside as [`Netns::outside`].
#[derive(Debug)]
pub struct Netns {
    name: String,
    /// The end outside, for the switch.
    pub outside: String,
}

impl Netns {
    /// With this address (with its length) on `eth0`. Checksums are computed by the kernel on both ends, since
    /// nothing between them completes an offload.
    #[must_use]
    pub fn new(address: &str) -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let id = std::process::id();
        let lab =
            Self { name: format!("psw-{id}-{number}"), outside: format!("psw{}o{number}", id % 1_000_000) };
        let inside = format!("psw{}i{number}", id % 1_000_000);
        ip(&["netns", "add", &lab.name]);
        ip(&["link", "add", &lab.outside, "type", "veth", "peer", "name", &inside]);
        ip(&["link", "set", &inside, "netns", &lab.name, "name", "eth0"]);
        // A packet socket also sees what the host itself sends from there: with an IPv6 address of its own the host
        // would be the first source on the port, whose MAC the port then adopts.
        ip(&["link", "set", &lab.outside, "addrgenmode", "none"]);
        lab.ok(&["ip", "address", "add", address, "dev", "eth0", "nodad"]);
        lab.ok(&[
            "ethtool", "-K", "eth0", "tx", "off", "rx", "off", "tso", "off", "gso", "off", "gro", "off",
        ]);
        run(
            "ethtool",
            &["-K", &lab.outside, "tx", "off", "rx", "off", "tso", "off", "gso", "off", "gro", "off"],
        );
        lab.ok(&["ip", "link", "set", "lo", "up"]);
        lab.ok(&["ip", "link", "set", "eth0", "up"]);
        ip(&["link", "set", &lab.outside, "up"]);
        lab
    }

    /// A command to be run inside.
    #[must_use]
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).args(words);
        command
    }

    /// Runs a command inside, to its end.
    pub fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    #[track_caller]
    fn ok(&self, words: &[&str]) {
        let output = self.run(words);
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["link", "del", &self.outside]).output();
        let _ = Command::new("ip").args(["netns", "del", &self.name]).output();
    }
}

#[track_caller]
fn ip(words: &[&str]) {
    run("ip", words);
}

#[track_caller]
fn run(program: &str, words: &[&str]) {
    let output = Command::new(program).args(words).output().unwrap();
    assert!(output.status.success(), "{program} {words:?}: {}", String::from_utf8_lossy(&output.stderr));
}
