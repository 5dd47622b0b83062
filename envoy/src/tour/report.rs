//! What the tour saw: one line for each thing it tried.

use std::fmt;
use std::future::Future;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

#[derive(Debug, Default, Serialize)]
#[serde(transparent)]
pub struct Report {
    lines: Vec<Line>,
}

#[derive(Debug, Serialize)]
struct Line {
    name: &'static str,
    ok: bool,
    /// What was seen: the proof, or what went wrong.
    detail: String,
}

impl Report {
    /// Runs one check to its end and notes what it saw.
    pub(super) async fn check(&mut self, name: &'static str, check: impl Future<Output = Result<String>>) {
        let (ok, detail) = match check.await {
            Ok(seen) => (true, seen),
            Err(error) => (false, format!("{error:#}")),
        };
        self.lines.push(Line { name, ok, detail });
    }

    pub fn holds(&self) -> bool {
        !self.lines.is_empty() && self.lines.iter().all(|line| line.ok)
    }

    pub fn write_json(&self, path: &Path) -> Result<()> {
        let json = serde_json::to_string_pretty(self)?;
        std::fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.lines.iter().map(|line| line.name.chars().count()).max().unwrap_or_default();
        for Line { name, ok, detail } in &self.lines {
            let mark = if *ok { "ok  " } else { "FAIL" };
            writeln!(f, "{mark}  {name:width$}  {detail}")?;
        }
        let failed = self.lines.iter().filter(|line| !line.ok).count();
        write!(f, "{} passed, {failed} failed", self.lines.len() - failed)
    }
}
