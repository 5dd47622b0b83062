//! Events for other programs: a line of JSON each, or a row of a table that a spreadsheet may open.

use serde::Serialize;

use super::EventBody;
use super::chain::{Link, hex};

/// An event with its place in the chain.
#[derive(Debug, Serialize)]
pub struct Line {
    #[serde(flatten)]
    event: EventBody,
    /// Absent until it is sealed.
    sequence: Option<i64>,
    /// In hexadecimal.
    seal: Option<String>,
}

impl From<Link> for Line {
    fn from(link: Link) -> Self {
        let Link { event, sequence, seal, .. } = link;
        Self { event: event.into(), sequence, seal: seal.map(|seal| hex(&seal)) }
    }
}

/// The names of the columns of [`Line::csv`].
pub const CSV_HEADER: &str = "sequence,id,at,type,outcome,actor,subject,ip,device,session_id,request_id,seal";

impl Line {
    /// A row of CSV (RFC 4180), every cell quoted.
    pub fn csv(self) -> String {
        let EventBody { id, at, kind, outcome, actor, subject, ip, device, session_id, request_id } =
            self.event;
        let sequence = self.sequence.map(|sequence| sequence.to_string());
        let optional = |text: Option<String>| text.unwrap_or_default();
        let cells = [
            optional(sequence),
            id,
            at,
            kind,
            outcome,
            optional(actor),
            optional(subject),
            optional(ip),
            optional(device),
            optional(session_id),
            optional(request_id),
            optional(self.seal),
        ];
        cells.map(|cell| quoted(&cell)).join(",")
    }
}

/// A cell that no spreadsheet takes for a formula: what could begin one gets an apostrophe ahead of it.
fn quoted(cell: &str) -> String {
    let formula = cell.trim_start().starts_with(['=', '+', '-', '@']) || cell.starts_with(['\t', '\r', '\n']);
    format!("\"{}{}\"", if formula { "'" } else { "" }, cell.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_no_formula_and_stays_in_its_cell() {
        let cases = [
            ("Firefox", "\"Firefox\""),
            ("a \"b\", c", "\"a \"\"b\"\", c\""),
            ("=1+1", "\"'=1+1\""),
            (" @SUM(A1)", "\"' @SUM(A1)\""),
            ("-2", "\"'-2\""),
            ("\tx", "\"'\tx\""),
        ];
        for (cell, expected) in cases {
            assert_eq!(quoted(cell), expected);
        }
    }
}
