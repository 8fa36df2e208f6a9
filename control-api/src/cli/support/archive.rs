//! The archive itself: a compressed tar with one directory, and in it the pieces and their MANIFEST.

use std::fs::OpenOptions;
use std::io::{self, IsTerminal as _, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::SystemTime;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::pieces::{LIST, Piece};

/// What it is called without its ending, and the directory inside: `podswitch-support-HOST-20260131-235959`, in UTC.
pub(super) fn name(host: &str, now: SystemTime) -> String {
    let (year, month, day, second) = civil(now);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("podswitch-support-{host}-{year:04}{month:02}{day:02}-{hour:02}{minute:02}{second:02}")
}

/// Writes all pieces into a new file of mode 0600. One that is there already is an error and stays as it is; one that
/// could not be finished is removed.
pub(super) fn write(path: &Path, directory: &str, now: SystemTime, pieces: &[Piece]) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let written = fill(file, directory, now, pieces).and_then(|file| file.sync_all());
    if written.is_err() {
        let _ = std::fs::remove_file(path);
    }
    written
}

/// Writes all pieces to standard output, which must not be a terminal.
pub(super) fn print(directory: &str, now: SystemTime, pieces: &[Piece]) -> io::Result<()> {
    let out = io::stdout().lock();
    if out.is_terminal() {
        return Err(io::Error::other("an archive is not for a terminal; redirect the output"));
    }
    fill(out, directory, now, pieces)?.flush()
}

fn fill<W: Write>(to: W, directory: &str, now: SystemTime, pieces: &[Piece]) -> io::Result<W> {
    let seconds = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut tar = tar::Builder::new(GzEncoder::new(to, Compression::default()));
    let mut append = |name: &str, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(seconds);
        tar.append_data(&mut header, format!("{directory}/{name}"), content)
    };
    append("MANIFEST", manifest(directory, pieces).as_bytes())?;
    for piece in pieces {
        if let Ok(content) = &piece.content {
            append(piece.name, content)?;
        }
    }
    tar.into_inner()?.finish()
}

fn manifest(directory: &str, pieces: &[Piece]) -> String {
    let mut lines = vec![
        format!("{directory}, made by podswitch {}; the time is UTC.", env!("CARGO_PKG_VERSION")),
        "No packet and no memory of a pod or of the switch is inside. Names, labels and addresses of ports are.".into(),
        String::new(),
    ];
    for (name, what) in LIST {
        let state = match pieces.iter().find(|piece| piece.name == name).map(|piece| &piece.content) {
            Some(Ok(content)) => format!("{} bytes: {what}", content.len()),
            Some(Err(reason)) => format!("NOT INSIDE: {what}: {reason}"),
            None => format!("NOT INSIDE: {what}"),
        };
        lines.push(format!("{name:<18}{state}"));
    }
    lines.push(String::new());
    lines.join("\n")
}

/// Year, month, day and second of the day. Counted in years that begin in March, so that the leap day is the last.
fn civil(time: SystemTime) -> (u64, u64, u64, u64) {
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    // Days since 1 March of the year 0: 719,468 before 1970.
    let days = seconds / 86_400 + 719_468;
    // A cycle of the calendar has 400 years, 146,097 days.
    let (cycle, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (cycle * 400 + year + next, month, day, seconds % 86_400)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "19700101-000000"),
            (951_782_399, "20000228-235959"),
            (951_782_400, "20000229-000000"),
            (951_868_800, "20000301-000000"),
            (1_798_761_599, "20261231-235959"),
            (4_107_542_400, "21000301-000000"),
        ] {
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(name("h", time), format!("podswitch-support-h-{text}"));
        }
    }
}
