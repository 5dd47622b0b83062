//! Users of another system: what their files say, read line by line in bounded memory. A line that is wrong is named and
//! stops nothing; nothing that exists here already is changed.

mod csv;
mod json;
mod lines;
mod person;
mod row;
pub mod store;

use std::io::BufRead;

use super::ImportedUser;
use csv::Csv;

pub(crate) use lines::Lines;
pub use person::Rules;
pub(crate) use person::unix_time;
pub use row::{Column, Refusal};
pub use store::Outcome;

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The first line names the columns.
    Csv,
    /// An object in every line.
    JsonLines,
}

/// Why a file is not read at all.
#[derive(Debug, thiserror::Error)]
pub enum InvalidFile {
    #[error("{0}")]
    Unreadable(#[from] std::io::Error),
    #[error("{0}")]
    Header(#[from] HeaderError),
}

/// What is wrong with the beginning of a file.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    #[error("is empty")]
    Empty,
    #[error("is UTF-16; it has to be UTF-8")]
    Utf16,
    #[error("is one JSON array; it has to be an object in every line")]
    Array,
    #[error("the columns have to be separated by commas")]
    NoCommas,
    #[error("the first line has to name the columns, and there is no {column}")]
    Missing { column: &'static str },
    #[error("the first line {0}")]
    Line(Refusal),
}

/// The users of a file, in its order.
pub struct Users<R> {
    lines: Lines<R>,
    /// `None` for JSON.
    csv: Option<Csv>,
    rules: Rules,
}

impl<R> std::fmt::Debug for Users<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Users").finish_non_exhaustive()
    }
}

impl<R: BufRead> Users<R> {
    /// # Errors
    /// [`InvalidFile`] if it cannot be read, or its beginning makes no sense.
    pub fn open(mut input: R, format: Format, rules: Rules) -> Result<Self, InvalidFile> {
        let beginning = input.fill_buf()?;
        if beginning.starts_with(b"\xff\xfe") || beginning.starts_with(b"\xfe\xff") {
            return Err(HeaderError::Utf16.into());
        }
        if beginning.starts_with(b"\xef\xbb\xbf") {
            input.consume(3);
        }
        if format == Format::JsonLines && input.fill_buf()?.trim_ascii_start().starts_with(b"[") {
            return Err(HeaderError::Array.into());
        }
        let mut lines = Lines::new(input);
        let csv = match format {
            Format::Csv => Some(Csv::open(&mut lines)?),
            Format::JsonLines => None,
        };
        Ok(Self { lines, csv, rules })
    }

    /// The names of columns that mean nothing here.
    pub fn unread_columns(&self) -> &[String] {
        self.csv.as_ref().map(Csv::unread).unwrap_or_default()
    }

    /// The next user, or why there is none in a line, with the number of the line.
    ///
    /// # Errors
    /// Those of reading the file.
    pub fn read(&mut self) -> std::io::Result<Option<(u64, Result<ImportedUser, Refusal>)>> {
        let Some(line) = self.lines.next()? else { return Ok(None) };
        let number = line.number;
        let row = match (&mut self.csv, line.text) {
            (Some(csv), text) => csv.row(lines::Line { number, text }, &mut self.lines)?,
            (None, Some(text)) => json::row(&text),
            (None, None) => Err(Refusal::TooLong),
        };
        Ok(Some((number, row.and_then(|row| self.rules.user(&row)))))
    }
}

#[cfg(test)]
mod tests;
