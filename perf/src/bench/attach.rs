//! What the CNI plugin costs a pod's start.

use super::{Bench, Extent, OURS};
use crate::methods::attach::{Settings, attach, beside_us};

impl Bench {
    /// Pods plugged in and out through the plugin.
    pub(super) fn attachments(&mut self) {
        self.progress.phase("pods through the CNI plugin");
        let settings = match self.plan.extent {
            Extent::Full => Settings::FULL,
            Extent::Quick => Settings::QUICK,
            Extent::Smoke => Settings::SMOKE,
        };
        let plugin = beside_us().unwrap_or_else(|| "cni-vhostuser".into());
        let measured = attach(&self.daemon, &plugin, &self.cpus, settings);
        let Some(attached) = self.keep(OURS, measured) else { return };
        for line in attached.lines() {
            self.report.record(OURS, line.key, line.unit).push(line.value);
            if let Some((bound, value)) =
                line.bound.zip(line.value).filter(|(bound, value)| !bound.met(*value))
            {
                self.report.say(format!("{}: {value:.1} {}, wanted: {bound:?}", line.text, line.unit));
            }
        }
        if let Err(why) = &attached.crowd {
            self.report.say(format!("pods in a small control group: {why}"));
        }
    }
}
