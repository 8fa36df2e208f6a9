//! What a run found, for people.

use std::fmt;

/// How one run of one case ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As expected.
    Kept,
    /// As expected of this plugin alone: the reasons.
    Departs(Vec<String>),
    /// The case does not apply: the reason.
    NotAsked(String),
    /// What is wrong.
    Broken(String),
}

/// A case and its verdict.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its name; with the version if it is run for more than one.
    pub case: String,
    /// See there.
    pub verdict: Verdict,
}

/// All of them, in order.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Name of the profile.
    pub plugin: String,
    /// See there.
    pub entries: Vec<Entry>,
}

impl Report {
    /// Names of the cases that found something wrong.
    #[must_use]
    pub fn broken(&self) -> Vec<&str> {
        self.entries
            .iter()
            .filter(|entry| matches!(entry.verdict, Verdict::Broken(_)))
            .map(|entry| entry.case.as_str())
            .collect()
    }

    /// How many were asked.
    #[must_use]
    pub fn asked(&self) -> usize {
        self.entries.iter().filter(|entry| !matches!(entry.verdict, Verdict::NotAsked(_))).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Entry { case, verdict } in &self.entries {
            match verdict {
                Verdict::Kept => writeln!(f, "kept       {case}")?,
                Verdict::Departs(why) => writeln!(f, "departs    {case}: {}", why.join("; "))?,
                Verdict::NotAsked(why) => writeln!(f, "not asked  {case}: {why}")?,
                Verdict::Broken(what) => writeln!(f, "BROKEN     {case}\n{}", indented(what))?,
            }
        }
        let broken = self.broken().len();
        write!(f, "{}: {} cases, {broken} broken", self.plugin, self.asked())
    }
}

fn indented(text: &str) -> String {
    text.trim_end().lines().map(|line| format!("           {line}\n")).collect::<String>().trim_end().into()
}
