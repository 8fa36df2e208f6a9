//! What a check says: a verdict, what was found, and what to do about it, a line each.

use serde::Serialize;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    /// Nothing to do.
    Ok,
    /// The switch runs, but slower, or without something that this machine may not need.
    Warn,
    /// The switch does not run, or not as it is configured.
    Fail,
}

impl Verdict {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "FAIL",
        }
    }
}

/// The answer of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// Its name; docs/doctor.md has a row for each.
    pub(super) check: &'static str,
    pub(super) verdict: Verdict,
    pub(super) found: String,
    /// Empty where all is well.
    pub(super) remedy: String,
}

impl Finding {
    pub(super) fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Ok, found: one_line(&found.into()), remedy: String::new() }
    }

    pub(super) fn warn(check: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { verdict: Verdict::Warn, remedy: one_line(&remedy.into()), ..Self::ok(check, found) }
    }

    pub(super) fn fail(check: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { verdict: Verdict::Fail, ..Self::warn(check, found, remedy) }
    }
}

fn one_line(text: &str) -> String {
    text.replace('\n', " ")
}

/// All answers.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    /// The worst of all.
    pub(super) verdict: Verdict,
    pub(super) checks: Vec<Finding>,
}

impl Report {
    pub(super) fn new(checks: Vec<Finding>) -> Self {
        Self { verdict: checks.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Ok), checks }
    }

    /// For people: a line for each check, and below it what to do.
    pub(super) fn text(&self) -> String {
        let width = self.checks.iter().map(|finding| finding.check.len()).max().unwrap_or_default();
        let mut lines = Vec::new();
        for Finding { check, verdict, found, remedy } in &self.checks {
            lines.push(format!("{:<4}  {check:<width$}  {found}", verdict.word()));
            if !remedy.is_empty() {
                lines.push(format!("{:4}  {:width$}  -> {remedy}", "", ""));
            }
        }
        let count = |verdict| self.checks.iter().filter(|finding| finding.verdict == verdict).count();
        let (warnings, failures) = (count(Verdict::Warn), count(Verdict::Fail));
        lines.push(format!("{} checks, {warnings} warnings, {failures} failures", self.checks.len()));
        lines.join("\n")
    }
}
