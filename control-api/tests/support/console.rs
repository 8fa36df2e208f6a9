//! The console of a `dpdk-testpmd`: a command in, its output out.

use std::io::Write as _;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};

use super::wait;

const PROMPT: &str = "testpmd> ";

/// A running testpmd and everything that it has printed.
#[derive(Debug)]
pub struct Console {
    child: Child,
    input: ChildStdin,
    output: Arc<Mutex<String>>,
    /// Warnings, and what EAL says.
    errors: Arc<Mutex<String>>,
    /// It has come to its first prompt.
    prompted: bool,
}

impl Console {
    /// Starts testpmd, at a low priority if it `gives_way`, in the container that the words `within` make, if any. It
    /// dies with us, and prints line by line also into a pipe.
    pub fn spawn(within: &[String], arguments: &[String], gives_way: bool) -> Self {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "nice", "-n", if gives_way { "10" } else { "0" }]);
        command.args(within).args(["stdbuf", "-oL", "-eL", "dpdk-testpmd"]).args(arguments);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let output = record(child.stdout.take().unwrap());
        let errors = record(child.stderr.take().unwrap());
        let input = child.stdin.take().unwrap();
        Self { child, input, output, errors, prompted: false }
    }

    /// What it has printed so far.
    #[must_use]
    pub fn text(&self) -> String {
        [&*lock(&self.output), &*lock(&self.errors)].map(String::as_str).concat()
    }

    /// Whether it still runs.
    pub fn alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for the first prompt.
    #[track_caller]
    pub fn ready(&mut self) {
        if !self.prompted {
            self.prompt_after(0, "its first prompt");
            self.prompted = true;
        }
    }

    /// Gives a command and waits for the prompt after it; gives what was printed between.
    #[track_caller]
    pub fn command(&mut self, line: &str) -> String {
        self.ready();
        let begin = lock(&self.output).len();
        writeln!(self.input, "{line}").unwrap();
        self.prompt_after(begin, line);
        lock(&self.output)[begin..].to_owned()
    }

    /// Ends it in its own way; false if it had to be killed.
    pub fn quit(&mut self) -> bool {
        let _ = writeln!(self.input, "quit");
        let ended = wait::attempt(wait::PATIENCE, || self.child.try_wait().unwrap());
        if ended.is_none() {
            self.kill();
        }
        ended.is_some_and(|status| status.success())
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits for a prompt in the output after `begin`. An event that testpmd reports may fall into the middle of a
    /// prompt: then an empty line brings another.
    #[track_caller]
    fn prompt_after(&mut self, begin: usize, what: &str) {
        for _ in 0..20 {
            let came = wait::attempt(wait::PATIENCE / 20, || {
                let prompted = lock(&self.output)[begin..].contains(PROMPT);
                let ended = self.child.try_wait().unwrap();
                (prompted || ended.is_some()).then_some(ended)
            });
            match came {
                Some(None) => return,
                Some(Some(status)) => panic!("testpmd ended ({status}) at {what:?}: {}", self.text()),
                None if self.prompted => writeln!(self.input).unwrap(),
                None => {}
            }
        }
        panic!("testpmd does not answer to {what:?}: {}", self.text());
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        self.kill();
    }
}

fn record(mut from: impl std::io::Read + Send + 'static) -> Arc<Mutex<String>> {
    let text = Arc::new(Mutex::new(String::new()));
    let to = Arc::clone(&text);
    std::thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(length @ 1..) = from.read(&mut piece) {
            lock(&to).push_str(&String::from_utf8_lossy(&piece[..length]));
        }
    });
    text
}

fn lock(text: &Mutex<String>) -> MutexGuard<'_, String> {
    text.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
