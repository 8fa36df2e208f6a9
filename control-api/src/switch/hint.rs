//! One line that says why no traffic flows through a port, with what to do.

use std::io::ErrorKind;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use dataplane::report::{PortReport, PortState};
use dataplane::spec::{DeviceSpec, SocketMode};

use super::{Applied, Entry};

/// Empty if nothing hinders it. `peers` says whether another port of its network runs.
pub(super) fn hint(entry: &Entry, report: Option<&PortReport>, peers: bool) -> String {
    if let Applied::Waiting(reason) = &entry.applied {
        return format!("{reason}; it is tried again every second");
    }
    let Some(report) = report else { return "the port is being removed".into() };
    if !entry.port.settings.admin_up {
        return format!("it is administratively down: podswitch port set {} --admin up", entry.name());
    }
    if report.state == PortState::Waiting
        && let Some(line) = socket(&entry.port.device)
    {
        return line;
    }
    let talking = matches!(report.state, PortState::Connected | PortState::Negotiated | PortState::Paused);
    if talking && !report.reason.is_empty() {
        return format!("the application was refused: {}; once that is put right, restart it", report.reason);
    }
    if !report.hint.is_empty() {
        return report.hint.clone();
    }
    match report.state {
        PortState::Running if !peers => {
            format!("no other port of the network {} is running", entry.network())
        }
        PortState::Running => String::new(),
        PortState::Waiting => "nobody is connected".into(),
        PortState::Connected => "the application is connected and has not agreed on features yet".into(),
        PortState::Negotiated => "the application has not started its rings yet".into(),
        PortState::Paused => "the application has stopped its rings".into(),
        PortState::Faulted => {
            format!("it was taken out of service: {}; restart the application", report.reason)
        }
        PortState::Gone => "the port is being removed".into(),
    }
}

/// What the file system says about the socket. The path's last part is looked at, never followed.
fn socket(device: &DeviceSpec) -> Option<String> {
    let DeviceSpec::VhostUser { path, mode, .. } = device else { return None };
    let shown = path.display();
    match mode {
        SocketMode::Client => Some(format!("no application has connected to {shown} yet")),
        SocketMode::Server => match std::fs::symlink_metadata(path) {
            Ok(meta) if !meta.file_type().is_socket() => Some(format!("{shown} is not a socket: remove it")),
            Ok(_) => None,
            Err(e) if e.kind() == ErrorKind::NotFound => Some(missing(path)),
            Err(e) if e.kind() == ErrorKind::PermissionDenied => {
                Some(format!("podswitchd may not look at {shown}: permission denied"))
            }
            Err(e) => Some(format!("{shown}: {e}")),
        },
    }
}

fn missing(path: &Path) -> String {
    match path.parent() {
        Some(directory) if std::fs::symlink_metadata(directory).is_err() => {
            format!(
                "the directory {} does not exist: the application creates its socket there",
                directory.display()
            )
        }
        _ => format!("the application has not created the socket {} yet: start it", path.display()),
    }
}
