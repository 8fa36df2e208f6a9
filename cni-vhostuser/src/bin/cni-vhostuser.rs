//! The CNI plugin: run by a container runtime for every interface of every pod.

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::Duration;

use cni_vhostuser::cni::call::{self, error_object, log};
use cni_vhostuser::cni::environment::{Verb, of_process};
use cni_vhostuser::cni::failure::Failure;

/// What the reference implementation calls an internal error.
const INTERNAL: u32 = 999;
/// VERSION may come with a configuration, and with a standard input that nobody ever closes.
const PATIENCE: Duration = Duration::from_millis(300);

fn main() -> ExitCode {
    // A runtime that gets no error object blames itself; so the last word is one, whatever happens. Threads other than
    // this one hand their panics to whoever waits for them.
    std::panic::set_hook(Box::new(|panic| {
        log(panic);
        if cfg!(panic = "abort") || std::thread::current().name() == Some("main") {
            let failure = Failure {
                code: INTERNAL,
                msg: "the CNI plugin failed for a reason of its own".into(),
                details: panic.to_string().replace('\n', " "),
            };
            print(&error_object(&failure, None));
            std::process::exit(1);
        }
    }));
    let outcome = call::run(&of_process(), |verb| match verb {
        Verb::Version => Ok(read_impatiently()),
        _ => call::read_all(io::stdin().lock()),
    });
    if let Some(about) = outcome.about {
        drop(writeln!(io::stderr(), "{about}"));
    }
    print(&outcome.output);
    if outcome.success { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// One write, so that nobody reads a half; that nobody may read at all is no concern of ours.
fn print(text: &str) {
    if !text.is_empty() {
        let mut out = io::stdout().lock();
        drop(out.write_all(format!("{text}\n").as_bytes()).and_then(|()| out.flush()));
    }
}

fn read_impatiently() -> Vec<u8> {
    if io::stdin().is_terminal() {
        return Vec::new();
    }
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || send.send(call::read_all(io::stdin().lock()).unwrap_or_default()));
    receive.recv_timeout(PATIENCE).unwrap_or_default()
}
