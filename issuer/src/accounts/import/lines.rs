//! The lines of a file, each in bounded memory however long it is.

use std::collections::VecDeque;
use std::io::{BufRead, Read as _};

/// The most that a line, or a record of several, may have in bytes.
pub(super) const LONGEST: usize = 64 * 1024;

/// Numbers count from 1.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) number: u64,
    /// Without its end; `None` if it is longer than [`LONGEST`].
    pub(crate) text: Option<Vec<u8>>,
}

pub(crate) struct Lines<R> {
    input: R,
    number: u64,
    /// Lines that were read too soon.
    back: VecDeque<Line>,
}

impl<R: BufRead> Lines<R> {
    pub(crate) fn new(input: R) -> Self {
        Self { input, number: 0, back: VecDeque::new() }
    }

    /// The next line with something in it.
    pub(crate) fn next(&mut self) -> std::io::Result<Option<Line>> {
        loop {
            let line = self.next_of_any()?;
            let blank = |line: &Line| line.text.as_ref().is_some_and(|text| text.trim_ascii().is_empty());
            if !line.as_ref().is_some_and(blank) {
                return Ok(line);
            }
        }
    }

    pub(super) fn next_of_any(&mut self) -> std::io::Result<Option<Line>> {
        if let Some(line) = self.back.pop_front() {
            return Ok(Some(line));
        }
        // Room for the end.
        let (most, mut text) = (LONGEST as u64 + 2, Vec::new());
        let read = self.input.by_ref().take(most).read_until(b'\n', &mut text)?;
        if read == 0 {
            return Ok(None);
        }
        self.number += 1;
        if text.pop_if(|byte| *byte == b'\n').is_none() && read as u64 == most {
            self.input.skip_until(b'\n')?;
        }
        text.pop_if(|byte| *byte == b'\r');
        let fits = text.len() <= LONGEST;
        Ok(Some(Line { number: self.number, text: fits.then_some(text) }))
    }

    /// Has lines come again that were read in vain, in their order.
    pub(super) fn put_back(&mut self, lines: Vec<Line>) {
        for line in lines.into_iter().rev() {
            self.back.push_front(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &[u8]) -> Vec<(u64, Option<Vec<u8>>)> {
        // A small buffer, so that lines lie across its end.
        let mut lines = Lines::new(std::io::BufReader::with_capacity(3, text));
        std::iter::from_fn(|| lines.next().unwrap()).map(|line| (line.number, line.text)).collect()
    }

    #[test]
    fn ends_of_every_kind_are_left_out_and_blank_lines_counted() {
        let read = lines(b"one\r\n\n  \r\nfour\nfive");
        assert_eq!(read, [(1, Some(b"one".into())), (4, Some(b"four".into())), (5, Some(b"five".into()))]);
        assert_eq!(lines(b""), []);
    }

    #[test]
    fn a_line_too_long_is_passed_over_and_not_kept() {
        let text =
            [b"one\n".to_vec(), vec![b'x'; LONGEST + 1], b"\nthree\n".to_vec(), vec![b'y'; LONGEST]].concat();
        let read = lines(&text);
        assert_eq!(read[1], (2, None));
        assert_eq!(
            (read[2].1.as_deref(), read[3].1.as_ref().map(Vec::len)),
            (Some(&b"three"[..]), Some(LONGEST))
        );
    }
}
