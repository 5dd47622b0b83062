//! JSON as a security token may use it: one value, no member name twice (RFC 7515 §4, RFC 7519 §4), bounded
//! depth and width, and objects where a type has named fields. A typed parser alone would not see a repeated
//! unknown member, and takes an array for a struct.

use std::borrow::Cow;
use std::fmt;

use serde::de::value::CowStrDeserializer;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};

/// Objects and arrays inside one another.
const MAX_DEPTH: u8 = 8;
/// Members of one object: more than any token or key has, few enough to compare names pairwise.
const MAX_MEMBERS: usize = 64;

/// Parses `T` from JSON that keeps the rules of this module.
pub(crate) fn from_slice<'de, T: Deserialize<'de>>(json: &'de [u8]) -> Result<T, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let value = T::deserialize(Strict { inner: &mut deserializer, depth: 0 })?;
    deserializer.end()?;
    Ok(value)
}

/// For a member that may be left out: if it is there, it has a value. By itself, serde takes `null` for left out.
pub(crate) fn not_null<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    member: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(member).map(Some)
}

/// Stands between a type and its JSON, at every level, and sees all that passes: also the members that the type
/// ignores. `inner` is a deserializer, a visitor, a seed, or the access to an array.
struct Strict<I> {
    inner: I,
    depth: u8,
}

impl<I> Strict<I> {
    fn with<J>(&self, inner: J) -> Strict<J> {
        Strict { inner, depth: self.depth }
    }

    fn deeper<J, E: Error>(&self, inner: J) -> Result<Strict<J>, E> {
        if self.depth < MAX_DEPTH {
            Ok(Strict { inner, depth: self.depth + 1 })
        } else {
            Err(E::custom(format_args!("nested deeper than {MAX_DEPTH}")))
        }
    }
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Strict<D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let visitor = self.with(visitor);
        self.inner.deserialize_any(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let visitor = self.with(visitor);
        self.inner.deserialize_option(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let visitor = self.with(visitor);
        self.inner.deserialize_map(visitor)
    }

    // Otherwise JSON says itself what comes next.
    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Strict<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<V::Value, E> {
        self.inner.visit_bool(value)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<V::Value, E> {
        self.inner.visit_i64(value)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<V::Value, E> {
        self.inner.visit_u64(value)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<V::Value, E> {
        self.inner.visit_f64(value)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<V::Value, E> {
        self.inner.visit_str(value)
    }

    fn visit_borrowed_str<E: Error>(self, value: &'de str) -> Result<V::Value, E> {
        self.inner.visit_borrowed_str(value)
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_unit()
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        let deserializer = self.with(deserializer);
        self.inner.visit_some(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<V::Value, A::Error> {
        let items = self.deeper(items)?;
        self.inner.visit_seq(items)
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<V::Value, A::Error> {
        let members = self.deeper(members)?;
        self.inner.visit_map(Members { members, names: Vec::with_capacity(16) })
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Strict<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        let deserializer = self.with(deserializer);
        self.inner.deserialize(deserializer)
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Strict<A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        let seed = self.with(seed);
        self.inner.next_element_seed(seed)
    }
}

/// An object, and the names of its members so far.
struct Members<'de, A> {
    members: Strict<A>,
    names: Vec<Cow<'de, str>>,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Members<'de, A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        let Some(Name(name)) = self.members.inner.next_key()? else { return Ok(None) };
        if self.names.len() == MAX_MEMBERS {
            return Err(A::Error::custom(format_args!("more than {MAX_MEMBERS} members")));
        }
        if self.names.contains(&name) {
            return Err(A::Error::custom("a member name appears twice"));
        }
        self.names.push(name.clone());
        seed.deserialize(CowStrDeserializer::new(name)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        let seed = self.members.with(seed);
        self.members.inner.next_value_seed(seed)
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
    fn refuses_an_array_for_named_fields_at_any_depth() {
        #[derive(Debug, Default, PartialEq, Deserialize)]
        #[serde(default)]
        struct Fields {
            number: u8,
            inner: Option<Box<Fields>>,
            list: Vec<Fields>,
        }
        let reads = |json: &str| from_slice::<Fields>(json.as_bytes()).is_ok();
        assert!(reads(r#"{"number":1,"inner":{"number":1},"list":[{"number":1}]}"#));
        for json in ["[]", "[1]", r#"{"inner":[1]}"#, r#"{"list":[[1]]}"#] {
            assert!(!reads(json), "{json}");
        }
    }

    #[test]
    fn refuses_trailing_data() {
        assert!(accepts("{} \n"));
        assert!(!accepts("{}{}"));
        assert!(!accepts("{}\0"));
    }
}
