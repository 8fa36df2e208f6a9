//! `attach`: what the CNI plugin costs a pod's start.

use std::path::PathBuf;

use clap::Args;
use perf::machine;
use perf::methods::attach::{Attached, Settings, attach, beside_us};
use perf::peers::{Cpus, Podswitch};
use perf::report::Bound;
use serde_json::json;

use super::show::Format;

/// Pods plugged in and out through the CNI plugin.
#[derive(Args, Debug)]
pub(crate) struct Attach {
    /// The daemon, if it is not beside this program.
    #[arg(long)]
    podswitchd: Option<PathBuf>,
    /// The plugin, if it is not beside this program.
    #[arg(long)]
    plugin: Option<PathBuf>,
    /// Ports that are there while calls are timed.
    #[arg(long, default_value_t = Settings::FULL.present)]
    present: usize,
    /// Calls in flight.
    #[arg(long, default_value_t = Settings::FULL.at_once, value_parser = at_least_one)]
    at_once: usize,
    /// Pods added and deleted.
    #[arg(long, default_value_t = Settings::FULL.pods)]
    pods: usize,
    /// How to print.
    #[arg(short, long, default_value = "table")]
    output: Format,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("at least one call must be in flight".into()),
        Ok(number) => Ok(number),
        Err(error) => Err(format!("{error}")),
    }
}

impl Attach {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let all = machine::allowed_cpus();
        // Nothing is pinned but the worker, on the last CPU.
        let list = perf::peers::parse_list(&all);
        let (first, last) = (list.first().copied().unwrap_or(0), list.last().copied().unwrap_or(0));
        let cpus = Cpus::new(first, last, &all)?;
        let daemon = self.podswitchd.clone().or_else(Podswitch::beside_us);
        let plugin = self.plugin.clone().or_else(beside_us);
        let settings = Settings {
            present: self.present,
            at_once: self.at_once,
            pods: self.pods,
            pods_with_ipam: self.pods.div_ceil(3),
            ..Settings::FULL
        };
        let daemon = daemon.unwrap_or_else(|| "podswitchd".into());
        let plugin = plugin.unwrap_or_else(|| "cni-vhostuser".into());
        let attached = attach(&daemon, &plugin, &cpus, settings)?;
        self.print(&attached)
    }

    fn print(&self, attached: &Attached) -> anyhow::Result<()> {
        let lines = attached.lines();
        if matches!(self.output, Format::Json) {
            let mut value: serde_json::Map<_, _> =
                lines.iter().map(|line| (line.key.to_owned(), json!(line.value))).collect();
            value.insert("crowd_not_tried".into(), json!(attached.crowd.as_ref().err()));
            println!("{}", serde_json::to_string_pretty(&value)?);
            return Ok(());
        }
        println!(
            "{} ports present, {} calls in flight, {} pods added and deleted",
            self.present, self.at_once, self.pods
        );
        for line in lines {
            let value =
                line.value.map_or_else(|| "not measured".into(), |value| format!("{value:.2} {}", line.unit));
            let bound = match line.bound {
                Some(Bound::AtMost(bound)) => format!("at most {bound} {}", line.unit),
                Some(Bound::AtLeast(bound)) => format!("at least {bound} {}", line.unit),
                None => String::new(),
            };
            let missed = line.bound.zip(line.value).is_some_and(|(bound, value)| !bound.met(value));
            println!("{:<40} {value:<16} {bound}{}", line.text, if missed { "  MISSED" } else { "" });
        }
        if let Err(why) = &attached.crowd {
            println!("the control group could not be tried: {why}");
        }
        Ok(())
    }
}
