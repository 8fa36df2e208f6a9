//! CPU throttling of the control group that we run in, and of those around it (versions 2 and 1).

use std::fs;
use std::path::{Path, PathBuf};

/// How often and how long the kernel kept us from running.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Throttling {
    /// Scheduling periods in which the limit was reached.
    pub periods: u64,
    /// Time that was lost.
    pub nanoseconds: u64,
}

impl Throttling {
    /// Now; zeros where there is no limit, or no control group that we can see.
    #[must_use]
    pub fn read() -> Self {
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Self::read_below(Path::new("/sys/fs/cgroup"), &groups)
    }

    fn read_below(root: &Path, groups: &str) -> Self {
        let mut sum = Self::default();
        for directory in directories(root, groups, "cpu") {
            let text = fs::read_to_string(directory.join("cpu.stat")).unwrap_or_default();
            let one = parse(&text);
            sum.periods += one.periods;
            sum.nanoseconds += one.nanoseconds;
        }
        sum
    }
}

/// Our group and every group above it, in version 2 and in the hierarchy that has `controller`: a limit counts where it
/// is set. `root` is where control groups are mounted, `groups` the content of /proc/self/cgroup.
pub(crate) fn directories(root: &Path, groups: &str, controller: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let mount = if controllers.is_empty() {
            root.to_owned()
        } else if controllers.split(',').any(|c| c == controller) {
            root.join(controllers)
        } else {
            continue;
        };
        // Inside a container the path may be the host's, which is not visible: then the mount itself is our group.
        let ours = mount.join(path.trim_start_matches('/'));
        let ours = if ours.is_dir() { ours } else { mount.clone() };
        found.extend(ours.ancestors().take_while(|d| d.starts_with(&mount)).map(Path::to_owned));
    }
    found
}

fn parse(stat: &str) -> Throttling {
    let mut throttling = Throttling::default();
    for line in stat.lines() {
        let Some((key, value)) = line.split_once(' ') else { continue };
        let value: u64 = value.trim().parse().unwrap_or_default();
        match key {
            "nr_throttled" => throttling.periods = value,
            "throttled_usec" => throttling.nanoseconds = value.saturating_mul(1000),
            "throttled_time" => throttling.nanoseconds = value,
            _ => {}
        }
    }
    throttling
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_two_sums_up_to_the_root() {
        let root = tempfile::tempdir().unwrap();
        let ours = root.path().join("pod/switch");
        fs::create_dir_all(&ours).unwrap();
        fs::write(ours.join("cpu.stat"), "usage_usec 9\nnr_throttled 2\nthrottled_usec 30\n").unwrap();
        fs::write(root.path().join("pod/cpu.stat"), "nr_throttled 1\nthrottled_usec 5\n").unwrap();
        let read = Throttling::read_below(root.path(), "0::/pod/switch\n");
        assert_eq!(read, Throttling { periods: 3, nanoseconds: 35_000 });
    }

    #[test]
    fn version_one_counts_nanoseconds() {
        let root = tempfile::tempdir().unwrap();
        let mount = root.path().join("cpu,cpuacct");
        fs::create_dir_all(&mount).unwrap();
        fs::write(mount.join("cpu.stat"), "nr_periods 7\nnr_throttled 4\nthrottled_time 123\n").unwrap();
        let groups = "5:memory:/x\n4:cpu,cpuacct:/not/visible\n0::/\n";
        assert_eq!(Throttling::read_below(root.path(), groups), Throttling { periods: 4, nanoseconds: 123 });
    }

    #[test]
    fn nothing_to_see_is_zero() {
        assert_eq!(Throttling::read_below(Path::new("/no/such"), "0::/x\ngarbage\n"), Throttling::default());
    }
}
