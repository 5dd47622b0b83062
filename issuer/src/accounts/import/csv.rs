//! Records of a CSV file (RFC 4180), whose first line names the columns. A cell may have several lines if its column
//! means nothing here. A quote that is not closed, or only by that of another record, spoils the line in which it was
//! opened and no other.

use std::io::BufRead;

use csv_core::{ReadRecordResult, ReaderBuilder, Terminator};

use super::lines::{LONGEST, Line, Lines};
use super::row::{Column, Refusal, Row};
use super::{HeaderError, InvalidFile};

/// More columns than any table of users has.
const MOST_COLUMNS: usize = 256;

/// Its cells, and the lines that it took beyond the first.
type Record = (Vec<String>, Vec<Line>);

pub(super) struct Csv {
    parser: csv_core::Reader,
    columns: Vec<Option<Column>>,
    unread: Vec<String>,
    /// Where records are written, one over the other.
    output: Vec<u8>,
}

impl Csv {
    /// Reads the header.
    pub(super) fn open<R: BufRead>(lines: &mut Lines<R>) -> Result<Self, InvalidFile> {
        let parser = ReaderBuilder::new().terminator(Terminator::Any(b'\n')).build();
        let mut csv = Self { parser, columns: Vec::new(), unread: Vec::new(), output: vec![0; LONGEST + 2] };
        let Some(first) = lines.next()? else { return Err(HeaderError::Empty.into()) };
        let (cells, _) = csv.cells(first, lines)?.map_err(HeaderError::Line)?;
        for cell in &cells {
            let column = Column::named(cell.trim());
            if column.is_some() && csv.columns.contains(&column) {
                return Err(HeaderError::Line(Refusal::Twice(cell.trim().to_owned())).into());
            }
            if column.is_none() {
                csv.unread.push(cell.trim().to_owned());
            }
            csv.columns.push(column);
        }
        for required in [Column::Id, Column::Email, Column::PasswordHash] {
            if !csv.columns.contains(&Some(required)) {
                let semicolons = cells.len() == 1 && cells.iter().any(|cell| cell.contains([';', '\t']));
                let missing = HeaderError::Missing { column: required.name() };
                return Err(if semicolons { HeaderError::NoCommas } else { missing }.into());
            }
        }
        Ok(csv)
    }

    /// The names of columns that mean nothing here.
    pub(super) fn unread(&self) -> &[String] {
        &self.unread
    }

    pub(super) fn row<R: BufRead>(
        &mut self,
        first: Line,
        lines: &mut Lines<R>,
    ) -> std::io::Result<Result<Row, Refusal>> {
        let (cells, more) = match self.cells(first, lines)? {
            Ok(read) => read,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let (found, expected) = (cells.len(), self.columns.len());
        let of_lines = |(column, cell): (&Option<Column>, &String)| column.is_some() && cell.contains('\n');
        if !more.is_empty() && (found != expected || self.columns.iter().zip(&cells).any(of_lines)) {
            // What looks like more of this record are the next ones.
            lines.put_back(more);
            return Ok(Err(Refusal::OpenQuote));
        }
        if found != expected {
            return Ok(Err(Refusal::Columns { found, expected }));
        }
        let mut row = Row::default();
        for (column, cell) in self.columns.iter().zip(cells) {
            if let Some(column) = column {
                row.set(*column, cell);
            }
        }
        Ok(Ok(row))
    }

    /// The record that begins with this line; more are read as long as a quote is open.
    fn cells<R: BufRead>(
        &mut self,
        first: Line,
        lines: &mut Lines<R>,
    ) -> std::io::Result<Result<Record, Refusal>> {
        let Some(mut text) = first.text else { return Ok(Err(Refusal::TooLong)) };
        let mut ends = [0; MOST_COLUMNS];
        let (mut written, mut ended, mut length) = (0, 0, 0);
        let mut more = Vec::new();
        self.parser.reset();
        loop {
            text.push(b'\n');
            length += text.len();
            let (to, ends_to) = (self.output.get_mut(written..), ends.get_mut(ended..));
            let (to, ends_to) = (to.unwrap_or_default(), ends_to.unwrap_or_default());
            let (result, _, wrote, end) = self.parser.read_record(&text, to, ends_to);
            (written, ended) = (written + wrote, ended + end);
            let next = match result {
                ReadRecordResult::Record => break,
                ReadRecordResult::OutputEndsFull if more.is_empty() => return Ok(Err(Refusal::ManyColumns)),
                ReadRecordResult::InputEmpty => lines.next_of_any()?,
                _ => None,
            };
            let next_text = next.as_ref().and_then(|line| line.text.clone());
            more.extend(next);
            let Some(next) = next_text.filter(|text| length + text.len() < LONGEST) else {
                // They may be good without this one.
                lines.put_back(more);
                return Ok(Err(Refusal::OpenQuote));
            };
            text = next;
        }
        let mut cells = Vec::with_capacity(ended);
        let mut start = 0;
        for end in ends.iter().take(ended) {
            let cell = self.output.get(start..*end).unwrap_or_default();
            let Ok(cell) = std::str::from_utf8(cell) else {
                lines.put_back(more);
                return Ok(Err(Refusal::NotUtf8));
            };
            cells.push(cell.to_owned());
            start = *end;
        }
        Ok(Ok((cells, more)))
    }
}
