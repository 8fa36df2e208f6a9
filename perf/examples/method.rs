//! One method alone, on podswitch: `cargo run --release -p perf --example method -- NAME [PODSWITCHD]`.
//!
//! For whoever works on one of them and does not want the whole benchmark. Load on CPU 0, switch on CPU 1.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use perf::clock::pin;
use perf::load::Load;
use perf::methods::bed::{Bed, BedPlan, PairTables};
use perf::methods::ports::Spread;
use perf::methods::restart::End;
use perf::methods::scale::Crowd;
use perf::methods::search::{NDR_AND_PDR, Offered, Settings, search};
use perf::methods::{latency, ports, reconfigure, restart, saturation, scale};
use perf::peers::{Cpus, Podswitch};
use perf::traffic::{HeadTable, Size, TrafficSpec};

const METHODS: &str = "saturation, search, latency, reconfigure, restart, flows, macs, crowd, ports, chains";

struct Runner {
    podswitch: Podswitch,
    cpus: Cpus,
}

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let method = arguments.next().with_context(|| format!("name a method: {METHODS}"))?;
    let daemon = arguments.next().map(PathBuf::from).or_else(Podswitch::beside_us);
    let daemon = daemon.context("podswitchd is not beside this program: name its path")?;
    let all = std::fs::read_to_string("/sys/devices/system/cpu/online")?;
    let runner = Runner { podswitch: Podswitch::new(&daemon), cpus: Cpus::new(0, 1, all.trim())? };
    pin(runner.cpus.load)?;
    match method.as_str() {
        "saturation" => runner.saturation(),
        "search" => runner.search(),
        "latency" => runner.latency(),
        "reconfigure" => runner.reconfigure(),
        "restart" => runner.restart(),
        "flows" => runner.flows(),
        "macs" => runner.macs(),
        "crowd" => runner.crowd(),
        "ports" => runner.ports(),
        "chains" => runner.chains(),
        other => bail!("no method {other}: {METHODS}"),
    }
}

impl Runner {
    fn pair(&self) -> anyhow::Result<Bed> {
        Ok(Bed::open(&self.podswitch, &BedPlan::pairs(2), &self.cpus)?)
    }

    fn saturation(&self) -> anyhow::Result<()> {
        let mut bed = self.pair()?;
        for size in [Size::Fixed(64), Size::Fixed(1500), Size::Fixed(9000), Size::Imix] {
            let tables = PairTables::new(2, size)?;
            for _ in 0..3 {
                let round = saturation::saturation(&mut *bed.switch, &mut bed.pods, &tables.load())?;
                show(&format!("{size:?}"), &round);
            }
        }
        Ok(())
    }

    fn search(&self) -> anyhow::Result<()> {
        let mut bed = self.pair()?;
        let tables = PairTables::new(2, Size::Fixed(64))?;
        let most = saturation::saturation(&mut *bed.switch, &mut bed.pods, &tables.load())?;
        show("closed loop", &most);
        let settings = Settings::quick(most.mfps * 1.1e6);
        for _ in 0..3 {
            let found =
                search(&mut Offered { pods: &mut bed.pods, load: tables.load() }, &settings, &NDR_AND_PDR)?;
            println!("{found:?}");
        }
        Ok(())
    }

    fn latency(&self) -> anyhow::Result<()> {
        let mut bed = self.pair()?;
        let table = |from: usize| {
            let (source, destination) = (perf::methods::bed::mac(from), perf::methods::bed::mac(from ^ 1));
            HeadTable::new(&TrafficSpec { stamps: true, ..TrafficSpec::new(source, destination) })
        };
        let tables = [table(0)?, table(1)?];
        let stream = |(from, heads): (usize, _)| stream(from, heads);
        let load = Load::new(tables.iter().enumerate().map(stream).collect());
        let most = saturation::saturation(&mut *bed.switch, &mut bed.pods, &load)?;
        show("closed loop", &most);
        for share in latency::SHARES {
            let at = (share, most.mfps * 0.8e6);
            let point = latency::latency(&*bed.switch, &mut bed.pods, &load, at, &self.cpus)?;
            print!("{:>4.0} % of {:.2} Mfps:", share * 100.0, at.1 / 1e6);
            for (name, p) in latency::QUANTILE_NAMES.iter().zip(&point.percentiles) {
                let trusted = if p.trusted_ns().is_some() { "" } else { " (machine)" };
                print!("  {name} {:.1} us / {:.1}{trusted}", p.measured_ns / 1e3, p.hiccup_ns / 1e3);
            }
            println!("  lost {} short {:.6}", point.outcome.lost, point.outcome.short_of_pace);
        }
        Ok(())
    }

    fn reconfigure(&self) -> anyhow::Result<()> {
        for _ in 0..2 {
            let mut bed = self.pair()?;
            let switch = bed.switch.as_podswitch().context("it is podswitch")?;
            let settings = reconfigure::Settings { time: Duration::from_secs(5), huge: true };
            let outcome = reconfigure::reconfigure(switch, &mut bed.pods, settings, &self.cpus)?;
            println!("lost {} in {:.1} s", outcome.lost(), outcome.time.as_secs_f64());
            println!("  {:?}\n  {:?}\n  drops {:?}", outcome.changed, outcome.streams, outcome.drops);
            println!("  worker waited {:?}, longest turn {:?}", outcome.worker_waited, outcome.longest_turn);
        }
        Ok(())
    }

    fn restart(&self) -> anyhow::Result<()> {
        let mut bed = self.pair()?;
        for end in [End::Killed, End::Terminated] {
            for _ in 0..5 {
                let switch = bed.switch.as_podswitch().context("it is podswitch")?;
                println!("{:?}", restart::restart(switch, &mut bed.pods, end)?);
            }
        }
        Ok(())
    }

    fn crowds(&self, crowds: &[Crowd], rounds: usize) -> anyhow::Result<()> {
        let podswitch = Podswitch { config: scale::ROOM_FOR_MACS.into(), ..self.podswitch.clone() };
        let mut bed = Bed::open(&podswitch, &scale::plan(), &self.cpus)?;
        for _ in 0..rounds {
            for &crowd in crowds {
                let heads = scale::heads(crowd, Size::Fixed(64))?;
                let round = scale::crowd(&mut *bed.switch, &mut bed.pods, &heads, Duration::from_secs(1))?;
                show(&format!("{crowd:?}"), &round);
            }
        }
        let drops = bed.switch.as_podswitch().map(|switch| switch.api().drops());
        println!("drops: {drops:?}");
        Ok(())
    }

    fn flows(&self) -> anyhow::Result<()> {
        self.crowds(&scale::FLOWS.map(|flows| Crowd { flows, macs: 2 }), 2)
    }

    fn macs(&self) -> anyhow::Result<()> {
        self.crowds(&scale::MACS.map(|macs| Crowd { flows: 1, macs }), 2)
    }

    fn crowd(&self) -> anyhow::Result<()> {
        self.crowds(&[Crowd::ONE, Crowd::MANY], 5)
    }

    fn ports(&self) -> anyhow::Result<()> {
        for spread in [Spread::Pairs, Spread::OneNetwork] {
            for count in [2, 64, 2, 64, 2, 64, 4, 8, 16, 128, 256] {
                let round = ports::ports(&self.podswitch, count, spread, Duration::from_secs(1), &self.cpus)?;
                show(&format!("{count} ports, {spread:?}"), &round);
            }
        }
        Ok(())
    }

    fn chains(&self) -> anyhow::Result<()> {
        for hops in 1..=8 {
            println!("{:?}", ports::chain(&self.podswitch, hops, Duration::from_secs(1), &self.cpus)?);
        }
        Ok(())
    }
}

fn stream(from: usize, heads: &HeadTable) -> perf::load::Stream<'_> {
    perf::load::Stream { from, to: from ^ 1, heads, spec: heads.spec() }
}

fn show(what: &str, round: &saturation::Saturation) {
    println!(
        "{what}: {:.3} Mfps, {:.2} Gbit/s, cycles {:?}, busy {:?}, lost {}, foreign {}, longest own gap {} us",
        round.mfps,
        round.gbps,
        round.cycles.map(f64::round),
        round.busy.map(|busy| (busy * 100.0).round() / 100.0),
        round.outcome.lost,
        round.outcome.foreign,
        round.outcome.longest_gap_ns / 1000,
    );
}
