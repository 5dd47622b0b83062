//! Reading a request target so that only one reading is possible.
//!
//! A path that another server could resolve, decode or split differently is refused instead of cleaned: a rule
//! would be matched on one path and the upstream would serve another.

use std::borrow::Cow;

use countersign_claims::Reject;

/// A request target in origin form (RFC 9112 §3.2.1) that has one reading.
#[derive(Debug, PartialEq, Eq)]
pub struct Target<'r> {
    /// The path with percent-encodings resolved, which is what rules are matched on: `/caf%C3%A9` is `/café`.
    pub path: Cow<'r, [u8]>,
}

impl<'r> Target<'r> {
    /// # Errors
    /// [`Reject::AmbiguousPath`] for dot segments, `//`, `;`, `\`, `#`, control bytes and raw non-ASCII bytes; for
    /// percent-encodings that are broken, that need not be (RFC 3986 §2.3: `%61` is `a`), that hide one of the
    /// characters above, `/` or `?`, or that are encoded once more; and for a target that does not start with `/`.
    pub fn parse(target: &'r [u8]) -> Result<Self, Reject> {
        let (path, query) = split_query(target);
        let sound_query = query.iter().all(|b| !b.is_ascii_control() && !matches!(b, b' ' | b'#'));
        let mut encoded = false;
        let sound_path = one_reading(path, |b| {
            encoded |= b == b'%';
            b.is_ascii_graphic() && !matches!(b, b'#' | b';' | b'\\')
        });
        if !(sound_query && sound_path) {
            return Err(Reject::AmbiguousPath);
        }
        if !encoded {
            return Ok(Self { path: Cow::Borrowed(path) });
        }
        let decoded = decode_once(path).ok_or(Reject::AmbiguousPath)?;
        let sound = !encodes_again(&decoded) && std::str::from_utf8(&decoded).is_ok();
        sound.then_some(Self { path: Cow::Owned(decoded) }).ok_or(Reject::AmbiguousPath)
    }
}

/// The path and the query of a target; the query is empty if there is none.
pub fn split_query(target: &[u8]) -> (&[u8], &[u8]) {
    match target.iter().position(|b| *b == b'?').and_then(|at| target.split_at_checked(at)) {
        Some((path, query)) => (path, query.get(1..).unwrap_or_default()),
        None => (target, &[]),
    }
}

/// Whether a path begins with a slash, no segment is a dot segment, also to servers that cut `;parameters`, none but
/// the last is empty, and every other byte is `allowed`.
fn one_reading(path: &[u8], mut allowed: impl FnMut(u8) -> bool) -> bool {
    let [b'/', relative @ ..] = path else { return false };
    // So many dots, and nothing else, make up the segment so far; or it has become a name.
    const NAME: u8 = 3;
    let mut dots = 0;
    for byte in relative {
        dots = match (*byte, dots) {
            (b'/', NAME) => 0,
            (b'/', _) | (b';', 1 | 2) => return false,
            (b'.', 0) => 1,
            (b'.', 1) => 2,
            (byte, _) if allowed(byte) => NAME,
            _ => return false,
        };
    }
    !matches!(dots, 1 | 2)
}

/// Whether a server that decodes twice would read something else.
fn encodes_again(decoded: &[u8]) -> bool {
    decoded.windows(3).any(|window| matches!(window, [b'%', digits @ ..] if decode_octet(digits).is_some()))
}

/// Resolves percent-encodings. `None` if one is broken or may not stand there.
fn decode_once(path: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        if *byte != b'%' {
            decoded.push(*byte);
            continue;
        }
        let (octet, tail) = decode_octet(rest)?;
        rest = tail;
        if !may_be_encoded(octet) {
            return None;
        }
        decoded.push(octet);
    }
    Some(decoded)
}

/// Whether every reader resolves this octet at the same time, if at all. One reader compares `%61` with `a` before he
/// resolves it, another after; and one cuts the path at an encoded delimiter, another does not.
fn may_be_encoded(octet: u8) -> bool {
    let unreserved = octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'.' | b'_' | b'~');
    !(unreserved || octet.is_ascii_control() || matches!(octet, b'/' | b'\\' | b';' | b'?' | b'#'))
}

/// The octet that two hexadecimal digits stand for, and what follows them.
pub(crate) fn decode_octet(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let (digits, rest) = bytes.split_first_chunk::<2>()?;
    let [high, low] = digits.map(|digit| char::from(digit).to_digit(16).and_then(|d| u8::try_from(d).ok()));
    Some((high? << 4 | low?, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(target: &str) -> Result<String, Reject> {
        Target::parse(target.as_bytes()).map(|t| String::from_utf8(t.path.into_owned()).unwrap())
    }

    #[test]
    fn refuses_every_path_with_two_readings() {
        for target in [
            "",
            "*",
            "alerts",
            "http://edge/alerts",
            "//",
            "//alerts",
            "/a//b",
            "/a/%2fb",
            "/a%2Fb",
            "/a%5cb",
            "/a%5Cb",
            "/a\\b",
            "/.",
            "/..",
            "/./a",
            "/a/..",
            "/a/../b",
            "/a/./b",
            "/a/%2e%2e/b",
            "/a/.%2E/b",
            "/a/%2e",
            "/a;b",
            "/a/..;/b",
            "/a/..%3b/b",
            "/a/%2e%2e%3bx/b",
            "/a b",
            "/a\tb",
            "/a\r\nb",
            "/a\0b",
            "/a%00b",
            "/a%0ab",
            "/a%7f",
            "/a\x7f",
            "/a%",
            "/a%4",
            "/a%zz",
            "/a%+1",
            "/a#b",
            "/a?b#c",
            "/a?b c",
            "/a?b\nc",
            "/é",
            "/%c0%ae",
            "/a%c3",
            "/%252e%252e/a",
            "/a%252fb",
            "/a%25%32%66",
            "/%61dmin",
            "/a%41",
            "/a%39",
            "/a%2Db",
            "/a%2db",
            "/a%5F",
            "/a%7E",
            "/a.%2e",
            "/a%2Eb",
            "/a%3Bb",
            "/a%3bb",
            "/a%3Fb",
            "/a%23b",
        ] {
            assert_eq!(path(target), Err(Reject::AmbiguousPath), "{target:?}");
        }
    }

    #[test]
    fn reads_ordinary_paths() {
        for (target, read) in [
            ("/", "/"),
            ("/alerts", "/alerts"),
            ("/alerts/", "/alerts/"),
            ("/a.b/..c/d..", "/a.b/..c/d.."),
            ("/ws/quotes?token=a.b.c&x=//;\\%2f", "/ws/quotes"),
            ("/a?", "/a"),
            ("/a?b?c", "/a"),
            ("/caf%C3%A9", "/café"),
            ("/100%25", "/100%"),
            ("/a%20b%40c%2Cd%3D", "/a b@c,d="),
            ("/~user/@me/a,b:c=d+e$f!g'(h)*i&j", "/~user/@me/a,b:c=d+e$f!g'(h)*i&j"),
        ] {
            assert_eq!(path(target).as_deref(), Ok(read), "{target:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn never_panics_and_what_it_reads_cannot_be_resolved_further(target in "(/|%|2|e|E|f|\\.|;|a|\\?|\\PC){0,24}") {
            if let Ok(read) = Target::parse(target.as_bytes()) {
                prop_assert!(read.path.starts_with(b"/"));
                prop_assert!(!read.path.windows(2).any(|w| w == b"//"));
                prop_assert!(!read.path.split(|b| *b == b'/').any(|s| matches!(s, b"." | b"..")));
                // Whoever compares before he resolves and whoever resolves first find the same letters and segments.
                let unreserved = |b: &u8| b.is_ascii_alphanumeric() || b"-._~/".contains(b);
                let plain = |path: &[u8]| path.iter().copied().filter(|b| unreserved(b)).collect::<Vec<_>>();
                let (raw, _) = split_query(target.as_bytes());
                let raw: Vec<_> = raw.split(|b| *b == b'%').enumerate().flat_map(|(at, part)| match at {
                    0 => part,
                    _ => part.get(2..).unwrap_or_default(),
                }).copied().collect();
                prop_assert_eq!(plain(&read.path), plain(&raw));
            }
        }
    }
}
