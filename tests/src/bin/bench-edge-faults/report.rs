//! What was found, for people (a table) and for programs (`target/bench/edge-faults.json`), held against what the project
//! promises.

use std::fmt;

use anyhow::Result;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::load::Tally;

/// Shown of what went wrong.
const MOST_NOTES: usize = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Part {
    /// From a logout to the refusal of its tokens, and the end of its WebSockets
    Logout,
    /// The signing key changes, as planned
    Rotation,
    /// A key is revoked
    Emergency,
    /// The issuer goes away, and comes back
    IssuerRestart,
    /// Another configuration of the filter is moved in
    ConfigSwap,
    /// Another build of the filter is moved in
    ModuleSwap,
    /// Thousands of WebSockets on one worker
    Websockets,
    /// A hundred thousand sessions that have ended
    Revocations,
    /// A million bad tokens, a hundred thousand bad API keys
    Floods,
}

impl Part {
    pub(crate) const ALL: [Self; 9] = [
        Self::Logout,
        Self::Rotation,
        Self::Emergency,
        Self::IssuerRestart,
        Self::ConfigSwap,
        Self::ModuleSwap,
        Self::Websockets,
        Self::Revocations,
        Self::Floods,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Logout => "logout",
            Self::Rotation => "rotation",
            Self::Emergency => "emergency",
            Self::IssuerRestart => "issuer-restart",
            Self::ConfigSwap => "config-swap",
            Self::ModuleSwap => "module-swap",
            Self::Websockets => "websockets",
            Self::Revocations => "revocations",
            Self::Floods => "floods",
        }
    }
}

/// What was seen of one thing, and what was promised of it, if anything.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Finding {
    what: String,
    seen: f64,
    unit: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    promised: Option<Promise>,
    /// What was seen that should not be.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
}

#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
enum Promise {
    AtMost(f64),
    AtLeast(f64),
}

impl Finding {
    pub(crate) fn new(what: impl Into<String>, seen: f64, unit: &'static str) -> Self {
        Self { what: what.into(), seen, unit, promised: None, notes: Vec::new() }
    }

    pub(crate) fn at_most(self, bound: f64) -> Self {
        Self { promised: Some(Promise::AtMost(bound)), ..self }
    }

    pub(crate) fn at_least(self, bound: f64) -> Self {
        Self { promised: Some(Promise::AtLeast(bound)), ..self }
    }

    /// Something that must not be, and how often it was.
    pub(crate) fn never(what: impl Into<String>, count: usize, notes: &[String]) -> Self {
        let notes = notes.iter().take(if count > 0 { MOST_NOTES } else { 0 }).cloned().collect();
        Self { notes, ..Self::new(what, count as f64, "").at_most(0.0) }
    }

    /// Of one of several things that a part looks at.
    pub(crate) fn named(self, of: &str) -> Self {
        Self { what: format!("{of}: {}", self.what), ..self }
    }

    fn is_as_promised(&self) -> bool {
        match self.promised {
            None => true,
            Some(Promise::AtMost(bound)) => self.seen <= bound,
            Some(Promise::AtLeast(bound)) => self.seen >= bound,
        }
    }
}

/// What good requests have met that should not be.
pub(crate) fn of_good(tally: &Tally) -> [Finding; 2] {
    [
        Finding::never("good requests that were refused", tally.refused, &tally.notes),
        Finding::never("requests without an answer", tally.unanswered, &tally.notes),
    ]
}

/// The same of bad ones.
pub(crate) fn of_bad(tally: &Tally) -> [Finding; 2] {
    [
        Finding::never("bad requests that were let through", tally.admitted, &tally.notes),
        Finding::never("bad requests that were refused in another way", tally.otherwise, &tally.notes),
    ]
}

/// All that a part has found, and what it was found from.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Results {
    pub(crate) findings: Vec<Finding>,
    /// By name: what the findings were computed from.
    pub(crate) details: Map<String, Value>,
}

impl Results {
    pub(crate) fn add(&mut self, findings: impl IntoIterator<Item = Finding>) {
        self.findings.extend(findings);
    }

    pub(crate) fn detail(&mut self, name: &str, detail: impl Into<Value>) {
        self.details.insert(name.to_owned(), detail.into());
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    about: Value,
    parts: Vec<(Part, Results)>,
}

impl Report {
    pub(crate) fn new(about: Value) -> Self {
        Self { about, parts: Vec::new() }
    }

    /// A part that did not come to its end has found that.
    pub(crate) fn add(&mut self, part: Part, results: Result<Results>) {
        let results = results.unwrap_or_else(|error| {
            eprintln!("{}: {error:#}", part.name());
            let broken = Finding::never("not measured to the end", 1, &[format!("{error:#}")]);
            Results { findings: vec![broken], ..Results::default() }
        });
        self.parts.push((part, results));
    }

    pub(crate) fn is_as_promised(&self) -> bool {
        self.parts.iter().all(|(_, results)| results.findings.iter().all(Finding::is_as_promised))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (part, Results { findings, .. }) in &self.parts {
            writeln!(f, "\n{}", part.name())?;
            for finding in findings {
                write!(f, "{finding}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, seen, unit, promised, notes } = self;
        let promised = match promised {
            None => String::new(),
            Some(Promise::AtMost(bound)) => format!("at most {}", number(*bound)),
            Some(Promise::AtLeast(bound)) => format!("at least {}", number(*bound)),
        };
        let missed = if self.is_as_promised() { "" } else { "  MISSED" };
        writeln!(f, "  {what:<58} {:>12} {unit:<4} {promised:<16}{missed}", number(*seen))?;
        notes.iter().try_for_each(|note| writeln!(f, "      {note}"))
    }
}

/// As many places as say something.
fn number(value: f64) -> String {
    match value.abs() {
        _ if value.fract() == 0.0 => format!("{value:.0}"),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_that_is_missed_is_told_and_the_rest_goes_on() {
        let mut report = Report::new(Value::Null);
        let findings =
            vec![Finding::new("p50", 151.0, "ms").at_most(150.0), Finding::new("max", 900.0, "ms")];
        report.add(Part::Logout, Ok(Results { findings, ..Results::default() }));
        report.add(Part::Floods, Err(anyhow::anyhow!("no Envoy")));
        assert!(!report.is_as_promised());
        let table = report.to_string();
        assert_eq!(table.matches("MISSED").count(), 2, "{table}");
        assert!(table.contains("no Envoy") && table.contains("at most 150"), "{table}");
    }

    #[test]
    fn what_is_only_told_misses_nothing() {
        let mut report = Report::new(Value::Null);
        let findings =
            vec![Finding::never("traps", 0, &[]), Finding::new("ratio", 0.999, "").at_least(0.999)];
        report.add(Part::Floods, Ok(Results { findings, ..Results::default() }));
        assert!(report.is_as_promised(), "{report}");
    }
}
