//! The command line, read by hand: the program is copied into pods and stays small.

use std::ffi::OsString;
use std::path::PathBuf;

use proto::paths::POD_PORTS;

use super::PortError;

/// Highest number of a virtio-user device.
const HIGHEST_INDEX: u32 = 999;

/// What was asked.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) question: Question,
    pub(super) directory: PathBuf,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Question {
    Help,
    List,
    Port { ifname: String, format: Format, index: u32 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Testpmd,
    VirtioUser,
    Json,
    Path,
}

impl Options {
    /// Reads the arguments behind the program's name.
    pub(super) fn parse(mut arguments: impl Iterator<Item = OsString>) -> Result<Self, PortError> {
        let usage = |text: String| Err(PortError::Usage(text));
        let mut ifname = None;
        let mut list = false;
        let mut format = Format::Testpmd;
        let mut index = 0;
        let mut directory = PathBuf::from(POD_PORTS);
        while let Some(argument) = arguments.next() {
            let Some(argument) = argument.to_str() else { return usage(format!("{argument:?} is no text")) };
            let (name, joined) = match argument.split_once('=') {
                Some((name, value)) if name.starts_with("--") => (name, Some(OsString::from(value))),
                _ => (argument, None),
            };
            let takes_value = matches!(name, "--format" | "--index" | "--dir");
            let value = match (takes_value, joined) {
                (false, None) => None,
                (false, Some(_)) => return usage(format!("{name} takes no value")),
                (true, joined) => match joined.or_else(|| arguments.next()) {
                    None => return usage(format!("{name} lacks its value")),
                    value => value,
                },
            };
            let text = value.as_ref().and_then(|value| value.to_str()).unwrap_or_default();
            match name {
                "--help" | "-h" => return Ok(Self { question: Question::Help, directory }),
                "--list" => list = true,
                "--format" => match text {
                    "testpmd" => format = Format::Testpmd,
                    "virtio-user" => format = Format::VirtioUser,
                    "json" => format = Format::Json,
                    "path" => format = Format::Path,
                    other => {
                        return usage(format!(
                            "the format {other:?} is none of testpmd, virtio-user, json, path"
                        ));
                    }
                },
                "--index" => match text.parse() {
                    Ok(number) if number <= HIGHEST_INDEX => index = number,
                    _ => return usage(format!("the index {text:?} is no number up to {HIGHEST_INDEX}")),
                },
                "--dir" => directory = value.map(PathBuf::from).unwrap_or_default(),
                other if other.starts_with('-') => return usage(format!("unknown option {other:?}")),
                other if ifname.is_none() => ifname = Some(other.to_owned()),
                other => return usage(format!("one interface at a time, {other:?} is a second")),
            }
        }
        let question = match (ifname, list) {
            (Some(ifname), false) => Question::Port { ifname, format, index },
            (None, true) => Question::List,
            (Some(_), true) => return usage("an interface or --list, not both".into()),
            (None, false) => return usage("which interface?".into()),
        };
        Ok(Self { question, directory })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, PortError> {
        Options::parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn what_can_be_asked() {
        let net1 = |format, index| Question::Port { ifname: "net1".into(), format, index };
        for (line, question, directory) in [
            ("net1", net1(Format::Testpmd, 0), POD_PORTS),
            ("net1 --format virtio-user --index 3", net1(Format::VirtioUser, 3), POD_PORTS),
            ("--format=json --dir=/a net1", net1(Format::Json, 0), "/a"),
            ("--dir /a --format path net1", net1(Format::Path, 0), "/a"),
            ("--list", Question::List, POD_PORTS),
            ("net1 --help", Question::Help, POD_PORTS),
        ] {
            assert_eq!(parse(line).unwrap(), Options { question, directory: directory.into() }, "{line}");
        }
    }

    #[test]
    fn what_cannot() {
        for line in [
            "",
            "net1 net2",
            "net1 --list",
            "net1 --format",
            "net1 --format xml",
            "net1 --index -1",
            "net1 --index 1000",
            "net1 --list=yes",
            "--verbose net1",
        ] {
            assert_eq!(parse(line).unwrap_err().status(), 2, "{line}");
        }
    }
}
