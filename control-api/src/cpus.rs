//! CPU lists, and the choice of the CPUs that workers get.
//!
//! The process's own allowed set (its affinity mask, which a cpuset has already cut) bounds everything. Called
//! once at start, before the process narrows its own affinity to the CPUs that are left.

use std::fmt;
use std::str::FromStr;

use dataplane::ids::CoreId;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// A text that is no list of CPUs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a list of CPUs (numbers and ranges with commas: 2-3,6)")]
pub struct ListError(String);

/// Why the workers' CPUs cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChoiceError {
    /// Not in this machine.
    #[error(
        "CPU {missing} does not exist: asked for {asked}, this machine has {present}; name CPUs of {allowed}"
    )]
    Missing {
        /// Those that do not exist.
        missing: String,
        /// The whole list.
        asked: String,
        /// What exists and is online.
        present: String,
        /// What could be had.
        allowed: String,
    },
    /// In the machine, but not for this process.
    #[error("asked for CPU {asked}, this process may use {allowed}; name CPUs of that set, or widen it")]
    NotAllowed {
        /// The whole list.
        asked: String,
        /// The process's own set.
        allowed: String,
    },
    /// More than there are.
    #[error(
        "{asked} CPUs were asked for, this process may use {have} ({allowed}); ask for fewer, or widen the set"
    )]
    TooMany {
        /// How many.
        asked: usize,
        /// How many there are.
        have: usize,
        /// The process's own set.
        allowed: String,
    },
}

/// What was asked for as the workers' CPUs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkerCpus {
    /// So many of the allowed set.
    Auto(usize),
    /// These.
    List(Vec<CoreId>),
}

impl FromStr for WorkerCpus {
    type Err = ListError;

    fn from_str(text: &str) -> Result<Self, ListError> {
        let wrong = || ListError(text.chars().take(64).collect());
        let Some(number) = text.strip_prefix("auto") else { return parse(text).map(Self::List) };
        match number.strip_prefix(':') {
            None if number.is_empty() => Ok(Self::Auto(1)),
            Some(digits) => match digits.parse() {
                Ok(n) if n > 0 => Ok(Self::Auto(n)),
                _ => Err(wrong()),
            },
            None => Err(wrong()),
        }
    }
}

impl fmt::Display for WorkerCpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto(n) => write!(f, "auto:{n}"),
            Self::List(cpus) => f.write_str(&list(cpus)),
        }
    }
}

impl WorkerCpus {
    /// The CPUs to take. `auto` leaves the first allowed CPU (usually 0, where interrupts and everything else
    /// run) to others for as long as it can.
    ///
    /// # Errors
    /// See [`ChoiceError`].
    pub fn choose(&self, allowed: &[CoreId], present: &[CoreId]) -> Result<Vec<CoreId>, ChoiceError> {
        match self {
            Self::Auto(n) => {
                if *n > allowed.len() {
                    return Err(ChoiceError::TooMany {
                        asked: *n,
                        have: allowed.len(),
                        allowed: list(allowed),
                    });
                }
                let spare = usize::from(*n < allowed.len());
                Ok(allowed[spare..spare + n].to_vec())
            }
            Self::List(asked) => {
                let missing: Vec<_> = asked.iter().copied().filter(|c| !present.contains(c)).collect();
                if !missing.is_empty() {
                    return Err(ChoiceError::Missing {
                        missing: list(&missing),
                        asked: list(asked),
                        present: list(present),
                        allowed: list(allowed),
                    });
                }
                if asked.iter().any(|c| !allowed.contains(c)) {
                    return Err(ChoiceError::NotAllowed { asked: list(asked), allowed: list(allowed) });
                }
                Ok(asked.clone())
            }
        }
    }
}

/// Parses `2-3,6`; the result is sorted and without repetition.
///
/// # Errors
/// [`ListError`] for anything else, and for an empty list.
pub fn parse(text: &str) -> Result<Vec<CoreId>, ListError> {
    let wrong = || ListError(text.chars().take(64).collect());
    let number = |part: &str| -> Result<u32, ListError> {
        if part.is_empty() || part.len() > 5 || !part.bytes().all(|b| b.is_ascii_digit()) {
            return Err(wrong());
        }
        part.parse().map_err(|_| wrong())
    };
    let mut cpus = Vec::new();
    for part in text.trim().split(',') {
        let (first, last) = match part.split_once('-') {
            Some((first, last)) => (number(first)?, number(last)?),
            None => (number(part)?, number(part)?),
        };
        if first > last {
            return Err(wrong());
        }
        cpus.extend((first..=last).map(CoreId));
    }
    cpus.sort_unstable();
    cpus.dedup();
    Ok(cpus)
}

/// The inverse of [`parse`].
#[must_use]
pub fn list(cpus: &[CoreId]) -> String {
    let mut sorted: Vec<u32> = cpus.iter().map(|c| c.0).collect();
    sorted.sort_unstable();
    let parts: Vec<String> = sorted
        .chunk_by(|a, b| a + 1 == *b)
        .map(|run| match run {
            [one] => one.to_string(),
            [first, .., last] => format!("{first}-{last}"),
            [] => String::new(),
        })
        .collect();
    parts.join(",")
}

/// CPUs that this process may use now.
///
/// # Errors
/// What the kernel says.
pub fn allowed() -> std::io::Result<Vec<CoreId>> {
    let set = sched_getaffinity(Pid::from_raw(0))?;
    Ok((0..CpuSet::count()).filter(|&i| set.is_set(i).unwrap_or(false)).map(|i| CoreId(i as u32)).collect())
}

/// CPUs that exist and are online; those allowed if the kernel does not say.
#[must_use]
pub fn present(allowed: &[CoreId]) -> Vec<CoreId> {
    std::fs::read_to_string("/sys/devices/system/cpu/online")
        .ok()
        .and_then(|text| parse(&text).ok())
        .unwrap_or_else(|| allowed.to_vec())
}

/// Binds the calling thread, and so all threads that it starts later, to these CPUs.
///
/// # Errors
/// What the kernel says.
pub fn bind(cpus: &[CoreId]) -> std::io::Result<()> {
    let mut set = CpuSet::new();
    for cpu in cpus {
        set.set(cpu.0 as usize)?;
    }
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cores(numbers: &[u32]) -> Vec<CoreId> {
        numbers.iter().copied().map(CoreId).collect()
    }

    #[test]
    fn lists_round_trip() {
        for (text, cpus, back) in
            [("2-3,6", vec![2, 3, 6], "2-3,6"), ("1", vec![1], "1"), ("3,1,2,2", vec![1, 2, 3], "1-3")]
        {
            assert_eq!(parse(text).unwrap(), cores(&cpus));
            assert_eq!(list(&parse(text).unwrap()), back);
        }
        for wrong in ["", ",", "3-1", "a", "1-", "-1", "1,,2", "999999", "1-2-3", "auto"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_asked_for() {
        assert_eq!("auto:3".parse(), Ok(WorkerCpus::Auto(3)));
        assert_eq!("auto".parse(), Ok(WorkerCpus::Auto(1)));
        assert_eq!("2,4".parse(), Ok(WorkerCpus::List(cores(&[2, 4]))));
        for wrong in ["auto:0", "auto:", "auto:x", "auto2", ""] {
            assert!(wrong.parse::<WorkerCpus>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_first_cpu_is_left_to_others() {
        let allowed = cores(&[0, 1, 2, 5]);
        assert_eq!(WorkerCpus::Auto(1).choose(&allowed, &allowed), Ok(cores(&[1])));
        assert_eq!(WorkerCpus::Auto(3).choose(&allowed, &allowed), Ok(cores(&[1, 2, 5])));
        assert_eq!(WorkerCpus::Auto(4).choose(&allowed, &allowed), Ok(allowed.clone()));
        assert!(matches!(WorkerCpus::Auto(5).choose(&allowed, &allowed), Err(ChoiceError::TooMany { .. })));
    }

    #[test]
    fn both_sets_are_named() {
        let allowed = cores(&[2, 3]);
        let present = cores(&[0, 1, 2, 3]);
        let outside = WorkerCpus::List(cores(&[1, 2])).choose(&allowed, &present).unwrap_err().to_string();
        assert!(outside.contains("1-2") && outside.contains("2-3"), "{outside}");
        let missing = WorkerCpus::List(cores(&[9])).choose(&allowed, &present).unwrap_err().to_string();
        assert!(missing.contains("CPU 9 does not exist") && missing.contains("0-3"), "{missing}");
    }

    #[test]
    fn our_own_set_is_not_empty() {
        let allowed = allowed().unwrap();
        assert!(!allowed.is_empty());
        assert!(allowed.iter().all(|c| present(&allowed).contains(c)));
    }
}
