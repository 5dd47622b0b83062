//! JSON as a security token may use it: one value, no member name twice (RFC 7515 §4, RFC 7519 §4), bounded
//! depth and width. Typed parsing comes after; it alone would not see a repeated unknown member.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// Objects and arrays inside one another.
const MAX_DEPTH: u8 = 8;
/// Members of one object: more than any token or key has, few enough to compare names pairwise.
const MAX_MEMBERS: usize = 64;

/// Parses `T` from JSON that keeps the rules of this module.
pub(crate) fn from_slice<'de, T: Deserialize<'de>>(json: &'de [u8]) -> Result<T, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    Strict { depth: 0 }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    serde_json::from_slice(json)
}

/// Walks a value and keeps nothing of it.
#[derive(Clone, Copy)]
struct Strict {
    depth: u8,
}

impl Strict {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        if self.depth < MAX_DEPTH {
            Ok(Self { depth: self.depth.saturating_add(1) })
        } else {
            Err(E::custom(format_args!("nested deeper than {MAX_DEPTH}")))
        }
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        while items.next_element_seed(inner)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        let mut names: Vec<Cow<'de, str>> = Vec::with_capacity(16);
        while let Some(Name(name)) = members.next_key()? {
            if names.len() == MAX_MEMBERS {
                return Err(A::Error::custom(format_args!("more than {MAX_MEMBERS} members")));
            }
            if names.contains(&name) {
                return Err(A::Error::custom("a member name appears twice"));
            }
            names.push(name);
            members.next_value_seed(inner)?;
        }
        Ok(())
    }
}

/// A member name, borrowed where it has no escapes.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn accepts(json: &str) -> bool {
        from_slice::<Value>(json.as_bytes()).is_ok()
    }

    #[test]
    fn refuses_a_repeated_member_at_any_depth_and_in_any_spelling() {
        assert!(accepts(r#"{"a":1,"b":{"a":1}}"#));
        assert!(!accepts(r#"{"a":1,"a":1}"#));
        assert!(!accepts(r#"{"b":[{"a":1,"a":1}]}"#));
        assert!(!accepts(r#"{"a":1,"\u0061":1}"#));
    }

    #[test]
    fn refuses_what_is_too_deep_or_too_wide() {
        assert!(accepts(&format!("{}{}", "[".repeat(8), "]".repeat(8))));
        assert!(!accepts(&format!("{}{}", "[".repeat(9), "]".repeat(9))));
        assert!(!accepts(&"[".repeat(100_000)));
        let members = |n: usize| {
            let members: Vec<_> = (0..n).map(|i| format!("\"{i}\":0")).collect();
            format!("{{{}}}", members.join(","))
        };
        assert!(accepts(&members(64)));
        assert!(!accepts(&members(65)));
    }

    #[test]
    fn refuses_trailing_data() {
        assert!(accepts("{} \n"));
        assert!(!accepts("{}{}"));
        assert!(!accepts("{}\0"));
    }
}
