//! The result as files: JSON for programs, plots for the eye.
//!
//! A run is a file of its own name, and `latest.json` a copy of the newest; both appear whole or not at all.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::{Report, svg};

/// Why a result is not on disk.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// A file.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The report itself.
    #[error("the result as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// The report as JSON.
///
/// # Errors
/// [`WriteError::Json`].
pub fn text(report: &Report) -> Result<String, WriteError> {
    Ok(serde_json::to_string_pretty(report)? + "\n")
}

/// Writes `<begun>.json`, `latest.json` and the plots into `directory`; gives the paths of all, the first one first.
///
/// # Errors
/// If the directory cannot be written.
pub fn write(report: &Report, directory: &Path) -> Result<Vec<PathBuf>, WriteError> {
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        |source| WriteError::File { path, source }
    };
    std::fs::create_dir_all(directory).map_err(failed(directory))?;
    let json = text(report)?;
    let mut paths = Vec::new();
    let mut put = |name: String, content: &str| {
        let path = directory.join(name);
        let unfinished = path.with_extension("unfinished");
        std::fs::write(&unfinished, content).map_err(failed(&unfinished))?;
        std::fs::rename(&unfinished, &path).map_err(failed(&path))?;
        paths.push(path);
        Ok::<(), WriteError>(())
    };
    put(format!("{}.json", report.begun), &json)?;
    put("latest.json".into(), &json)?;
    for (name, plot) in svg::plots(report) {
        put(format!("{}-{name}.svg", report.begun), &plot)?;
        put(format!("latest-{name}.svg"), &plot)?;
    }
    Ok(paths)
}

/// Now, UTC, in a form that sorts and that file names may have: `2026-01-31T12-00-00Z`.
#[must_use]
pub fn now() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    date_time(seconds)
}

/// From seconds since 1970; the calendar is Gregorian, counted in years that begin in March.
fn date_time(seconds: u64) -> String {
    let (days, time) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (time / 3_600, time / 60 % 60, time % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}-{minute:02}-{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Machine;
    use crate::report::{Curve, Row};

    #[test]
    fn dates() {
        assert_eq!(date_time(0), "1970-01-01T00-00-00Z");
        assert_eq!(date_time(951_782_400), "2000-02-29T00-00-00Z");
        assert_eq!(date_time(1_798_761_599), "2026-12-31T23-59-59Z");
    }

    #[test]
    fn an_empty_ratio_is_null() {
        let mut report = Report::new(Machine::default(), "t".into());
        report.record("podswitch", "port_mb", "MB").push(Some(2.0));
        report.add(Row::new("port_mb", "").figure(report.find("podswitch", "port_mb")));
        let value: serde_json::Value = serde_json::from_str(&text(&report).unwrap()).unwrap();
        assert_eq!(value["ratios"]["port_mb"], 2.0);
        assert!(value["ratios"]["v2v_64_vs_ovs"].is_null());
        assert_eq!(value["ratios"].as_object().unwrap().len(), 13);
        assert_eq!(value["targets"]["v2v_64_vs_ovs"]["at_least"], 2.0);
        assert_eq!(value["figures"][0]["rounds"][0], 2.0);
    }

    #[test]
    fn a_result_is_a_file_of_its_own_and_the_latest() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("results");
        let mut report = Report::new(Machine::default(), "2026-01-31T12-00-00Z".into());
        report.curves.push(Curve {
            plot: "rate_by_size".into(),
            name: "podswitch".into(),
            points: vec![(64.0, 12.0), (1518.0, 5.0)],
        });
        let paths = write(&report, &place).unwrap();
        assert_eq!(paths[0], place.join("2026-01-31T12-00-00Z.json"));
        let latest = std::fs::read_to_string(place.join("latest.json")).unwrap();
        assert_eq!(latest, std::fs::read_to_string(&paths[0]).unwrap());
        assert!(place.join("latest-rate_by_size.svg").exists());
        let all = std::fs::read_dir(&place).unwrap();
        assert!(all.flatten().all(|entry| !entry.path().to_string_lossy().contains("unfinished")));
    }
}
