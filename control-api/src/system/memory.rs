//! Resident private memory of this process.
//!
//! The kernel counts a page as private where nobody else maps it, so a page of a tenant's file that only we have
//! touched would count as ours. Therefore shared file mappings are left out, except those of DPDK when it runs
//! without hugepages. Hugepages are not in these figures at all.

/// Bytes; 0 if the kernel does not say.
#[must_use]
pub fn private_bytes() -> u64 {
    std::fs::read_to_string("/proc/self/smaps").map(|text| private(&text)).unwrap_or_default()
}

/// Sum of `Private_Clean` and `Private_Dirty` over the mappings that are ours.
fn private(smaps: &str) -> u64 {
    let mut ours = true;
    let mut kilobytes = 0;
    for line in smaps.lines() {
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("Private_Clean:" | "Private_Dirty:") if ours => {
                kilobytes += words.next().and_then(|n| n.parse::<u64>().ok()).unwrap_or_default();
            }
            // A mapping's first line: range, permissions, offset, device, inode, path.
            Some(first) if !first.ends_with(':') => {
                let shared = words.next().is_some_and(|permissions| permissions.ends_with('s'));
                ours = !shared || words.nth(3).is_some_and(|path| path.starts_with("/memfd:nohuge"));
            }
            _ => {}
        }
    }
    kilobytes * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMAPS: &str = "\
7f0000000000-7f0000001000 rw-p 00000000 00:00 0 
Size:                  4 kB
Private_Clean:         1 kB
Private_Dirty:         2 kB
VmFlags: rd wr
7f0000002000-7f0000003000 rw-s 00000000 00:01 77 /memfd:guest (deleted)
Private_Clean:       100 kB
Private_Dirty:       100 kB
7f0000004000-7f0000005000 rw-s 00000000 00:01 78 /memfd:nohuge (deleted)
Private_Clean:         0 kB
Private_Dirty:        10 kB
7f0000006000-7f0000007000 r-xp 00000000 08:01 79 /usr/bin/podswitchd
Private_Clean:         4 kB
";

    #[test]
    fn tenants_are_left_out() {
        assert_eq!(private(SMAPS), (1 + 2 + 10 + 4) * 1024);
    }

    #[test]
    fn we_have_some() {
        assert!(private_bytes() > 100 << 10);
    }
}
