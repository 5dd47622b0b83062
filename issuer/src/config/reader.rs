//! Reads a TOML document with environment variables laid over it, section by section, and gathers everything
//! that is wrong instead of stopping at the first. A key that nobody asked for is an error.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use toml::{Table, Value};

use super::finding::Finding;
use super::value::Setting;

/// Variables are `COUNTERSIGN_<SECTION>__<KEY>`. Those without the double underscore are left alone: container
/// platforms make such names (`COUNTERSIGN_SERVICE_HOST`) on their own account.
const PREFIX: &str = "COUNTERSIGN_";

/// Sections whose keys no variable can name.
const FILE_ONLY: [&str; 2] = ["keys", "roles"];

pub(super) struct Reader {
    pub(super) file: String,
    pub(super) findings: Vec<Finding>,
    /// Every key that was asked for, dotted: the reference of what exists.
    pub(super) known: BTreeSet<String>,
    root: Table,
    /// Dotted key to (variable, value).
    variables: BTreeMap<String, (String, String)>,
    /// The names of variables with our prefix and without a double underscore.
    foreign: BTreeSet<String>,
}

impl Reader {
    pub(super) fn new(file: &Path, root: Table, env: impl IntoIterator<Item = (String, String)>) -> Self {
        let (mut variables, mut foreign) = (BTreeMap::new(), BTreeSet::new());
        for (name, value) in env {
            match name.strip_prefix(PREFIX) {
                Some(key) if key.contains("__") => {
                    variables.insert(key.replace("__", ".").to_ascii_lowercase(), (name, value));
                }
                Some(_) => drop(foreign.insert(name)),
                None => {}
            }
        }
        Self {
            file: file.display().to_string(),
            findings: Vec::new(),
            known: BTreeSet::new(),
            root,
            variables,
            foreign,
        }
    }

    /// Opens `[name]`; a missing section is an empty one.
    pub(super) fn section(&mut self, name: &'static str) -> Section<'_> {
        let table = match self.root.remove(name) {
            None => Table::new(),
            Some(Value::Table(table)) => table,
            Some(other) => {
                self.error(name, format!("expected a section [{name}], found {}", other.type_str()));
                Table::new()
            }
        };
        self.known.insert(format!("{name}."));
        Section { path: name.to_owned(), reader: self, table, asked: Vec::new() }
    }

    /// Takes the tables of `[[name]]` out of the document, in order.
    pub(super) fn tables(&mut self, name: &'static str) -> Vec<Table> {
        self.known.insert(format!("{name}."));
        let entries = match self.root.remove(name) {
            None => Vec::new(),
            Some(Value::Array(entries)) => entries,
            Some(other) => {
                self.error(name, format!("expected [[{name}]], found {}", other.type_str()));
                Vec::new()
            }
        };
        let mut tables = Vec::new();
        for entry in entries {
            match entry {
                Value::Table(table) => tables.push(table),
                other => self.error(name, format!("expected [[{name}]], found {}", other.type_str())),
            }
        }
        tables
    }

    /// A section from a table already taken out, such as one of [`Reader::tables`] and [`Section::table`].
    pub(super) fn entry(&mut self, path: String, table: Table) -> Section<'_> {
        Section { path, reader: self, table, asked: Vec::new() }
    }

    /// Complains about sections and variables that nobody asked for.
    pub(super) fn finish(&mut self) {
        let sections: Vec<String> =
            self.known.iter().filter_map(|key| key.strip_suffix('.')).map(str::to_owned).collect();
        for name in std::mem::take(&mut self.root).keys() {
            let hint = nearest(name, sections.iter().map(String::as_str));
            self.error(name, format!("unknown section{hint}"));
        }
        let section = |key: &str| key.split_once('.').map_or("", |(section, _)| section).to_owned();
        let file_only = |key: &str| FILE_ONLY.contains(&section(key).as_str());
        let keys: Vec<&str> = self.known.iter().map(String::as_str).filter(|k| !k.ends_with('.')).collect();
        let keys: Vec<&str> = keys.into_iter().filter(|key| !file_only(key)).collect();
        let mut strays = Vec::new();
        for (key, (variable, _)) in &self.variables {
            let message = if file_only(key) {
                format!("{} can be set in the file only", section(key))
            } else {
                format!("unknown key{}", nearest(key, keys.iter().copied()))
            };
            strays.push(Finding::error(variable, key.clone(), message));
        }
        for key in &keys {
            let key = key.to_ascii_uppercase();
            let slip = format!("{PREFIX}{}", key.replace('.', "_"));
            if self.foreign.contains(&slip) {
                let meant = format!("{PREFIX}{}", key.replace('.', "__"));
                strays.push(Finding::warning(slip, "", format!("is not read; did you mean {meant}?")));
            }
        }
        self.findings.extend(strays);
    }

    pub(super) fn error(&mut self, key: impl Into<String>, message: impl Into<String>) {
        self.findings.push(Finding::error(&self.file, key, message));
    }

    pub(super) fn warning(&mut self, key: impl Into<String>, message: impl Into<String>) {
        self.findings.push(Finding::warning(&self.file, key, message));
    }
}

/// One table of the document. Ask for every key it may have, then [`Section::finish`].
pub(super) struct Section<'r> {
    path: String,
    reader: &'r mut Reader,
    table: Table,
    asked: Vec<&'static str>,
}

impl Section<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.path)
    }

    /// The value of an optional key. A value of the wrong kind is a finding and reads as absent.
    pub(super) fn optional<T: Setting>(&mut self, name: &'static str) -> Option<T> {
        self.asked.push(name);
        let key = self.key(name);
        // `keys[1].kid` is known as `keys.kid`.
        let general = key.split_once('[').map_or(key.clone(), |(list, _)| format!("{list}.{name}"));
        self.reader.known.insert(general);
        let written = self.table.remove(name);
        let wrong = |found: &str| format!("expected {}{found}", T::EXPECTED);
        if let Some((variable, text)) = self.reader.variables.remove(&key) {
            let value = T::from_text(&text);
            if value.is_none() {
                self.reader.findings.push(Finding::error(variable, key, wrong("")));
            }
            return value;
        }
        let written = written?;
        let value = T::from_toml(&written);
        if value.is_none() {
            let found =
                if written.is_str() { String::new() } else { format!(", found {}", written.type_str()) };
            self.reader.error(key, wrong(&found));
        }
        value
    }

    /// Takes a table inside this one, `[section.name]`; a missing one is empty.
    pub(super) fn table(&mut self, name: &'static str) -> Table {
        self.asked.push(name);
        match self.table.remove(name) {
            None => Table::new(),
            Some(Value::Table(table)) => table,
            Some(other) => {
                let path = self.key(name);
                self.error(name, format!("expected a section [{path}], found {}", other.type_str()));
                Table::new()
            }
        }
    }

    pub(super) fn or<T: Setting>(&mut self, name: &'static str, default: T) -> T {
        self.optional(name).unwrap_or(default)
    }

    /// The value of a key that has no default; `None` after a finding.
    pub(super) fn required<T: Setting>(&mut self, name: &'static str) -> Option<T> {
        let before = self.reader.findings.len();
        let value = self.optional(name);
        if value.is_none() && self.reader.findings.len() == before {
            self.error(name, "is required");
        }
        value
    }

    /// Tells whoever still sets `name` where it has gone.
    pub(super) fn moved(&mut self, name: &'static str, to: &str) {
        let message = format!("moved to {to}");
        if let Some((variable, _)) = self.reader.variables.remove(&self.key(name)) {
            self.reader.findings.push(Finding::error(variable, self.key(name), message.clone()));
        }
        if self.table.remove(name).is_some() {
            self.error(name, message);
        }
    }

    /// Whether an environment variable sets `name`.
    pub(super) fn set_by_environment(&self, name: &str) -> bool {
        self.reader.variables.contains_key(&self.key(name))
    }

    /// The names still in the table, for sections whose keys are the operator's own.
    pub(super) fn names(&self) -> Vec<String> {
        self.table.keys().cloned().collect()
    }

    /// The value under a name of the operator's own; `None` after a finding.
    pub(super) fn named<T: Setting>(&mut self, name: &str) -> Option<T> {
        let value = T::from_toml(&self.table.remove(name)?);
        if value.is_none() {
            self.error(name, format!("expected {}", T::EXPECTED));
        }
        value
    }

    pub(super) fn error(&mut self, name: &str, message: impl Into<String>) {
        let key = self.key(name);
        self.reader.error(key, message);
    }

    pub(super) fn warning(&mut self, name: &str, message: impl Into<String>) {
        let key = self.key(name);
        self.reader.warning(key, message);
    }

    /// Complains about keys that nobody asked for.
    pub(super) fn finish(mut self) {
        for name in self.names() {
            let hint = nearest(&name, self.asked.iter().copied());
            self.error(&name, format!("unknown key{hint}"));
        }
    }
}

/// `; did you mean "x"?` if a candidate is close enough to be a slip of the pen.
pub(super) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> String {
    candidates
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map_or_else(String::new, |(_, candidate)| format!("; did you mean {candidate:?}?"))
}
