//! Keys of another system, which go on working: their hashes and owners, an object of JSON in every line of a file. A line
//! that is wrong is named and stops nothing; a key that is here already is not changed, and one that was revoked here
//! stays so.

use std::io::BufRead;

use serde::Deserialize;
use serde_json::error::Category;

use super::{ApiKeyId, InvalidScopes, KeyHash, NewKey, UnknownHash, ending, store};
use crate::accounts::import::{Lines, unix_time};
use crate::accounts::{self, Email, InvalidEmail, InvalidId, InvalidName, Name, User, UserId};
use crate::ambient::{Ids, UnixTime};
use crate::audit::{Kind, Origin};
use crate::config::Roles;
use crate::db::{Db, Error, Tx};

/// Why a line was not imported. Nothing of it is quoted: hashes are not for the terminal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("is longer than 64 KiB")]
    TooLong,
    #[error("is no object of JSON: its column {0} is wrong")]
    NotJson(usize),
    #[error("has a value of the wrong type before its column {0}")]
    WrongType(usize),
    #[error("has no key_hash")]
    NoHash,
    #[error("key_hash {0}")]
    Hash(#[from] UnknownHash),
    #[error("has neither user_id nor email, or both")]
    NoOwner,
    #[error("user_id {0}")]
    OwnerId(#[from] InvalidId),
    #[error("email {0}")]
    OwnerEmail(#[from] InvalidEmail),
    #[error("name {0}")]
    Name(#[from] InvalidName),
    #[error("prefix must have at most 32 visible ASCII characters")]
    Prefix,
    #[error("scopes {0}")]
    Scopes(#[from] InvalidScopes),
    #[error("scopes has one that the configuration does not know; it knows {0}")]
    UnknownScope(String),
    #[error("{0} must be a time such as 2026-11-20T12:00:00Z, or seconds since 1970")]
    Time(&'static str),
    #[error("is revoked or not active, so that it must not work here either")]
    Revoked,
    #[error("has expired")]
    Expired,
    #[error("was revoked here, which is for good")]
    Ended,
    #[error("there is no account of its owner; import users first")]
    UnknownOwner,
    #[error("the account of its owner is closed")]
    ClosedOwner,
    #[error("its hash is that of a key of another account")]
    Taken,
}

/// What came of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Imported,
    /// By an earlier run.
    Already,
    Refused(Refusal),
}

/// Whose a key is, as a file says it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Owner {
    Id(UserId),
    Email(Email),
}

/// A key of a file.
#[derive(Debug, Clone)]
pub struct Imported {
    owner: Owner,
    id: ApiKeyId,
    name: Name,
    hint: String,
    hash: KeyHash,
    scopes: Option<Vec<String>>,
    created_at: UnixTime,
    expires_at: Option<UnixTime>,
}

/// The keys of a file, in its order.
pub struct Keys<R> {
    lines: Lines<R>,
    roles: Roles,
    ids: Ids,
}

impl<R> std::fmt::Debug for Keys<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

/// A number stands for itself: ids and times come as either.
#[derive(Deserialize)]
#[serde(untagged)]
enum Text {
    Number(i64),
    Text(String),
}

impl Text {
    fn into_string(self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text.trim().to_owned(),
        }
    }
}

/// What a line may say; anything else is not looked at.
#[derive(Deserialize)]
struct Row {
    #[serde(default, alias = "hash", alias = "hashed_key")]
    key_hash: Option<String>,
    #[serde(default)]
    user_id: Option<Text>,
    #[serde(default)]
    email: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    prefix: Option<String>,
    #[serde(default)]
    scopes: Option<Vec<String>>,
    #[serde(default)]
    created_at: Option<Text>,
    #[serde(default)]
    expires_at: Option<Text>,
    #[serde(default)]
    revoked_at: Option<Text>,
    #[serde(default)]
    revoked: Option<bool>,
    #[serde(default)]
    is_active: Option<bool>,
}

impl<R: BufRead> Keys<R> {
    pub fn new(input: R, roles: Roles, ids: Ids) -> Self {
        Self { lines: Lines::new(input), roles, ids }
    }

    /// The next key, or why there is none in a line, with the number of the line.
    ///
    /// # Errors
    /// Those of reading the file.
    pub fn read(&mut self) -> std::io::Result<Option<(u64, Result<Imported, Refusal>)>> {
        let Some(line) = self.lines.next()? else { return Ok(None) };
        let key = line.text.ok_or(Refusal::TooLong).and_then(|text| self.key(&text));
        Ok(Some((line.number, key)))
    }

    fn key(&self, line: &[u8]) -> Result<Imported, Refusal> {
        // A list would pass for an object whose members come in order.
        if !line.trim_ascii_start().starts_with(b"{") {
            return Err(Refusal::NotJson(1));
        }
        let row: Row = serde_json::from_slice(line).map_err(|error| match error.classify() {
            Category::Data => Refusal::WrongType(error.column()),
            _ => Refusal::NotJson(error.column()),
        })?;
        let now = self.ids.clock.now();
        if row.revoked == Some(true) || row.is_active == Some(false) || row.revoked_at.is_some() {
            return Err(Refusal::Revoked);
        }
        let expires_at = time("expires_at", row.expires_at)?;
        if expires_at.is_some_and(|at| at <= now) {
            return Err(Refusal::Expired);
        }
        let owner = match (row.user_id, row.email) {
            (Some(id), None) => Owner::Id(UserId::parse(&id.into_string())?),
            (None, Some(email)) => Owner::Email(Email::parse(&email)?),
            _ => return Err(Refusal::NoOwner),
        };
        let hint = row.prefix.unwrap_or_default();
        if hint.len() > 32 || !hint.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(Refusal::Prefix);
        }
        Ok(Imported {
            owner,
            id: ApiKeyId::new(self.ids.uuid()),
            name: Name::parse(row.name.as_deref().unwrap_or("imported"))?,
            hint,
            hash: KeyHash::parse(row.key_hash.ok_or(Refusal::NoHash)?.trim())?,
            scopes: row.scopes.map(|scopes| self.scopes(scopes)).transpose()?,
            created_at: time("created_at", row.created_at)?.unwrap_or(now).min(now),
            expires_at,
        })
    }

    fn scopes(&self, scopes: Vec<String>) -> Result<Vec<String>, Refusal> {
        let known = self.roles.all_permissions();
        if scopes.is_empty() {
            return Err(InvalidScopes::None.into());
        }
        if scopes.iter().any(|scope| !known.contains(&scope.as_str())) {
            return Err(Refusal::UnknownScope(known.join(", ")));
        }
        Ok(scopes)
    }
}

fn time(name: &'static str, text: Option<Text>) -> Result<Option<UnixTime>, Refusal> {
    let time = text.map(|text| unix_time(&text.into_string()).ok_or(Refusal::Time(name)));
    time.transpose()
}

/// Adds what is not there yet, with an event for each, and changes nothing that is.
///
/// # Errors
/// Those of the database.
pub async fn import(tx: &mut Tx<'_>, keys: &[Imported]) -> Result<Vec<Outcome>, Error> {
    let mut outcomes = Vec::with_capacity(keys.len());
    for key in keys {
        outcomes.push(add(tx, key).await?);
    }
    Ok(outcomes)
}

async fn add(tx: &mut Tx<'_>, key: &Imported) -> Result<Outcome, Error> {
    let Some(owner) = owner(tx.connection(), &key.owner).await? else {
        return Ok(Outcome::Refused(Refusal::UnknownOwner));
    };
    // Held until the end of the transaction: who closes the account ends this key, too.
    if !accounts::store::hold_if_active(tx, &owner.id).await? {
        return Ok(Outcome::Refused(Refusal::ClosedOwner));
    }
    if store::has_ended(tx.connection(), &key.hash).await? {
        return Ok(Outcome::Refused(Refusal::Ended));
    }
    let new = key.owned_by(owner.id);
    if !store::create(tx, &new).await? {
        return Ok(there(store::owner_of(tx.connection(), &new.hash).await?.as_ref(), &new.owner));
    }
    ending::note(tx, Kind::ApiKeyCreated, &new.owner, &new.id, &Origin::command()).await?;
    Ok(Outcome::Imported)
}

/// What would come of this key; changes nothing.
///
/// # Errors
/// Those of the database.
pub async fn try_out(db: &Db, key: &Imported) -> Result<Outcome, Error> {
    let Some(owner) = owner(db.reads(), &key.owner).await? else {
        return Ok(Outcome::Refused(Refusal::UnknownOwner));
    };
    if !owner.is_active {
        return Ok(Outcome::Refused(Refusal::ClosedOwner));
    }
    if store::has_ended(db.reads(), &key.hash).await? {
        return Ok(Outcome::Refused(Refusal::Ended));
    }
    let of = store::owner_of(db.reads(), &key.hash).await?;
    Ok(of.map_or(Outcome::Imported, |of| there(Some(&of), &owner.id)))
}

fn there(of: Option<&UserId>, owner: &UserId) -> Outcome {
    if of == Some(owner) { Outcome::Already } else { Outcome::Refused(Refusal::Taken) }
}

async fn owner<'e>(source: impl crate::db::Source<'e>, owner: &Owner) -> Result<Option<User>, Error> {
    match owner {
        Owner::Id(id) => accounts::store::find(source, id).await,
        Owner::Email(email) => {
            Ok(accounts::store::find_for_login(source, email).await?.map(|(user, _)| user))
        }
    }
}

impl Imported {
    /// Tells it from other keys of the file.
    pub fn hash(&self) -> &KeyHash {
        &self.hash
    }

    fn owned_by(&self, owner: UserId) -> NewKey {
        let Self { owner: _, id, name, hint, hash, scopes, created_at, expires_at } = self.clone();
        NewKey { id, owner, name, hint, hash, scopes, created_at, expires_at }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::ambient::{Clock, Entropy};

    const NOW: UnixTime = UnixTime::from_seconds(1_795_176_000);

    fn keys(text: &[u8]) -> Keys<&[u8]> {
        let roles =
            Roles(BTreeMap::from([("user".to_owned(), vec!["a:read".to_owned(), "b:read".to_owned()])]));
        Keys::new(text, roles, Ids { clock: Clock::manual(NOW), entropy: Entropy::seeded(1) })
    }

    fn read(line: &str) -> Result<Imported, Refusal> {
        keys(line.as_bytes()).read().unwrap().unwrap().1
    }

    fn hash() -> String {
        "ab".repeat(32)
    }

    #[test]
    fn a_line_says_whose_a_key_is_and_what_it_may_do() {
        let what = r#""user_id":7,"name":" Robot ","prefix":"sk_live_ab","scopes":["b:read"]"#;
        let when = r#""created_at":1700000000,"expires_at":"2027-01-01T00:00:00Z","shoe":[1,{}]"#;
        let key = read(&format!("{{\"hash\":\"{}\",{what},{when}}}", hash().to_uppercase())).unwrap();
        assert_eq!(key.owner, Owner::Id(UserId::parse("7").unwrap()));
        assert_eq!((key.name.as_str(), key.hint.as_str()), ("Robot", "sk_live_ab"));
        assert_eq!(key.hash, KeyHash::parse(&hash()).unwrap());
        assert_eq!(key.scopes.unwrap(), ["b:read"]);
        assert_eq!(
            (key.created_at.seconds(), key.expires_at.unwrap().seconds()),
            (1_700_000_000, 1_798_761_600)
        );
        let key =
            read(&format!(r#"{{"key_hash":"{}","email":"Ada@Example.com","revoked_at":null}}"#, hash()));
        let key = key.unwrap();
        assert_eq!(key.owner, Owner::Email(Email::parse("ada@example.com").unwrap()));
        assert_eq!((key.scopes, key.expires_at, key.created_at), (None, None, NOW));
    }

    #[test]
    fn what_is_wrong_in_a_line_is_named_and_not_shown() {
        let with = |more: &str| format!(r#"{{"key_hash":"{}","user_id":"7"{more}}}"#, hash());
        let unknown = Refusal::UnknownScope("a:read, b:read".into());
        for (line, refusal) in [
            ("nonsense".to_owned(), Refusal::NotJson(1)),
            ("[1,2]".to_owned(), Refusal::NotJson(1)),
            (r#"{"user_id":"7"}"#.to_owned(), Refusal::NoHash),
            (r#"{"user_id":"7","key_hash":"sk_live_0123456789"}"#.to_owned(), Refusal::Hash(UnknownHash)),
            (format!(r#"{{"key_hash":"{}"}}"#, hash()), Refusal::NoOwner),
            (with(r#","email":"a@example.com""#), Refusal::NoOwner),
            (with(r#","scopes":["c:read"]"#), unknown),
            (with(r#","scopes":[]"#), Refusal::Scopes(InvalidScopes::None)),
            (with(r#","expires_at":"soon""#), Refusal::Time("expires_at")),
            (with(r#","expires_at":1700000000"#), Refusal::Expired),
            (with(r#","revoked":true"#), Refusal::Revoked),
            (with(r#","is_active":false"#), Refusal::Revoked),
            (with(r#","revoked_at":"2026-01-01""#), Refusal::Revoked),
            (with(r#","name":"\u202e""#), Refusal::Name(InvalidName)),
            (with(r#","prefix":"a b""#), Refusal::Prefix),
            (format!("{{\"x\":\"{}\"}}", "y".repeat(70_000)), Refusal::TooLong),
        ] {
            let refused = read(&line).unwrap_err();
            assert_eq!(refused, refusal, "{line}");
            assert!(!refused.to_string().contains("sk_live"), "{refused}");
        }
        assert!(matches!(read(&with(r#","name":7"#)), Err(Refusal::WrongType(_))));
        assert!(matches!(read(r#"{"key_hash":"#), Err(Refusal::NotJson(_))));
    }

    proptest::proptest! {
        #[test]
        fn no_file_does_harm(text in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
            let mut keys = keys(&text);
            while keys.read().unwrap().is_some() {}
        }
    }
}
