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
    /// Runs one check to its end, notes what it saw and says so at once: the whole takes a while.
    pub(super) async fn check(&mut self, name: &'static str, check: impl Future<Output = Result<String>>) {
        let (ok, detail) = match check.await {
            Ok(seen) => (true, seen),
            Err(error) => (false, format!("{error:#}")),
        };
        let line = Line { name, ok, detail };
        println!("{line}");
        self.lines.push(line);
    }

    pub fn holds(&self) -> bool {
        !self.lines.is_empty() && self.lines.iter().all(|line| line.ok)
    }

    pub fn write_json(&self, path: &Path) -> Result<()> {
        let json = serde_json::to_string_pretty(self)?;
        std::fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// The sum of it.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failed = self.lines.iter().filter(|line| !line.ok).count();
        write!(f, "{} passed, {failed} failed", self.lines.len() - failed)
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.ok { "ok  " } else { "FAIL" };
        write!(f, "{mark}  {:WIDTH$}  {}", self.name, self.detail)
    }
}

/// Room for the longest name.
const WIDTH: usize = 30;
