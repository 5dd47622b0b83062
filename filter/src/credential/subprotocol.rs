//! Tokens in `Sec-WebSocket-Protocol`: the client offers `bearer` and, right after it, the token.
//!
//! Both are taken out, so that the upstream sees only the protocols that the client really speaks. A browser
//! drops a connection whose reply selects none of the protocols it offered; if the upstream selects none, its
//! route selects [`MARKER`], which was offered.

use super::header_value;

/// Announces that the next entry is a token. Subprotocol names are compared with case (RFC 6455 §4.1).
pub const MARKER: &str = "bearer";

/// A list of offered subprotocols, all lines together.
#[derive(Debug, Default)]
pub struct Offer<'r> {
    entries: Vec<Entry<'r>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry<'r> {
    Protocol(&'r [u8]),
    Token(&'r [u8]),
}

impl<'r> Offer<'r> {
    pub fn read(lines: &[&'r [u8]]) -> Self {
        let mut offered = lines
            .iter()
            .flat_map(|line| line.split(|b| *b == b','))
            .map(<[u8]>::trim_ascii)
            .filter(|entry| !entry.is_empty());
        let mut entries = Vec::new();
        while let Some(entry) = offered.next() {
            entries.push(match entry {
                _ if entry != MARKER.as_bytes() => Entry::Protocol(entry),
                _ => match offered.next() {
                    Some(token) => Entry::Token(token),
                    None => Entry::Protocol(entry),
                },
            });
        }
        Self { entries }
    }

    pub fn tokens(&self) -> impl Iterator<Item = &'r [u8]> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Token(token) => Some(*token),
            Entry::Protocol(_) => None,
        })
    }

    /// The offer without tokens as one header value, possibly empty; `None` if there was no token in it.
    pub fn remaining(&self) -> Option<Vec<u8>> {
        self.tokens().next()?;
        let protocols = self.entries.iter().filter_map(|entry| match entry {
            Entry::Protocol(name) => Some(*name),
            Entry::Token(_) => None,
        });
        Some(header_value(protocols.collect::<Vec<_>>().join(&b", "[..])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> (Vec<String>, Option<String>) {
        let lines: Vec<_> = lines.iter().map(|line| line.as_bytes()).collect();
        let offer = Offer::read(&lines);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (offer.tokens().map(text).collect(), offer.remaining().map(|bytes| text(&bytes)))
    }

    #[test]
    fn takes_the_marker_and_the_token_after_it() {
        for (lines, tokens, remaining) in [
            (&["bearer, a.b.c"][..], &["a.b.c"][..], Some("")),
            (&["v1.quotes,bearer,a.b.c , v2.quotes"], &["a.b.c"], Some("v1.quotes, v2.quotes")),
            (&["bearer", "a.b.c"], &["a.b.c"], Some("")),
            (&["bearer, a", "bearer, b"], &["a", "b"], Some("")),
            (&["bearer, bearer"], &["bearer"], Some("")),
            (&["v1", "v2"], &[], None),
            (&["bearer"], &[], None),
            (&["Bearer, a.b.c"], &[], None),
            (&[", ,"], &[], None),
            (&[], &[], None),
        ] {
            let tokens = tokens.iter().map(ToString::to_string).collect();
            assert_eq!(read(lines), (tokens, remaining.map(str::to_owned)), "{lines:?}");
        }
    }
}
