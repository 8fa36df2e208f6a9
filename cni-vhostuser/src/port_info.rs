//! What an application in a pod asks for its port: the program `podswitch-port`.
//!
//! A device plugin hands out directories in no order that means anything, so an application must find its port by the name
//! of the interface, never by position. The port files are mounted read-only; they are read as if anybody had written
//! them all the same. Needs no privileges, opens no connection.

mod arguments;
mod files;
mod options;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

use files::PortDirectory;
use options::{Format, Options, Question};

/// How to call the program.
pub const USAGE: &str = "\
usage: podswitch-port IFNAME [--format testpmd|virtio-user|json|path] [--index N] [--dir DIR]
       podswitch-port --list [--dir DIR]

Says what an application needs to use the port of the interface IFNAME.
  --format testpmd      arguments for dpdk-testpmd or any DPDK application, for a shell (the default)
  --format virtio-user  the value of DPDK's --vdev alone
  --format path         the socket's path
  --format json         the port's whole file
  --index N             number of the virtio-user device, where an application has several (0)
  --list                the interfaces: name, network, device id, mode and path, a line each
  --dir DIR             where the ports' directories are (/run/podswitch/ports)
";

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// The command line makes no sense.
    #[error("{0} (podswitch-port --help says more)")]
    Usage(String),
    /// There is no such interface; all that there are.
    #[error("there is no port {ifname:?} in {}; there are: {there}", directory.display())]
    NoPort {
        /// Asked for.
        ifname: String,
        /// Where it was searched.
        directory: PathBuf,
        /// Names, or why there are none.
        there: String,
    },
    /// Two port files have the same interface name.
    #[error("two ports are called {ifname:?}: {} and {}", first.display(), second.display())]
    Twice {
        /// Asked for.
        ifname: String,
        /// One file.
        first: PathBuf,
        /// Another.
        second: PathBuf,
    },
    /// A port file holds something that cannot be written as an argument.
    #[error("{}: {what} {value:?} is not valid", file.display())]
    Invalid {
        /// The port file.
        file: PathBuf,
        /// The member.
        what: &'static str,
        /// What it is.
        value: String,
    },
    /// The directory of ports cannot be read.
    #[error("{}: {source}", directory.display())]
    Directory {
        /// Its path.
        directory: PathBuf,
        /// As the system says it.
        source: io::Error,
    },
}

impl PortError {
    /// The program's exit status.
    #[must_use]
    pub fn status(&self) -> u8 {
        if matches!(self, Self::Usage(_)) { 2 } else { 1 }
    }
}

/// What the program prints for its arguments (without its own name).
///
/// # Errors
/// See [`PortError`].
pub fn answer(arguments: impl IntoIterator<Item = OsString>) -> Result<String, PortError> {
    let options = Options::parse(arguments.into_iter())?;
    match &options.question {
        Question::Help => Ok(USAGE.into()),
        Question::List => {
            let directory = PortDirectory::read(&options.directory)?;
            let line = |(_, port): &(PathBuf, files::Port)| {
                let file = &port.file;
                let members = [&file.ifname, &file.network, &file.device_id, &file.mode, &file.path];
                members.map(|member| files::printable(member)).join("\t") + "\n"
            };
            Ok(directory.ports.iter().map(line).collect())
        }
        Question::Port { ifname, format, index } => {
            let directory = PortDirectory::read(&options.directory)?;
            let (path, port) = directory.find(ifname)?;
            match format {
                Format::Json => Ok(port.text.trim_end().to_owned() + "\n"),
                Format::Path => arguments::path(path, &port.file).map(|path| format!("{path}\n")),
                Format::VirtioUser => {
                    arguments::virtio_user(path, &port.file, *index).map(|text| text + "\n")
                }
                Format::Testpmd => arguments::testpmd(path, &port.file, *index).map(|text| text + "\n"),
            }
        }
    }
}
