//! From the cells of a line to an account: what other systems write, read strictly.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::row::{Column, Refusal, Row};
use crate::access::ADMIN;
use crate::accounts::{Email, ImportedUser, Name, UserId, Username};
use crate::ambient::UnixTime;
use crate::config::Roles;
use crate::passwords::check_importable;

/// What holds for every line of a run.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Those that the configuration knows.
    pub roles: Roles,
    /// For who is given none.
    pub default_roles: Vec<String>,
    /// Every address counts as verified.
    pub verified: bool,
    pub now: UnixTime,
}

impl Rules {
    /// # Errors
    /// The first thing that is wrong.
    pub(super) fn user(&self, row: &Row) -> Result<ImportedUser, Refusal> {
        if row.has_nul() {
            return Err(Refusal::Nul);
        }
        let required =
            |column| Some(row.get(column)).filter(|text| !text.is_empty()).ok_or(Refusal::Missing(column));
        let id = UserId::parse(unlike_formulas(row, Column::Id)?)?;
        let email = required(Column::Email)?;
        if !email.is_ascii() {
            return Err(Refusal::NonAsciiEmail);
        }
        let email = Email::parse(email)?;
        let password_hash = required(Column::PasswordHash)?;
        check_importable(password_hash)?;
        let created_at = self.time(row, Column::CreatedAt)?;
        let updated_at = self.time(row, Column::UpdatedAt)?.or(created_at);
        Ok(ImportedUser {
            username: username(row, &email)?,
            name: name(row, &email)?,
            roles: self.roles(row)?,
            email_verified: flag(row, Column::EmailVerified, false)? || self.verified,
            is_active: flag(row, Column::IsActive, true)?,
            created_at: created_at.unwrap_or(self.now),
            updated_at: updated_at.unwrap_or(self.now),
            password_hash: password_hash.to_owned(),
            id,
            email,
        })
    }

    /// Separated by anything that lists are written with: `user,admin`, `{user,admin}`, `['user', 'admin']`.
    fn roles(&self, row: &Row) -> Result<Vec<String>, Refusal> {
        let separates = |c: char| c.is_whitespace() || ",;|{}[]()'\"".contains(c);
        let mut roles: Vec<String> = Vec::new();
        for role in row.get(Column::Roles).split(separates).filter(|role| !role.is_empty()) {
            let role = role.to_ascii_lowercase();
            if !self.roles.knows(&role) {
                return Err(Refusal::Role(self.roles.names().collect::<Vec<_>>().join(", ")));
            }
            if !roles.contains(&role) {
                roles.push(role);
            }
        }
        if roles.is_empty() {
            roles.clone_from(&self.default_roles);
        }
        if flag(row, Column::IsAdmin, false)? && !roles.iter().any(|role| role == ADMIN) {
            roles.push(ADMIN.to_owned());
        }
        Ok(roles)
    }

    fn time(&self, row: &Row, column: Column) -> Result<Option<UnixTime>, Refusal> {
        let text = row.get(column);
        if text.is_empty() {
            return Ok(None);
        }
        // A day more, for clocks and for local times without a zone.
        let latest = self.now.plus(86_400);
        let time = unix_time(text).filter(|time| (UnixTime::from_seconds(0)..=latest).contains(time));
        time.map(Some).ok_or(Refusal::Time(column))
    }
}

/// A spreadsheet takes what begins so for a formula; what was exported by one may have it instead of the text.
fn unlike_formulas(row: &Row, column: Column) -> Result<&str, Refusal> {
    let text = row.get(column);
    if text.starts_with(['=', '+', '@']) || (text.starts_with('-') && column != Column::Id) {
        return Err(Refusal::Formula(column));
    }
    Ok(text)
}

/// Nothing is kept if it is the address, by which its owner logs in anyway.
fn username(row: &Row, email: &Email) -> Result<Option<Username>, Refusal> {
    let text = unlike_formulas(row, Column::Username)?;
    match Email::parse(text) {
        Ok(address) if address == *email => Ok(None),
        Ok(_) => Err(Refusal::UsernameIsAddress),
        Err(_) if text.is_empty() => Ok(None),
        Err(_) => Ok(Some(Username::parse(text)?)),
    }
}

fn name(row: &Row, email: &Email) -> Result<Name, Refusal> {
    let text = unlike_formulas(row, Column::Name)?;
    Ok(Name::parse(if text.is_empty() { email.local_part() } else { text })?)
}

fn flag(row: &Row, column: Column, default: bool) -> Result<bool, Refusal> {
    match row.get(column).to_ascii_lowercase().as_str() {
        "" => Ok(default),
        "true" | "t" | "1" | "yes" | "y" => Ok(true),
        "false" | "f" | "0" | "no" | "n" => Ok(false),
        _ => Err(Refusal::Flag(column)),
    }
}

/// RFC 3339, what databases and languages print instead of it (a space for the `T`, a short or no offset, which means
/// UTC, a day alone), and seconds or milliseconds since 1970.
pub(crate) fn unix_time(text: &str) -> Option<UnixTime> {
    let whole = text.split('.').next().unwrap_or_default();
    if text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        let number: i64 = whole.parse().ok()?;
        return Some(UnixTime::from_seconds(if number >= 100_000_000_000 { number / 1000 } else { number }));
    }
    let text = text.strip_suffix(" UTC").unwrap_or(text);
    let (day, time) = text.split_once(['T', 't', ' ']).unwrap_or((text, "00:00:00"));
    let zone = time.find(['+', '-', 'Z', 'z']).unwrap_or(time.len());
    let (clock, zone) = time.split_at_checked(zone)?;
    let zone = match (zone.len(), zone.split_at_checked(3)) {
        (0, _) => "Z".to_owned(),
        (3, _) => format!("{zone}:00"),
        (5, Some((hours, minutes))) => format!("{hours}:{minutes}"),
        _ => zone.to_ascii_uppercase(),
    };
    let text = format!("{day}T{}{zone}", clock.trim_end());
    OffsetDateTime::parse(&text, &Rfc3339).ok().map(|at| UnixTime::from_seconds(at.unix_timestamp()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const HASH: &str = "$2b$12$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";

    fn rules() -> Rules {
        let roles = ["user", "admin", "trader"].map(|role| (role.to_owned(), vec!["x:read".to_owned()]));
        Rules {
            roles: Roles(BTreeMap::from(roles)),
            default_roles: vec!["user".to_owned()],
            verified: false,
            now: UnixTime::from_seconds(1_795_176_000),
        }
    }

    /// The account of Ada, with one cell changed.
    fn with(column: Column, text: &str) -> Result<ImportedUser, Refusal> {
        let mut row = Row::default();
        for (column, text) in
            [(Column::Id, "7"), (Column::Email, "Ada@Example.com"), (Column::PasswordHash, HASH)]
        {
            row.set(column, text.to_owned());
        }
        row.set(column, text.to_owned());
        rules().user(&row)
    }

    #[test]
    fn what_a_line_does_not_say_has_a_default() {
        let ada = with(Column::Name, "").unwrap();
        assert_eq!((ada.id.as_str(), ada.email.as_str(), ada.name.as_str()), ("7", "ada@example.com", "ada"));
        assert_eq!(
            (ada.roles, ada.username, ada.is_active, ada.email_verified),
            (vec!["user".into()], None, true, false)
        );
        assert_eq!((ada.created_at, ada.updated_at), (rules().now, rules().now));
        assert!(Rules { verified: true, ..rules() }.verified);
    }

    #[test]
    fn ids_are_kept_as_they_are() {
        let uuid = "0190163d-8694-739b-aea5-966c26f8ad91";
        for id in ["1", "00042", "-x_Y.9", uuid, &"x".repeat(64)] {
            assert_eq!(with(Column::Id, id).unwrap().id.as_str(), id);
        }
        for id in ["", "a,b", "a b", "é", "a\u{7f}", &"x".repeat(65)] {
            assert_eq!(with(Column::Id, id).unwrap_err(), Refusal::Id(crate::accounts::InvalidId), "{id:?}");
        }
        assert_eq!(with(Column::Id, "=\"00042\"").unwrap_err(), Refusal::Formula(Column::Id));
    }

    #[test]
    fn addresses_keep_to_ascii() {
        for (email, refusal) in [
            ("", Refusal::Missing(Column::Email)),
            ("ada", Refusal::Email(crate::accounts::InvalidEmail)),
            ("\u{430}da@example.com", Refusal::NonAsciiEmail),
            ("ada@b\u{fc}cher.example", Refusal::NonAsciiEmail),
            ("a\0@example.com", Refusal::Nul),
        ] {
            assert_eq!(with(Column::Email, email).unwrap_err(), refusal, "{email:?}");
        }
    }

    #[test]
    fn a_user_name_is_kept_unless_it_is_an_address() {
        assert_eq!(with(Column::Username, "Ada_L").unwrap().username.unwrap().as_str(), "Ada_L");
        assert_eq!(with(Column::Username, "ADA@example.com").unwrap().username, None);
        assert_eq!(with(Column::Username, "bob@example.com").unwrap_err(), Refusal::UsernameIsAddress);
        assert_eq!(with(Column::Username, "@ada").unwrap_err(), Refusal::Formula(Column::Username));
        assert!(matches!(with(Column::Username, "a\u{202e}b").unwrap_err(), Refusal::Username(_)));
    }

    #[test]
    fn names_are_no_formulas() {
        assert_eq!(with(Column::Name, " Ada King ").unwrap().name.as_str(), "Ada King");
        for name in ["=1+1", "+1", "-1", "@SUM(A1)", "=HYPERLINK(\"x\")"] {
            assert_eq!(with(Column::Name, name).unwrap_err(), Refusal::Formula(Column::Name), "{name}");
        }
        assert!(matches!(with(Column::Name, "a\nb").unwrap_err(), Refusal::Name(_)));
    }

    #[test]
    fn lists_of_roles_are_read_however_they_are_written() {
        for roles in [
            "trader,admin",
            "{trader,admin}",
            "['trader', 'admin']",
            "[\"TRADER\",\"admin\"]",
            "trader admin trader",
        ] {
            assert_eq!(with(Column::Roles, roles).unwrap().roles, ["trader", "admin"], "{roles}");
        }
        assert_eq!(with(Column::Roles, "{}").unwrap().roles, ["user"]);
        assert_eq!(with(Column::Roles, "king").unwrap_err(), Refusal::Role("admin, trader, user".into()));
        assert_eq!(with(Column::IsAdmin, "t").unwrap().roles, ["user", "admin"]);
        assert_eq!(with(Column::IsAdmin, "maybe").unwrap_err(), Refusal::Flag(Column::IsAdmin));
        assert!(!with(Column::IsActive, "False").unwrap().is_active);
        assert!(with(Column::EmailVerified, "1").unwrap().email_verified);
    }

    #[test]
    fn times_are_read_as_databases_print_them() {
        let at = 1_700_000_000;
        for text in [
            "2023-11-14T22:13:20Z",
            "2023-11-14T22:13:20",
            "2023-11-14 22:13:20",
            "2023-11-14 22:13:20.123456",
            "2023-11-14 22:13:20.123456+00",
            "2023-11-14 22:13:20 UTC",
            "2023-11-15T00:13:20+02:00",
            "2023-11-15 00:13:20+0200",
            "2023-11-14T16:13:20.5-06",
            "1700000000",
            "1700000000.25",
            "1700000000123",
        ] {
            assert_eq!(with(Column::CreatedAt, text).unwrap().created_at.seconds(), at, "{text}");
        }
        assert_eq!(with(Column::CreatedAt, "2023-11-14").unwrap().updated_at.seconds(), 1_699_920_000);
        for text in [
            "yesterday",
            "2023-13-01",
            "14.11.2023 22:13",
            "-1",
            "9".repeat(40).as_str(),
            "2030-01-01",
            "1.2.3.é",
        ] {
            assert_eq!(
                with(Column::CreatedAt, text).unwrap_err(),
                Refusal::Time(Column::CreatedAt),
                "{text}"
            );
        }
    }

    #[test]
    fn no_hash_is_taken_that_cannot_be_checked_and_none_is_shown() {
        assert_eq!(with(Column::PasswordHash, "").unwrap_err(), Refusal::Missing(Column::PasswordHash));
        for hash in [
            "hunter2",
            "$2b$31$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
            "5f4dcc3b5aa765d61d8327deb882cf99",
        ] {
            let refusal = with(Column::PasswordHash, hash).unwrap_err();
            assert!(
                matches!(refusal, Refusal::PasswordHash(_)) && !refusal.to_string().contains(hash),
                "{refusal}"
            );
        }
    }
}
