//! Recorded handshakes; see `tests/handshakes/README.md`.

use std::os::fd::OwnedFd;
use std::path::Path;

/// One line of a recording.
pub(crate) enum Step {
    /// The frontend sends bytes, and descriptors of these kinds.
    Send { bytes: Vec<u8>, kinds: Vec<String> },
    /// The device answers.
    Expect(Vec<u8>),
    /// The frontend hangs up.
    Close,
}

/// Reads `tests/handshakes/NAME`.
pub(crate) fn read(recording: &str) -> Vec<Step> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/handshakes").join(recording);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let step = |line: &str| {
        let fields: Vec<&str> = line.split(' ').collect();
        match fields[0] {
            "close" => Step::Close,
            "<" => Step::Expect(unhex(fields[1])),
            ">" => {
                let kinds =
                    if fields[2] == "-" { vec![] } else { fields[2].split(',').map(Into::into).collect() };
                Step::Send { bytes: unhex(fields[1]), kinds }
            }
            other => panic!("{recording}: a line begins with {other}"),
        }
    };
    text.lines().map(step).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

/// Makes descriptors of these kinds.
pub(crate) fn descriptors(kinds: &[String]) -> Vec<OwnedFd> {
    kinds.iter().map(|kind| descriptor(kind)).collect()
}

fn descriptor(kind: &str) -> OwnedFd {
    match kind.strip_prefix("memory:") {
        Some(len) => super::plain(len.parse().unwrap()),
        None if kind == "eventfd" => super::eventfd(),
        None => panic!("a descriptor of kind {kind}"),
    }
}
