//! A pod: `dpdk-testpmd` with one virtio-user port towards the switch, and something behind it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use super::capture;
use super::console::Console;
use super::lab::Lab;
use super::wait;

/// Who creates the socket, said from the pod's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Server,
    Client,
}

/// What is behind the pod's port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Behind {
    /// It sends what [`Pod::send`] is given and records what it receives, a file a queue.
    Captures,
    /// It sends the same frames again and again, and records what it receives.
    Endless(Vec<Vec<u8>>),
    /// It sends every frame back, MAC addresses swapped; [`Pod::begin_loop`] sends the first ones to this MAC.
    Loop(String),
    /// It reads what it receives.
    Sink,
}

/// What a pod is made of.
#[derive(Clone, Debug)]
pub struct PodSpec {
    pub name: String,
    pub socket: PathBuf,
    pub mode: Mode,
    pub mac: String,
    pub queues: usize,
    /// Entries of each ring.
    pub ring: u32,
    pub mergeable: bool,
    pub in_order: bool,
    /// Bytes of a receive buffer, with 128 bytes of headroom.
    pub buffer: u32,
    /// CPUs of its forwarding thread.
    pub cpus: Vec<u32>,
    /// Gives way to everyone else on its CPUs, so that it fills a ring and then waits until others have worked.
    pub gives_way: bool,
    pub behind: Behind,
    /// Words that put it into its container; none: it runs beside us.
    pub within: Vec<String>,
    /// Words for its port, as it was told them in its container; none: they are made of the above.
    pub told: Vec<String>,
    /// Where its captures lie.
    pub directory: PathBuf,
    all_cpus: Vec<u32>,
}

/// Tells the files of pods of the same name apart (EAL's file prefix).
static NUMBER: AtomicU32 = AtomicU32::new(0);

impl PodSpec {
    /// A pod `name` with the MAC address 02:00:00:00:00:`number`, one queue pair, in server mode.
    #[must_use]
    pub fn new(lab: &Lab, name: &str, number: u8, behind: Behind) -> Self {
        let all_cpus: Vec<u32> = (0..lab.cpus()).map(|n| lab.cpu(n)).collect();
        Self {
            name: name.into(),
            socket: lab.path(&format!("{name}.sock")),
            mode: Mode::Server,
            mac: format!("02:00:00:00:00:{number:02x}"),
            queues: 1,
            ring: 1024,
            mergeable: true,
            in_order: true,
            buffer: 2176,
            cpus: all_cpus.clone(),
            gives_way: false,
            behind,
            within: Vec::new(),
            told: Vec::new(),
            directory: lab.directory().to_path_buf(),
            all_cpus,
        }
    }

    /// The file of what is sent on a queue.
    #[must_use]
    pub fn outgoing(&self, queue: usize) -> PathBuf {
        self.directory.join(format!("{}.{queue}.out.pcap", self.name))
    }

    /// The file of what was received on a queue.
    #[must_use]
    pub fn incoming(&self, queue: usize) -> PathBuf {
        self.directory.join(format!("{}.{queue}.in.pcap", self.name))
    }

    fn arguments(&self) -> Vec<String> {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let list = |cpus: &[u32]| cpus.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
        let lcores = format!("0@({}),1@({})", list(&self.all_cpus), list(&self.cpus));
        let buffers = self.buffers();
        let memory = (u64::from(buffers) * u64::from(self.buffer + 256)).div_ceil(1 << 20) + 24;
        let mut words: Vec<String> = ["--no-pci", "--in-memory", "--single-file-segments", "--no-telemetry"]
            .map(String::from)
            .to_vec();
        words.extend(["-m".into(), memory.next_multiple_of(2).to_string()]);
        words.extend(["--file-prefix".into(), format!("psw-{}-{number}", std::process::id())]);
        words.extend(["--lcores".into(), lcores]);
        if self.told.is_empty() {
            words.push(format!("--vdev={}", self.virtio_user()));
        }
        words.extend(self.told.iter().cloned());
        if !self.within.is_empty() {
            // Physical addresses are root's alone.
            words.push("--iova-mode=va".into());
        }
        words.extend(self.capture_devices());
        words.extend(["--", "-i", "--disable-link-check", "--no-flush-rx"].map(String::from));
        words.push(format!("--port-topology={}", if self.records() { "chained" } else { "loop" }));
        words.extend([format!("--rxq={}", self.queues), format!("--txq={}", self.queues)]);
        // Without these testpmd gives the driver 512 buffers, whatever the ring holds.
        words.extend([format!("--rxd={}", self.ring), format!("--txd={}", self.ring)]);
        words.extend([format!("--mbuf-size={}", self.buffer), format!("--total-num-mbufs={buffers}")]);
        match &self.behind {
            Behind::Captures | Behind::Endless(_) => {}
            Behind::Loop(peer) => {
                words.extend(["--forward-mode=macswap".into(), format!("--eth-peer=0,{peer}")]);
            }
            Behind::Sink => words.push("--forward-mode=rxonly".into()),
        }
        words
    }

    fn records(&self) -> bool {
        matches!(self.behind, Behind::Captures | Behind::Endless(_))
    }

    /// Both rings full of buffers, and what the capture devices and caches hold.
    fn buffers(&self) -> u32 {
        let queues = u32::try_from(self.queues).unwrap();
        2 * self.ring * queues + 3072
    }

    fn virtio_user(&self) -> String {
        let on = |flag: bool| u8::from(flag);
        let mut device = format!(
            "net_virtio_user0,path={},mac={},queues={},queue_size={},mrg_rxbuf={},in_order={},packed_vq=0",
            self.socket.display(),
            self.mac,
            self.queues,
            self.ring,
            on(self.mergeable),
            on(self.in_order),
        );
        if self.mode == Mode::Server {
            device.push_str(",server=1");
        }
        device
    }

    /// Port 1 records (transmit only), port 2 plays (receive only): chained forwarding takes 0 to 1 and 2 to 0.
    fn capture_devices(&self) -> Vec<String> {
        if !self.records() {
            return Vec::new();
        }
        let files = |word: &str, path: &dyn Fn(usize) -> PathBuf| {
            (0..self.queues).map(|q| format!(",{word}={}", path(q).display())).collect::<String>()
        };
        let endless = if matches!(self.behind, Behind::Endless(_)) { ",infinite_rx=1" } else { "" };
        vec![
            format!("--vdev=net_pcap1{}", files("tx_pcap", &|q| self.incoming(q))),
            format!("--vdev=net_pcap2{}{endless}", files("rx_pcap", &|q| self.outgoing(q))),
        ]
    }
}

/// Counters of one of testpmd's own ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PodStats {
    pub rx: u64,
    pub tx: u64,
}

/// A running pod.
#[derive(Debug)]
pub struct Pod {
    pub spec: PodSpec,
    console: Console,
    prepared: bool,
}

impl Pod {
    /// Starts it. In server mode it waits for the switch: [`Pod::ready`] returns once the switch has connected.
    pub fn launch(spec: &PodSpec) -> Self {
        let initial = match &spec.behind {
            Behind::Endless(frames) => frames.as_slice(),
            _ => &[],
        };
        for queue in 0..spec.queues {
            capture::write(&spec.outgoing(queue), initial);
        }
        Self {
            spec: spec.clone(),
            console: Console::spawn(&spec.within, &spec.arguments(), spec.gives_way),
            prepared: false,
        }
    }

    /// Waits until it takes commands and its forwarding runs.
    #[track_caller]
    pub fn ready(&mut self) {
        if self.prepared {
            return;
        }
        self.console.ready();
        if self.spec.records() {
            // A full ring holds the sender back instead of costing frames inside the pod.
            self.command("set fwd io retry");
            self.command("set burst tx delay 5 retry 200000");
        }
        self.prepared = true;
        if matches!(self.spec.behind, Behind::Captures | Behind::Sink) {
            self.start();
        }
    }

    /// Gives testpmd a command; gives what it printed.
    #[track_caller]
    pub fn command(&mut self, line: &str) -> String {
        self.console.command(line)
    }

    /// Begins forwarding.
    #[track_caller]
    pub fn start(&mut self) {
        self.command("start");
    }

    /// Ends forwarding.
    #[track_caller]
    pub fn stop(&mut self) {
        self.command("stop");
    }

    /// Begins to send the frames, a list a queue; gives the count of sent frames to wait for with [`Pod::sent`].
    #[track_caller]
    pub fn begin_send(&mut self, queues: &[Vec<Vec<u8>>]) -> u64 {
        assert_eq!(self.spec.behind, Behind::Captures);
        assert_eq!(queues.len(), self.spec.queues);
        self.ready();
        for (queue, frames) in queues.iter().enumerate() {
            capture::write(&self.spec.outgoing(queue), frames);
        }
        let before = self.stats(0).tx;
        self.stop();
        self.command("port stop 2");
        self.command("port start 2");
        self.start();
        before + queues.iter().map(|frames| frames.len() as u64).sum::<u64>()
    }

    /// Waits until it has put so many frames into its rings since its start.
    #[track_caller]
    pub fn sent(&mut self, count: u64) {
        let what = format!("pod {} to have sent {count} frames", self.spec.name);
        wait::until(&what, || (self.stats(0).tx >= count).then_some(()));
    }

    /// Sends the frames, a list a queue, and returns when the last one is in its ring.
    #[track_caller]
    pub fn send_on(&mut self, queues: &[Vec<Vec<u8>>]) {
        let count = self.begin_send(queues);
        self.sent(count);
    }

    /// As [`Pod::send_on`], on the first queue.
    #[track_caller]
    pub fn send(&mut self, frames: &[Vec<u8>]) {
        let mut queues = vec![Vec::new(); self.spec.queues];
        queues[0] = frames.to_vec();
        self.send_on(&queues);
    }

    /// Sends the first `bursts` of 32 frames of a closed loop.
    #[track_caller]
    pub fn begin_loop(&mut self, bursts: u32) {
        self.ready();
        self.command(&format!("start tx_first {bursts}"));
    }

    /// What it has received since its start, a list a queue.
    #[must_use]
    pub fn received_on(&self) -> Vec<Vec<Vec<u8>>> {
        (0..self.spec.queues).map(|queue| capture::read(&self.spec.incoming(queue))).collect()
    }

    /// As [`Pod::received_on`], all queues in one list.
    #[must_use]
    pub fn received(&self) -> Vec<Vec<u8>> {
        self.received_on().concat()
    }

    /// Counters of testpmd's port: 0 is the one towards the switch.
    #[track_caller]
    pub fn stats(&mut self, port: u32) -> PodStats {
        let text = self.command(&format!("show port stats {port}"));
        let number = |key: &str| -> u64 {
            let after = text.split(key).nth(1).unwrap_or_else(|| panic!("no {key} in {text}"));
            after.split_whitespace().next().unwrap().parse().unwrap()
        };
        PodStats { rx: number("RX-packets:"), tx: number("TX-packets:") }
    }

    /// Whether testpmd sees its link up.
    #[track_caller]
    pub fn link_up(&mut self) -> bool {
        self.command("show port info 0").contains("Link status: up")
    }

    /// What it has printed.
    #[must_use]
    pub fn text(&self) -> String {
        self.console.text()
    }

    /// Whether it still runs.
    pub fn alive(&mut self) -> bool {
        self.console.alive()
    }

    /// Ends it as its user would.
    pub fn quit(mut self) -> bool {
        self.console.quit()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.console.kill();
    }
}
