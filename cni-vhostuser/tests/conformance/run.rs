//! Runs cases against a plugin.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use super::call::{self, Outcome};
use super::case::{Case, Cases, Expect, Profile, Step};
use super::expect;
use super::fill::{Unset, Variables};
use super::invariant::{self, Call};
use super::namespace::Namespace;
use super::report::{Entry, Report, Verdict};

/// How long a step with `retry` may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Cases at a time: plugins spend most of their time waiting, and runtimes call them in parallel too.
const JOBS: usize = 4;

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// Why a case could not be run, or what it found.
#[derive(Debug, thiserror::Error)]
enum Stop {
    #[error("the case itself is wrong: {0}")]
    Unset(#[from] Unset),
    #[error("cannot be run here: {0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Broken(String),
}

/// A plugin under test.
#[derive(Clone, Debug)]
pub struct Suite {
    /// The program.
    pub plugin: PathBuf,
    /// What it needs.
    pub profile: Profile,
    /// Variables over those of the profile.
    pub set: BTreeMap<String, String>,
    /// Only cases whose name has this in it.
    pub only: String,
}

impl Suite {
    /// A plugin with its profile as it is.
    #[must_use]
    pub fn new(plugin: &Path, profile: Profile) -> Self {
        Self { plugin: plugin.into(), profile, set: BTreeMap::new(), only: String::new() }
    }

    /// Runs every case of the files, some at a time; the report is in file order.
    #[must_use]
    pub fn run(&self, files: &[Cases]) -> Report {
        let cases: Vec<_> = files
            .iter()
            .flat_map(|file| &file.cases)
            .filter(|case| case.name.contains(&self.only))
            .flat_map(|case| self.versions(case).into_iter().map(move |version| (case, version)))
            .collect();
        let next = AtomicUsize::new(0);
        let found: Mutex<BTreeMap<usize, Entry>> = Mutex::default();
        thread::scope(|scope| {
            for _ in 0..JOBS {
                scope.spawn(|| {
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        let Some((case, version)) = cases.get(index) else { break };
                        let entry = self.entry(case, version);
                        found.lock().unwrap_or_else(PoisonError::into_inner).insert(index, entry);
                    }
                });
            }
        });
        let entries = found.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect();
        Report { plugin: self.profile.name.clone(), entries }
    }

    fn entry(&self, case: &Case, version: &str) -> Entry {
        let mut name = case.name.clone();
        if case.every_version || !case.versions.is_empty() {
            name = format!("{name} ({version})");
        }
        let verdict = match case.not_for.get(&self.profile.name) {
            Some(why) => Verdict::NotAsked(why.clone()),
            None => self.case(case, version),
        };
        Entry { case: name, verdict }
    }

    fn versions<'a>(&'a self, case: &'a Case) -> Vec<&'a String> {
        let all = &self.profile.versions;
        if !case.versions.is_empty() {
            case.versions.iter().collect()
        } else if case.every_version {
            all.iter().collect()
        } else {
            all.last().into_iter().collect()
        }
    }

    fn case(&self, case: &Case, version: &str) -> Verdict {
        let mut run = match Running::new(self, case, version) {
            Ok(run) => run,
            Err(stop) => return Verdict::Broken(stop.to_string()),
        };
        let result = run.steps(case);
        let cleaned = run.clean();
        match result.and(cleaned) {
            Ok(()) if run.departures.is_empty() => Verdict::Kept,
            Ok(()) => Verdict::Departs(run.departures),
            Err(stop) => Verdict::Broken(stop.to_string()),
        }
    }
}

/// One run of one case.
struct Running<'a> {
    suite: &'a Suite,
    variables: Variables,
    env: BTreeMap<String, String>,
    config: Map<String, Value>,
    departures: Vec<String>,
    /// Environments and stdins of ADDs that succeeded.
    added: Vec<(BTreeMap<String, String>, Vec<u8>)>,
    _namespace: Option<Namespace>,
    _directory: tempfile::TempDir,
}

impl<'a> Running<'a> {
    fn new(suite: &'a Suite, case: &Case, version: &str) -> Result<Self, Stop> {
        let profile = &suite.profile;
        let directory = tempfile::Builder::new().prefix("cni-").tempdir()?;
        let namespace = if case.netns { Some(Namespace::new()?) } else { None };
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let tmp = directory.path().display().to_string();
        let mut variables = Variables::default();
        for (name, value) in profile.set.iter().chain(&suite.set) {
            variables.set(name, value.as_str());
        }
        let netns = namespace.as_ref().map_or(format!("{tmp}/no-such-namespace"), Namespace::path);
        variables.set("netns", netns);
        variables.set("netns_name", namespace.as_ref().map_or("", Namespace::name));
        variables.set("tmp", tmp);
        variables.set("plugin", suite.plugin.display().to_string());
        variables.set("version", version);
        // Different in every run, so that what one leaves cannot help or hurt another.
        variables.set("number", (1000 + number).to_string());
        variables.set("octets", format!("{}.{}", 100 + number / 250 % 150, 1 + number % 250));
        variables.set("container", format!("c{}-{number}", std::process::id()));
        let own = suite.plugin.parent().unwrap_or(Path::new("")).display().to_string();
        let path: Vec<_> = [own].into_iter().chain(profile.path.iter().cloned()).collect();
        variables.set("path", variables.text(&path.join(":"))?);

        let mut env = BTreeMap::new();
        env.insert("PATH".into(), std::env::var("PATH").unwrap_or_default());
        for (name, value) in [
            ("CNI_CONTAINERID", "{container}"),
            ("CNI_NETNS", "{netns}"),
            ("CNI_IFNAME", "net1"),
            ("CNI_PATH", "{path}"),
        ] {
            env.insert(name.into(), variables.text(value)?);
        }
        env.extend(variables.table(&profile.env)?);
        env.extend(variables.table(&case.env)?);
        let mut config = Map::new();
        config.insert("cniVersion".into(), version.into());
        config.insert("name".into(), "conformance".into());
        config.extend(variables.map(&profile.config)?);
        config.extend(variables.map(&case.config)?);
        if let Some(before) = &profile.before {
            let outcome = call::shell(&variables.text(before)?)?;
            if !outcome.succeeded() {
                return Err(Stop::Broken(describe("the profile's `before`", &[], &outcome)));
            }
        }
        Ok(Self {
            suite,
            variables,
            env,
            config,
            departures: Vec::new(),
            added: Vec::new(),
            _namespace: namespace,
            _directory: directory,
        })
    }

    fn steps(&mut self, case: &Case) -> Result<(), Stop> {
        for (index, step) in case.steps.iter().enumerate() {
            let started = Instant::now();
            let json = loop {
                match self.step(step, &format!("step {}", index + 1)) {
                    Err(Stop::Broken(_)) if step.retry && started.elapsed() < PATIENCE => {
                        thread::sleep(Duration::from_millis(50));
                    }
                    other => break other?,
                }
            };
            for (name, pointer) in &step.keep {
                let mut found = expect::find(&json, pointer);
                match found.pop() {
                    Some(value) if found.is_empty() => self.variables.keep(name, value),
                    _ => {
                        return Err(Stop::Broken(format!(
                            "step {}: nothing to keep at {pointer:?}",
                            index + 1
                        )));
                    }
                }
            }
        }
        Ok(())
    }

    fn step(&mut self, step: &Step, place: &str) -> Result<Value, Stop> {
        let departure = step.on.get(&self.suite.profile.name);
        let expected = self.filled(departure.map_or(&step.expect, |departure| &departure.expect))?;
        if let Some(departure) = departure {
            self.departures.push(departure.why.clone());
        }
        let (title, outcome, mut wrong, json) = match (&step.verb, &step.run) {
            (Some(verb), _) => self.call(verb, step)?,
            (None, Some(script)) => {
                let outcome = call::shell(&self.variables.text(script)?)?;
                let json = serde_json::from_str(&outcome.stdout).ok();
                (script.clone(), outcome, Vec::new(), json)
            }
            (None, None) => (String::new(), call::shell("exit 1")?, Vec::new(), None),
        };
        wrong.extend(expect::mismatches(&expected, &outcome, json.as_ref()));
        if wrong.is_empty() {
            Ok(json.unwrap_or_default())
        } else {
            Err(Stop::Broken(describe(&format!("{place}, {title}"), &wrong, &outcome)))
        }
    }

    fn call(
        &mut self,
        verb: &str,
        step: &Step,
    ) -> Result<(String, Outcome, Vec<String>, Option<Value>), Stop> {
        let mut env = self.env.clone();
        if !verb.is_empty() {
            env.insert("CNI_COMMAND".into(), verb.into());
        }
        env.extend(self.variables.table(&step.env)?);
        for name in &step.unset {
            env.remove(name);
        }
        let (stdin, version) = self.stdin(step)?;
        let outcome = call::call(&self.suite.plugin, &env, &stdin)?;
        let json = serde_json::from_str(&outcome.stdout).ok();
        if verb == "ADD" && outcome.succeeded() {
            self.added.push((env, stdin));
        }
        let call = Call { verb, version: version.as_deref(), outcome: &outcome, json: json.as_ref() };
        let departs = &self.suite.profile.departs;
        let mut wrong = Vec::new();
        for rule in invariant::ALL {
            if let Some(what) = (rule.broken)(&call).filter(|_| !departs.contains_key(rule.name)) {
                wrong.push(format!("{what} ({})", rule.name));
            }
        }
        Ok((verb.into(), outcome, wrong, json))
    }

    /// What the plugin reads, and the version it asks for if it is JSON.
    fn stdin(&self, step: &Step) -> Result<(Vec<u8>, Option<String>), Stop> {
        if let Some(hex) = &step.stdin_hex {
            let bytes: Result<_, _> =
                hex.split_whitespace().map(|byte| u8::from_str_radix(byte, 16)).collect();
            let bytes = bytes.map_err(|_| Stop::Broken(format!("no hexadecimal bytes: {hex:?}")))?;
            return Ok((bytes, None));
        }
        if let Some(text) = &step.stdin {
            let text = self.variables.text(text)?.repeat(step.times.unwrap_or(1));
            let version = serde_json::from_str::<Value>(&text)
                .ok()
                .and_then(|config| config.get("cniVersion")?.as_str().map(String::from));
            return Ok((text.into_bytes(), version));
        }
        let mut config = self.config.clone();
        config.extend(self.variables.map(&step.config)?);
        for key in &step.omit {
            config.remove(key);
        }
        let version = config.get("cniVersion").and_then(Value::as_str).map(String::from);
        Ok((Value::Object(config).to_string().into_bytes(), version))
    }

    fn filled(&self, expect: &Expect) -> Result<Expect, Stop> {
        let texts = |all: &[String]| all.iter().map(|one| self.variables.text(one)).collect::<Result<_, _>>();
        let mut filled = expect.clone();
        filled.says = texts(&expect.says)?;
        filled.prints = texts(&expect.prints)?;
        filled.prints_not = texts(&expect.prints_not)?;
        filled.logs = texts(&expect.logs)?;
        for value in filled.json.values_mut() {
            *value = self.variables.value(value)?;
        }
        Ok(filled)
    }

    /// Takes away what the case added. That must succeed: runtimes do the same, more than once.
    fn clean(&mut self) -> Result<(), Stop> {
        let mut result = Ok(());
        for (mut env, stdin) in std::mem::take(&mut self.added).into_iter().rev() {
            env.insert("CNI_COMMAND".into(), "DEL".into());
            let outcome = call::call(&self.suite.plugin, &env, &stdin)?;
            if !outcome.succeeded() {
                result = Err(Stop::Broken(describe("DEL after the case", &[], &outcome)));
            }
        }
        if let Some(after) = &self.suite.profile.after {
            call::shell(&self.variables.text(after)?)?;
        }
        result
    }
}

fn describe(place: &str, wrong: &[String], outcome: &Outcome) -> String {
    let mut text = format!("{place}:\n");
    for one in wrong {
        let _ = writeln!(text, "- {one}");
    }
    let _ = writeln!(text, "exit status {:?}", outcome.exit);
    for (name, output) in [("stdout", &outcome.stdout), ("stderr", &outcome.stderr)] {
        let cut: String = output.trim_end().chars().take(2000).collect();
        let _ = writeln!(text, "{name}: {cut}");
    }
    text
}
