//! `podswitch support`: one archive with what a bug report needs.
//!
//! What is inside is the list in [`pieces`], and nothing else: no packet, no memory of a pod or of the switch. Where the
//! daemon does not answer its part is missing, and the MANIFEST in the archive says so. The file is its owner's alone
//! (0600), because names and addresses of pods are in it.

mod archive;
mod pieces;

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::Args;
use serde::Serialize;

use super::Error;
use super::client::Client;
use super::doctor;
use super::output::Output;
use crate::address::ApiAddress;

use pieces::Piece;

#[derive(Debug, Args)]
pub(super) struct Support {
    /// The archive; it must not exist yet; -: standard output [default: podswitch-support-HOST-DATE.tar.gz here]
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
    /// The daemon's configuration file [default: /etc/podswitch/podswitchd.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// What was done, for the output.
#[derive(Debug, Serialize)]
struct Made {
    file: String,
    /// Names in the archive, beside the MANIFEST.
    inside: Vec<&'static str>,
    missing: Vec<Missing>,
}

#[derive(Debug, Serialize)]
struct Missing {
    name: &'static str,
    reason: String,
}

/// Gathers, writes and says where.
pub(super) async fn run(command: &Support, api: &ApiAddress, out: &Output) -> Result<(), Error> {
    let now = SystemTime::now();
    let name = archive::name(&pieces::host(), now);
    let path = command.file.clone().unwrap_or_else(|| Path::new(&name).with_added_extension("tar.gz"));
    let config = command.config.as_deref();
    let mut all = vec![Piece::version(), Piece::text("doctor.txt", doctor::text(config, api).await)];
    all.extend(pieces::of_daemon(Client::connect(api).await).await);
    all.extend(pieces::of_machine(config));
    let to_output = path == Path::new("-");
    let written =
        if to_output { archive::print(&name, now, &all) } else { archive::write(&path, &name, now, &all) };
    written.map_err(|source| Error::Archive { path: path.display().to_string(), source })?;
    let made = Made {
        file: path.display().to_string(),
        inside: all.iter().filter(|piece| piece.content.is_ok()).map(|piece| piece.name).collect(),
        missing: all
            .iter()
            .filter_map(|piece| {
                Some(Missing { name: piece.name, reason: piece.content.as_ref().err()?.clone() })
            })
            .collect(),
    };
    if to_output {
        eprintln!("{}", text(&made));
        return Ok(());
    }
    out.print(&made, text)
}

fn text(made: &Made) -> String {
    let mut lines = vec![format!("{}: {} files; MANIFEST names them", made.file, made.inside.len())];
    // What is missing for one reason stands side by side.
    for same in made.missing.chunk_by(|one, next| one.reason == next.reason) {
        let names: Vec<&str> = same.iter().map(|missing| missing.name).collect();
        lines.push(format!("without {}: {}", names.join(", "), same[0].reason));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests;
