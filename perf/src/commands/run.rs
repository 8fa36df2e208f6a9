//! `run`: load between any two vhost-user sockets.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use perf::clock::pin;
use perf::load::{Load, Outcome, Pace, Stream, run};
use perf::pod::{Mode, Pod, PodConfig};
use perf::traffic::{HeadTable, Mac, Macs, Size, Touch, TrafficSpec};

use super::show::{self, Format};

/// Load between two sockets, both ways.
#[derive(Args, Debug)]
pub(crate) struct Run {
    /// The socket of a pod; give it twice.
    #[arg(long = "socket", required = true, num_args = 1)]
    sockets: Vec<PathBuf>,
    /// Who creates the sockets: `server`, this program; `client`, the switch.
    #[arg(long, default_value = "server")]
    mode: ModeName,
    #[command(flatten)]
    traffic: Traffic,
    /// Seconds to wait for the switch.
    #[arg(long, default_value_t = 30.0)]
    wait: f64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ModeName {
    Server,
    Client,
}

/// What is sent, and how.
#[derive(Args, Debug)]
pub(crate) struct Traffic {
    /// Bytes of a frame (64 to 9000), or `imix`.
    #[arg(long, default_value = "64")]
    size: Size,
    /// UDP flows each way, 1 to 1,000,000.
    #[arg(long, default_value_t = 1)]
    flows: u32,
    /// MAC addresses behind each pod, 1 to 100,000.
    #[arg(long, default_value_t = 1)]
    macs: u32,
    /// Frames a second, both ways together; without it as fast as the rings take them.
    #[arg(long)]
    rate: Option<f64>,
    /// Seconds measured, after a tenth of a second to warm up.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Entries of a ring, a power of two.
    #[arg(long, default_value_t = 1024)]
    ring: u16,
    /// Frames at once, 1 to 64.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=64))]
    burst: u16,
    /// What sender and receiver touch of a frame: its first line, or all.
    #[arg(long, default_value = "head")]
    touch: TouchName,
    /// Frames carry the time, and latency is shown.
    #[arg(long)]
    stamps: bool,
    /// Flows in random order.
    #[arg(long)]
    shuffled: bool,
    /// One way only.
    #[arg(long)]
    one_way: bool,
    /// The generator's CPU.
    #[arg(long, default_value_t = 0)]
    pub(crate) cpu: u32,
    /// Ordinary pages instead of huge ones.
    #[arg(long)]
    no_huge: bool,
    /// How to print.
    #[arg(short, long, default_value = "table")]
    pub(crate) output: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum TouchName {
    Head,
    Full,
}

impl Traffic {
    pub(crate) fn pod(&self, socket: PathBuf, mode: Mode) -> anyhow::Result<PodConfig> {
        if !self.ring.is_power_of_two() {
            bail!("a ring has a power of two of entries, not {}", self.ring);
        }
        let room = self.size.longest().into();
        Ok(PodConfig {
            mode,
            ring: self.ring,
            frame_room: room,
            huge: !self.no_huge,
            ..PodConfig::new(socket)
        })
    }

    fn spec(&self, from: u8, to: u8) -> TrafficSpec {
        let macs = |pod| Macs { first: Mac([2, pod, 0, 0, 0, 1]), count: self.macs };
        TrafficSpec {
            size: self.size,
            flows: self.flows,
            sources: macs(from),
            destinations: macs(to),
            touch: match self.touch {
                TouchName::Head => Touch::Head,
                TouchName::Full => Touch::Full,
            },
            stamps: self.stamps,
            shuffled: self.shuffled,
        }
    }

    /// Runs the load between two pods on this thread.
    pub(crate) fn drive(&self, pods: &mut [Pod; 2], learn: bool) -> anyhow::Result<Outcome> {
        let specs = [self.spec(1, 2), self.spec(2, 1)];
        let tables = [HeadTable::new(&specs[0])?, HeadTable::new(&specs[1])?];
        let stream = |i: usize| Stream { from: i, to: 1 - i, heads: &tables[i], spec: &specs[i] };
        let streams = if self.one_way { vec![stream(0)] } else { vec![stream(0), stream(1)] };
        let load = Load {
            pace: self.rate.map_or(Pace::Closed, Pace::Rate),
            window: Duration::try_from_secs_f64(self.seconds).context("the number of seconds")?,
            burst: self.burst,
            learn,
            ..Load::new(streams)
        };
        pin(self.cpu).with_context(|| format!("CPU {}", self.cpu))?;
        Ok(run(pods, &load))
    }
}

impl Run {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let [one, other] = self.sockets.as_slice() else { bail!("two sockets are needed") };
        let mode = match self.mode {
            ModeName::Server => Mode::Server,
            ModeName::Client => Mode::Client,
        };
        let open = |socket: &PathBuf| -> anyhow::Result<Pod> {
            let mut config = self.traffic.pod(socket.clone(), mode)?;
            config.timeout = Duration::try_from_secs_f64(self.wait).context("the time to wait")?;
            Ok(match mode {
                Mode::Server => Pod::listen(&config)?,
                Mode::Client => Pod::connect(&config)?,
            })
        };
        let mut pods = [open(one)?, open(other)?];
        if mode == Mode::Server {
            pods.iter_mut().try_for_each(Pod::accept)?;
        }
        let features = pods[0].features();
        let outcome = self.traffic.drive(&mut pods, true)?;
        show::outcome(&outcome, Some(features), self.traffic.output)
    }
}
