//! What a line of a file says, before anyone knows whether it makes sense, and why it may not.

use crate::accounts::{InvalidEmail, InvalidId, InvalidName, InvalidUsername};
use crate::passwords::Unusable;

/// A column whose cells mean something here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    Id,
    Email,
    Username,
    Name,
    PasswordHash,
    Roles,
    IsAdmin,
    IsActive,
    EmailVerified,
    CreatedAt,
    UpdatedAt,
}

/// The names that each column may have.
const COLUMNS: [(&str, Column); 12] = [
    ("id", Column::Id),
    ("email", Column::Email),
    ("username", Column::Username),
    ("name", Column::Name),
    ("hashed_password", Column::PasswordHash),
    ("password_hash", Column::PasswordHash),
    ("roles", Column::Roles),
    ("is_admin", Column::IsAdmin),
    ("is_active", Column::IsActive),
    ("email_verified", Column::EmailVerified),
    ("created_at", Column::CreatedAt),
    ("updated_at", Column::UpdatedAt),
];

impl Column {
    pub(super) fn named(name: &str) -> Option<Self> {
        COLUMNS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, column)| *column)
    }

    pub(super) fn name(self) -> &'static str {
        COLUMNS.iter().find(|(_, column)| *column == self).map_or("", |(name, _)| name)
    }
}

/// The cells of a line; an empty one is the same as none. Not shown by `Debug`: one of them is a password hash.
#[derive(Default)]
pub(super) struct Row([Option<String>; COLUMNS.len()]);

impl Row {
    pub(super) fn set(&mut self, column: Column, text: String) {
        if let Some(cell) = self.0.get_mut(column as usize) {
            *cell = Some(text);
        }
    }

    pub(super) fn has(&self, column: Column) -> bool {
        self.0.get(column as usize).is_some_and(Option::is_some)
    }

    /// Without the spaces around it.
    pub(super) fn get(&self, column: Column) -> &str {
        self.0.get(column as usize).and_then(Option::as_deref).unwrap_or_default().trim()
    }

    pub(super) fn has_nul(&self) -> bool {
        self.0.iter().flatten().any(|cell| cell.contains('\0'))
    }
}

impl std::fmt::Debug for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Row(…)")
    }
}

/// Why a line was not imported. No cell is quoted: in a file whose columns have slipped, any of them may be a hash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("is longer than 64 KiB")]
    TooLong,
    #[error("a quote is opened and not closed; no column that is read may have more than one line")]
    OpenQuote,
    #[error("is not UTF-8")]
    NotUtf8,
    #[error("has more columns than any table of users")]
    ManyColumns,
    #[error("has {found} columns and not {expected} as the first line")]
    Columns { found: usize, expected: usize },
    #[error("is no JSON object")]
    NoObject,
    #[error("is not JSON from its column {column} on")]
    NotJson { column: usize },
    #[error("has {0} twice, under one name or two")]
    Twice(String),
    #[error("{} is not text", _0.name())]
    NoText(Column),
    #[error("has a NUL in it")]
    Nul,
    #[error("has no {}", _0.name())]
    Missing(Column),
    #[error("{} begins as a formula of a spreadsheet does", _0.name())]
    Formula(Column),
    #[error("id {0}")]
    Id(#[from] InvalidId),
    #[error("email {0}")]
    Email(#[from] InvalidEmail),
    #[error(
        "email has letters outside ASCII, which look like others; only its owner can say which address is meant"
    )]
    NonAsciiEmail,
    #[error("username {0}")]
    Username(#[from] InvalidUsername),
    #[error("username is an e-mail address, and not that of the account: it may be someone else's")]
    UsernameIsAddress,
    #[error("name {0}")]
    Name(#[from] InvalidName),
    #[error("the password hash cannot be used: {0}")]
    PasswordHash(#[from] Unusable),
    #[error("roles has one that the configuration does not have; it has {0}")]
    Role(String),
    #[error("{} must be true or false", _0.name())]
    Flag(Column),
    #[error("{} must be a time such as 2026-11-20T12:00:00Z, or seconds since 1970, and not in the future", _0.name())]
    Time(Column),
    #[error("its address, written in lower case, has an account already, under another id")]
    EmailTaken,
    #[error("its id is that of another address's account")]
    IdTaken,
    #[error("its username is that of another account")]
    UsernameTaken,
}
