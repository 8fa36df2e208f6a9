//! The port files below a directory, read with every bound that there is.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use proto::paths::PORT_FILE;
use proto::port_file::PortFile;

use super::PortError;

/// Most bytes of a port file.
const LONGEST: u64 = 64 << 10;
/// Most directories looked into.
const MOST: usize = 4096;

/// One port file.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) text: String,
    pub(super) file: PortFile,
}

/// All of a directory, in the order of their paths.
#[derive(Debug)]
pub(super) struct PortDirectory {
    directory: PathBuf,
    pub(super) ports: Vec<(PathBuf, Port)>,
    /// Files that could not be read, and why.
    unreadable: Vec<String>,
}

impl PortDirectory {
    /// Reads `directory/*/port.json`. A directory without one is not attached yet, and passed over.
    pub(super) fn read(directory: &Path) -> Result<Self, PortError> {
        let failed = |source| PortError::Directory { directory: directory.into(), source };
        let mut files = Vec::new();
        for entry in directory.read_dir().map_err(failed)?.take(MOST) {
            files.push(entry.map_err(failed)?.path().join(PORT_FILE));
        }
        files.sort();
        let mut all = Self { directory: directory.into(), ports: Vec::new(), unreadable: Vec::new() };
        for file in files {
            match read(&file) {
                Ok(port) => all.ports.push((file, port)),
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
                Err(error) => all.unreadable.push(format!("{}: {error}", file.display())),
            }
        }
        Ok(all)
    }

    /// The one with that interface name.
    pub(super) fn find(&self, ifname: &str) -> Result<(&Path, &Port), PortError> {
        let mut found = self.ports.iter().filter(|(_, port)| port.file.ifname == ifname);
        match (found.next(), found.next()) {
            (Some((path, port)), None) => Ok((path, port)),
            (Some((first, _)), Some((second, _))) => {
                Err(PortError::Twice { ifname: ifname.into(), first: first.into(), second: second.into() })
            }
            (None, _) => {
                let names = self.ports.iter().map(|(_, port)| printable(&port.file.ifname));
                let mut there: Vec<_> =
                    names.chain(self.unreadable.iter().map(|text| printable(text))).collect();
                if there.is_empty() {
                    there.push("none".into());
                }
                let directory = self.directory.clone();
                Err(PortError::NoPort { ifname: ifname.into(), directory, there: there.join(", ") })
            }
        }
    }
}

/// A text on one line of a terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn read(path: &Path) -> io::Result<Port> {
    // A pipe in its place must not hold us up, and no link leads elsewhere.
    let flags = libc::O_NONBLOCK | libc::O_NOFOLLOW | libc::O_CLOEXEC;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut text = String::new();
    file.take(LONGEST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LONGEST {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let file = serde_json::from_str(&text)?;
    Ok(Port { text, file })
}
