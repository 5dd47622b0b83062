//! A line of JSON: an object with the columns as its members. Others are not looked at.

use std::fmt;

use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::row::{Column, Refusal, Row};

/// # Errors
/// [`Refusal`]; nothing of the line is in it.
pub(super) fn row(line: &[u8]) -> Result<Row, Refusal> {
    if std::str::from_utf8(line).is_err() {
        return Err(Refusal::NotUtf8);
    }
    if !line.trim_ascii_start().starts_with(b"{") {
        return Err(Refusal::NoObject);
    }
    let object: Object =
        serde_json::from_slice(line).map_err(|error| Refusal::NotJson { column: error.column() })?;
    object.0
}

struct Object(Result<Row, Refusal>);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members)
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Object;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Object, A::Error> {
        let (mut row, mut refusal) = (Row::default(), None);
        while let Some(name) = members.next_key::<String>()? {
            let Some(column) = Column::named(&name) else {
                members.next_value::<IgnoredAny>()?;
                continue;
            };
            match members.next_value_seed(Cell { column, within: false })? {
                _ if row.has(column) => refusal = Some(Refusal::Twice(name)),
                Some(text) => row.set(column, text),
                None => refusal = Some(Refusal::NoText(column)),
            }
        }
        Ok(Object(refusal.map_or(Ok(row), Err)))
    }
}

/// A value as text; `None` if it cannot be one of this column.
#[derive(Clone, Copy)]
struct Cell {
    column: Column,
    /// Within a list.
    within: bool,
}

impl<'de> DeserializeSeed<'de> for Cell {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Cell {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(text.to_owned()))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Some(value.to_string()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Some(value.to_string()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Some(value.to_string()))
    }

    /// A whole number that is too large for us comes here, too, and has lost digits.
    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        let is_time = matches!(self.column, Column::CreatedAt | Column::UpdatedAt);
        Ok(is_time.then(|| format!("{value:.0}")))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Some(String::new()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut all = Some(String::new()).filter(|_| self.column == Column::Roles && !self.within);
        while let Some(item) = items.next_element_seed(Self { within: true, ..self })? {
            all =
                all.zip(item).map(|(all, item)| if all.is_empty() { item } else { format!("{all},{item}") });
        }
        Ok(all)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(line: &str, column: Column) -> Result<String, Refusal> {
        row(line.as_bytes()).map(|row| row.get(column).to_owned())
    }

    #[test]
    fn values_of_any_kind_become_text() {
        let line = r#"{"id":7,"email":"a@b","roles":["user","admin"],"is_active":true,"username":null,
                      "created_at":1700000000.7,"password_hash":"$2b$","address":{"id":[{}]}}"#;
        for (column, text) in [
            (Column::Id, "7"),
            (Column::Roles, "user,admin"),
            (Column::IsActive, "true"),
            (Column::Username, ""),
            (Column::CreatedAt, "1700000001"),
            (Column::PasswordHash, "$2b$"),
            (Column::Name, ""),
        ] {
            assert_eq!(get(line, column).unwrap(), text, "{column:?}");
        }
    }

    #[test]
    fn what_cannot_be_text_is_refused_and_not_shown() {
        for (line, refusal) in [
            (r#"{"id":18446744073709551616}"#, Refusal::NoText(Column::Id)),
            (r#"{"id":["a"]}"#, Refusal::NoText(Column::Id)),
            (r#"{"roles":[["a"]]}"#, Refusal::NoText(Column::Roles)),
            (r#"{"name":{"first":"a"}}"#, Refusal::NoText(Column::Name)),
            (r#"{"email":"a@b","email":"c@d"}"#, Refusal::Twice("email".into())),
            (r#"{"password_hash":"a","hashed_password":"b"}"#, Refusal::Twice("hashed_password".into())),
            (r#""$2b$12$secret""#, Refusal::NoObject),
            ("[]", Refusal::NoObject),
            (r#"{"id":1} {"id":2}"#, Refusal::NotJson { column: 10 }),
            (r#"{"id":"#, Refusal::NotJson { column: 6 }),
        ] {
            assert_eq!(row(line.as_bytes()).unwrap_err(), refusal, "{line}");
        }
        assert_eq!(row(b"{\"id\":\"\xff\"}").unwrap_err(), Refusal::NotUtf8);
        // Nested as deeply as a hostile line can be.
        let deep = format!("{{\"x\":{}", "[".repeat(60_000));
        assert!(matches!(row(deep.as_bytes()), Err(Refusal::NotJson { .. })));
    }
}
