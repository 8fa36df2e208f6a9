//! `null`: the generator against a device that copies nothing, which is the generator's own limit.

use clap::Args;
use perf::null::{NullConfig, NullDevice, pair};
use perf::pod::Mode;

use super::run::Traffic;
use super::show;

/// The generator's own limit.
#[derive(Args, Debug)]
pub(crate) struct Null {
    /// The device's CPU.
    #[arg(long, default_value_t = 1)]
    switch_cpu: u32,
    /// The device copies every frame once: the floor of any switch.
    #[arg(long)]
    copy: bool,
    #[command(flatten)]
    traffic: Traffic,
}

impl Null {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let mut pods = pair(&self.traffic.pod("".into(), Mode::Server)?)?;
        let config = NullConfig { copy: self.copy, lose_one_in: 0 };
        let device = NullDevice::start(&mut pods, config, Some(self.switch_cpu));
        let mut outcome = self.traffic.drive(&mut pods, false)?;
        let report = device.stop()?;
        if !self.copy {
            // What the receiver finds in its buffers was not sent now.
            (outcome.lost, outcome.reordered, outcome.latency) = (0, 0, None);
        }
        show::limit(&outcome, &report, self.traffic.output)
    }
}
