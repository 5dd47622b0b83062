//! Tokens in the query (RFC 6750 §2.3): taking them out of the target before anything logs or forwards it.
//!
//! What remains is kept byte for byte and in order.

use std::borrow::Cow;

use super::header_value;
use crate::policy::path::{decode_octet, split_query};

/// What was taken out of a target.
#[derive(Debug, Default)]
pub struct Scrubbed<'r> {
    /// The parameters as (name, decoded value), the name as the rules spell it.
    pub taken: Vec<(Vec<u8>, Cow<'r, [u8]>)>,
    /// The target without them, unless nothing was taken.
    pub target: Option<Vec<u8>>,
}

/// Takes every parameter whose name is in `names` out of `target`, and every other that a server could take for one.
pub fn scrub<'r>(target: &'r [u8], names: &[Box<str>]) -> Scrubbed<'r> {
    scrub_where(target, names, |_| true)
}

/// Takes only those parameters in `names` out that look like a signed token: for routes where no credential is
/// looked at, and `?token=` may be an upstream's own.
pub fn scrub_signed_tokens<'r>(target: &'r [u8], names: &[Box<str>]) -> Scrubbed<'r> {
    scrub_where(target, names, looks_signed)
}

/// What may be logged of a target that is refused. Nothing reads the rest any more, and a token may stand behind
/// any delimiter, also one that the client encoded, once or more: cut before the first, and before what begins
/// like a signed token. `None` if nothing has to go.
pub fn without_tokens(target: &[u8]) -> Option<Vec<u8>> {
    let end = (0..target.len()).find(|at| target.get(*at..).is_some_and(begins_a_token))?;
    Some(match target.get(..end) {
        None | Some([]) => b"/".to_vec(),
        Some(start) => header_value(start.to_vec()),
    })
}

fn begins_a_token(rest: &[u8]) -> bool {
    match rest {
        [b'?' | b'#' | b';', ..] | [b'e', b'y', b'J', ..] => true,
        [b'%', b'2', b'5', encoded @ ..] => {
            let digits = encoded.chunks(2).find(|digits| *digits != b"25").unwrap_or_default();
            is_encoded_delimiter(digits)
        }
        [b'%', digits @ ..] => is_encoded_delimiter(digits),
        _ => false,
    }
}

fn is_encoded_delimiter(digits: &[u8]) -> bool {
    decode_octet(digits).is_some_and(|(octet, _)| matches!(octet, b'?' | b'#' | b';'))
}

fn scrub_where<'r>(target: &'r [u8], names: &[Box<str>], wanted: fn(&[u8]) -> bool) -> Scrubbed<'r> {
    let (path, query) = split_query(target);
    if query.is_empty() || names.is_empty() {
        return Scrubbed::default();
    }
    let mut taken = Vec::new();
    let mut kept = Vec::new();
    let mut parameters = 0_usize;
    for parameter in query.split(|b| *b == b'&') {
        parameters = parameters.saturating_add(1);
        let (name, value) = name_and_value(parameter);
        if names.iter().any(|known| known.as_bytes() == &*name) && wanted(&value) {
            taken.push((name.into_owned(), value));
        } else if !parameter.split(|b| *b == b';').map(name_and_value).any(|(name, value)| {
            names.iter().any(|known| could_be_read_as(&name, known.as_bytes())) && wanted(&value)
        }) {
            kept.push(parameter);
        }
    }
    if kept.len() == parameters {
        return Scrubbed::default();
    }
    let mut target = path.to_vec();
    if !kept.is_empty() {
        target.push(b'?');
        target.extend_from_slice(&kept.join(&b'&'));
    }
    Scrubbed { taken, target: Some(header_value(target)) }
}

/// A parameter's name and value, decoded. What has no `=` is a name.
fn name_and_value(parameter: &[u8]) -> (Cow<'_, [u8]>, Cow<'_, [u8]>) {
    let end = parameter.iter().position(|b| *b == b'=').unwrap_or(parameter.len());
    let (name, value) = parameter.split_at_checked(end).unwrap_or((parameter, &[]));
    (decoded(name), decoded(value.get(1..).unwrap_or_default()))
}

/// Whether some server takes a parameter of this name for the one of that: some fold case, some put one character for
/// all that are neither letters nor digits, some cut spaces, some make a list of `token[]` and some end at a zero byte.
fn could_be_read_as(name: &[u8], known: &[u8]) -> bool {
    let end = name.iter().position(|b| matches!(b, b'[' | 0)).unwrap_or(name.len());
    let is_space = |b: &u8| b.is_ascii_whitespace() || *b == b'+';
    let mut name = name.get(..end).unwrap_or_default();
    while let [first, rest @ ..] = name
        && is_space(first)
    {
        name = rest;
    }
    while let [rest @ .., last] = name
        && is_space(last)
    {
        name = rest;
    }
    name.len() == known.len()
        && name.iter().zip(known).all(|(seen, known)| {
            seen.eq_ignore_ascii_case(known)
                || !(seen.is_ascii_alphanumeric() || known.is_ascii_alphanumeric())
        })
}

/// The form of a JWS in compact serialisation (RFC 7515 §3.1) with a JSON object for a header.
fn looks_signed(value: &[u8]) -> bool {
    value.starts_with(b"eyJ") && value.iter().filter(|b| **b == b'.').count() == 2
}

/// Resolves percent-encodings; a broken one is left as it stands. A token has no use for `+` as a space.
fn decoded(value: &[u8]) -> Cow<'_, [u8]> {
    if !value.contains(&b'%') {
        return Cow::Borrowed(value);
    }
    let mut decoded = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((byte, tail)) = rest.split_first() {
        (rest, _) = match (byte, decode_octet(tail)) {
            (b'%', Some((octet, tail))) => (tail, decoded.push(octet)),
            _ => (tail, decoded.push(*byte)),
        };
    }
    Cow::Owned(decoded)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names() -> Vec<Box<str>> {
        vec!["token".into(), "t".into()]
    }

    fn scrubbed(target: &str) -> Option<String> {
        scrub(target.as_bytes(), &names()).target.map(|t| String::from_utf8(t).unwrap())
    }

    #[test]
    fn keeps_the_other_parameters_verbatim_and_in_order() {
        for (target, left) in [
            ("/ws?token=a.b.c", "/ws"),
            ("/ws?token=a.b.c&b=%2F%zz&a=1+2&a=&&c", "/ws?b=%2F%zz&a=1+2&a=&&c"),
            ("/ws?b=1&token=a&c=2", "/ws?b=1&c=2"),
            ("/ws?b=1&token=a", "/ws?b=1"),
            ("/ws?token=a&b=1&token=c", "/ws?b=1"),
            ("/ws?token=a&t=b", "/ws"),
            ("/ws?token", "/ws"),
            ("/ws?%74oken=a", "/ws"),
            ("/ws?x?&token=a?b", "/ws?x?"),
        ] {
            assert_eq!(scrubbed(target).as_deref(), Some(left), "{target}");
        }
    }

    #[test]
    fn leaves_targets_without_a_token_alone() {
        for target in
            ["/ws", "/ws?", "/token=a", "/ws?tokens=a", "/ws?x=token=a", "/ws?x=1", "/ws?a=1;b=2&c[]=3"]
        {
            assert_eq!(scrubbed(target), None, "{target}");
        }
    }

    #[test]
    fn takes_out_what_another_server_would_read_as_a_token_and_counts_it_as_none() {
        for (target, left) in [
            ("/ws?Token=a", "/ws"),
            ("/ws?a=1;token=b&c=2", "/ws?c=2"),
            ("/ws?a=1&amp;token=b", "/ws?a=1"),
            ("/ws?;token=b", "/ws"),
            ("/ws?token[]=b", "/ws"),
            ("/ws?token%5B0%5D=b", "/ws"),
            ("/ws?+token=b&c", "/ws?c"),
            ("/ws?%20token%20=b", "/ws"),
            ("/ws?token%00x=b", "/ws"),
            ("/ws?TO%4BEN=b", "/ws"),
        ] {
            let found = scrub(target.as_bytes(), &names());
            assert_eq!(found.target.as_deref(), Some(left.as_bytes()), "{target}");
            assert!(found.taken.is_empty(), "{target}");
        }
        let dotted = scrub(b"/ws?access.token=a&x", &["access_token".into()]);
        assert_eq!(dotted.target.as_deref(), Some(&b"/ws?x"[..]));
    }

    #[test]
    fn reads_the_value_as_a_server_would() {
        let found = scrub(b"/ws?token=a%2Eb%2ec%", &names()).taken;
        assert_eq!(found, [(b"token".to_vec(), Cow::Borrowed(&b"a.b.c%"[..]))]);
    }

    #[test]
    fn what_is_left_can_be_a_header_value() {
        assert_eq!(scrubbed("/a\r\nb\0?token=c&d\n").as_deref(), Some("/ab?d"));
    }

    #[test]
    fn where_no_credential_is_looked_at_only_signed_tokens_are_taken() {
        let left = |target: &str| scrub_signed_tokens(target.as_bytes(), &names()).target;
        assert_eq!(left("/reset?token=2f8a1c"), None);
        assert_eq!(left("/reset?token=eyJhbGciOiJFZERTQSJ9.e30.c2ln"), Some(b"/reset".to_vec()));
        assert_eq!(left("/reset?token=eyJhbGciOiJFZERTQSJ9%2ee30.c2ln&a"), Some(b"/reset?a".to_vec()));
        assert_eq!(left("/reset?a;token=2f8a1c"), None);
        assert_eq!(left("/reset?a;token=eyJhbGciOiJFZERTQSJ9.e30.c2ln;b"), Some(b"/reset".to_vec()));
    }

    #[test]
    fn a_refused_target_ends_where_a_token_could_begin() {
        for delimiter in ["?", "#", ";", "%3f", "%3F", "%23", "%3b", "%3B", "%253F", "%25252523", "eyJ"] {
            let left = without_tokens(format!("/ws/%2e%quotes{delimiter}token=e.y.J").as_bytes());
            assert_eq!(left.as_deref(), Some(&b"/ws/%2e%quotes"[..]), "{delimiter}");
        }
        for target in ["", "/", "/ws/quotes", "/%", "/%2", "/%25", "/%2525", "/%252e", "/%3", "/a%3d"] {
            assert_eq!(without_tokens(target.as_bytes()), None, "{target}");
        }
        assert_eq!(without_tokens(b"?token=a").as_deref(), Some(&b"/"[..]));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn what_is_left_has_nothing_more_to_take(target in "/[a-z]{0,3}\\?(token|t|%74|x|=|&|\\.|%|eyJ){0,16}") {
            if let Some(left) = scrubbed(&target) {
                prop_assert_eq!(scrubbed(&left), None);
            }
        }
    }
}
