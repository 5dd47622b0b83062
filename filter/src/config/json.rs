//! A JSON document as a tree that is read with its paths: whoever takes a value out of it learns where it stood,
//! so that every complaint names a path such as `rules[2].match.path`.
//!
//! An object with a member twice is not read at all: one of the two would be ignored.
//!
//! What is called for every field is kept out of line: it runs once, and a copy for each field would be a good part of the
//! module.

use std::fmt;

use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde::{Deserialize, Deserializer};

use super::InvalidConfig;

/// Any JSON value. Numbers that a configuration has no use for are all alike.
#[derive(Debug)]
pub(super) enum Json {
    Null,
    Bool(bool),
    Whole(u64),
    OtherNumber,
    Text(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    pub(super) fn parse(json: &[u8]) -> Result<Self, InvalidConfig> {
        if json.trim_ascii().is_empty() {
            return Err(InvalidConfig::at(".", "the configuration is empty"));
        }
        serde_json::from_slice(json).map_err(|error| InvalidConfig::at(".", &error.to_string()))
    }

    /// The whole document.
    pub(super) fn root(&self) -> Node<'_> {
        Node { path: String::new(), value: self }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "true or false",
            Self::Whole(_) | Self::OtherNumber => "a number",
            Self::Text(_) => "a string",
            Self::Array(_) => "a list",
            Self::Object(_) => "an object",
        }
    }
}

/// A value and where it stands.
#[derive(Debug)]
pub(super) struct Node<'j> {
    pub(super) path: String,
    pub(super) value: &'j Json,
}

impl<'j> Node<'j> {
    #[cold]
    #[inline(never)]
    pub(super) fn invalid(&self, reason: &str) -> InvalidConfig {
        InvalidConfig::at(if self.path.is_empty() { "." } else { &self.path }, reason)
    }

    #[cold]
    #[inline(never)]
    fn expected(&self, what: &str) -> InvalidConfig {
        self.invalid(&format!("must be {what}, not {}", self.value.kind()))
    }

    #[inline(never)]
    pub(super) fn text(&self) -> Result<&'j str, InvalidConfig> {
        match self.value {
            Json::Text(text) => Ok(text),
            _ => Err(self.expected("a string")),
        }
    }

    #[inline(never)]
    pub(super) fn flag(&self) -> Result<bool, InvalidConfig> {
        match self.value {
            Json::Bool(flag) => Ok(*flag),
            _ => Err(self.expected("true or false")),
        }
    }

    /// A whole number of at most `most`.
    pub(super) fn whole(&self, most: usize) -> Result<usize, InvalidConfig> {
        match self.value {
            Json::Whole(number) => usize::try_from(*number).ok().filter(|number| *number <= most),
            _ => None,
        }
        .ok_or_else(|| self.invalid(&format!("must be a whole number from 0 to {most}")))
    }

    pub(super) fn items(&self) -> Result<impl ExactSizeIterator<Item = Node<'j>>, InvalidConfig> {
        let Json::Array(items) = self.value else { return Err(self.expected("a list")) };
        Ok(items.iter().enumerate().map(|(at, value)| self.item(at, value)))
    }

    #[inline(never)]
    fn item(&self, at: usize, value: &'j Json) -> Self {
        Self { path: format!("{}[{at}]", self.path), value }
    }

    /// An object with these fields and no others.
    #[inline(never)]
    pub(super) fn object(&self, fields: &[&str]) -> Result<Object<'j>, InvalidConfig> {
        let Json::Object(members) = self.value else { return Err(self.expected("an object")) };
        let object = Object { path: self.path.clone(), members };
        match members.iter().find(|(name, _)| !fields.contains(&name.as_str())) {
            None => Ok(object),
            Some((name, _)) => {
                let reason = format!("is not a field here; fields are `{}`", fields.join("`, `"));
                Err(InvalidConfig::at(&object.path_of(name), &reason))
            }
        }
    }
}

/// An object whose fields are all known.
#[derive(Debug)]
pub(super) struct Object<'j> {
    path: String,
    members: &'j [(String, Json)],
}

impl<'j> Object<'j> {
    #[inline(never)]
    pub(super) fn optional(&self, field: &str) -> Option<Node<'j>> {
        let (_, value) = self.members.iter().find(|(name, _)| name == field)?;
        Some(Node { path: self.path_of(field), value })
    }

    #[inline(never)]
    pub(super) fn required(&self, field: &str) -> Result<Node<'j>, InvalidConfig> {
        self.optional(field).ok_or_else(|| InvalidConfig::at(&self.path_of(field), "is missing"))
    }

    #[inline(never)]
    fn path_of(&self, field: &str) -> String {
        if self.path.is_empty() { field.to_owned() } else { format!("{}.{field}", self.path) }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Tree)
    }
}

struct Tree;

impl<'de> Visitor<'de> for Tree {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Whole(value))
    }

    fn visit_i64<E: Error>(self, _value: i64) -> Result<Json, E> {
        Ok(Json::OtherNumber)
    }

    fn visit_f64<E: Error>(self, _value: f64) -> Result<Json, E> {
        Ok(Json::OtherNumber)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Json, E> {
        Ok(Json::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element()? {
            array.push(item);
        }
        Ok(Json::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Json, A::Error> {
        let mut object: Vec<(String, Json)> = Vec::new();
        while let Some((name, value)) = members.next_entry()? {
            if object.iter().any(|(known, _)| *known == name) {
                return Err(A::Error::custom(format_args!("{name:?} is there twice in one object")));
            }
            object.push((name, value));
        }
        Ok(Json::Object(object))
    }
}

/// For parts of the document that another reader reads.
impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null | Self::OtherNumber => serializer.serialize_unit(),
            Self::Bool(flag) => serializer.serialize_bool(*flag),
            Self::Whole(number) => serializer.serialize_u64(*number),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Array(items) => serializer.collect_seq(items),
            Self::Object(members) => {
                let mut map = serializer.serialize_map(Some(members.len()))?;
                for (name, value) in members {
                    map.serialize_entry(name, value)?;
                }
                map.end()
            }
        }
    }
}
