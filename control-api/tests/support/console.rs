//! The console of a `dpdk-testpmd`: a command in, its output out.

use std::io::Write as _;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::wait;

const PROMPT: &str = "testpmd> ";

/// A running testpmd and everything that it has printed.
#[derive(Debug)]
pub struct Console {
    child: Child,
    input: ChildStdin,
    output: Arc<Mutex<String>>,
    /// Prompts that were answered.
    prompts: usize,
}

impl Console {
    /// Starts testpmd. It dies with us, and prints line by line also into a pipe.
    pub fn spawn(arguments: &[String]) -> Self {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "stdbuf", "-oL", "-eL", "dpdk-testpmd"]).args(arguments);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let output = Arc::new(Mutex::new(String::new()));
        record(child.stdout.take().unwrap(), Arc::clone(&output));
        record(child.stderr.take().unwrap(), Arc::clone(&output));
        let input = child.stdin.take().unwrap();
        Self { child, input, output, prompts: 0 }
    }

    /// What it has printed so far.
    #[must_use]
    pub fn text(&self) -> String {
        self.lock().clone()
    }

    /// Whether it still runs.
    pub fn alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for the first prompt.
    #[track_caller]
    pub fn ready(&mut self) {
        if self.prompts == 0 {
            self.next_prompt("its first prompt");
        }
    }

    /// Gives a command and waits for the prompt after it; gives what was printed between.
    #[track_caller]
    pub fn command(&mut self, line: &str) -> String {
        self.ready();
        let begin = self.lock().len();
        writeln!(self.input, "{line}").unwrap();
        self.next_prompt(line);
        self.lock()[begin..].to_owned()
    }

    /// Ends it in its own way; false if it had to be killed.
    pub fn quit(&mut self) -> bool {
        let _ = writeln!(self.input, "quit");
        let ended = wait::attempt(Duration::from_secs(10), || self.child.try_wait().unwrap());
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

    #[track_caller]
    fn next_prompt(&mut self, what: &str) {
        self.prompts += 1;
        let came = wait::attempt(wait::PATIENCE, || {
            let prompts = self.lock().matches(PROMPT).count();
            let ended = self.child.try_wait().unwrap();
            (prompts >= self.prompts || ended.is_some()).then_some(ended)
        });
        match came {
            Some(None) => {}
            Some(Some(status)) => panic!("testpmd ended ({status}) at {what:?}: {}", self.text()),
            None => panic!("testpmd does not answer to {what:?}: {}", self.text()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, String> {
        self.output.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        self.kill();
    }
}

fn record(mut from: impl std::io::Read + Send + 'static, to: Arc<Mutex<String>>) {
    std::thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(length @ 1..) = from.read(&mut piece) {
            to.lock().unwrap().push_str(&String::from_utf8_lossy(&piece[..length]));
        }
    });
}
