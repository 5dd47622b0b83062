//! Which database, and how to reach it. The password of a server is never shown, wherever it was written.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;
use url::Url;

use super::reader::{Reader, Section};
use super::secret::{Refused, Secret, inline_or_file};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    pub url: DatabaseUrl,
    /// To PostgreSQL; SQLite has one writer, and readers of its own.
    pub max_connections: u32,
    /// How long PostgreSQL may take over one read or one transaction; then it counts as gone. Not in the file: it is above the
    /// time after which PostgreSQL itself ends a statement.
    pub patience: Duration,
}

/// See [`Database::patience`].
const PATIENCE: Duration = Duration::from_secs(15);

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    Sqlite { file: PathBuf },
    Postgres(PostgresUrl),
}

impl DatabaseUrl {
    /// The SQLite file, if it is one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Sqlite { file } => Some(file),
            Self::Postgres(_) => None,
        }
    }
}

/// The file, or host, port and name: for messages.
impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite { file } => file.display().fmt(f),
            Self::Postgres(url) => url.fmt(f),
        }
    }
}

/// How to reach PostgreSQL. Only [`PostgresUrl::expose`] tells the password.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl {
    /// Without the password.
    url: Url,
    password: Option<Secret>,
}

/// What a URL may say beside user, host, port and name. Others could move the password or the host out of sight.
const PARAMETERS: [&str; 7] =
    ["sslmode", "sslrootcert", "sslcert", "sslkey", "application_name", "options", "search_path"];

impl PostgresUrl {
    const FORM: &str =
        "expected postgres://user@host:port/name, such as \"postgres://issuer@127.0.0.1:5432/issuer\"";

    fn from_text(text: &str) -> Result<Self, String> {
        let form = || Self::FORM.to_owned();
        let mut url = Url::parse(text).map_err(|_| form())?;
        let name = url.path().trim_start_matches('/');
        let whole = url.has_host() && !url.username().is_empty() && !name.is_empty() && !name.contains('/');
        if !whole || url.fragment().is_some() {
            return Err(form());
        }
        if let Some((odd, _)) = url.query_pairs().find(|(name, _)| !PARAMETERS.contains(&name.as_ref())) {
            return Err(format!("{odd:?} cannot be set here; expected {}", PARAMETERS.join(", ")));
        }
        let password =
            url.password().map(|text| percent_encoding::percent_decode_str(text).collect::<Vec<u8>>());
        let password = password.map(|bytes| Secret::new(&bytes));
        url.set_password(None).map_err(|()| form())?;
        Ok(Self { url, password })
    }

    /// The whole URL to connect with, password included.
    pub fn expose(&self) -> SecretString {
        let mut url = self.url.clone();
        if let Some(password) = &self.password {
            // It was a text, and the URL has a host: neither can fail.
            let _ = url.set_password(Some(&String::from_utf8_lossy(password.bytes())));
        }
        String::from(url).into()
    }
}

/// Host, port and name.
impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (host, port) = (self.url.host_str().unwrap_or_default(), self.url.port().unwrap_or(5432));
        write!(f, "{host}:{port}{}", self.url.path())
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresUrl({self})")
    }
}

pub(super) fn database(reader: &mut Reader, folder: &Path) -> Option<Database> {
    let mut section = reader.section("database");
    let url: String = section.or("url", "sqlite:issuer.db".into());
    let url = database_url(&url, folder).map_err(|message| section.error("url", message)).ok();
    let password = inline_or_file(&mut section, "password", "password_file", folder);
    let max_connections: Option<u32> = section.optional("max_connections");
    if max_connections.is_some_and(|most| !(2..=200).contains(&most)) {
        section.error("max_connections", "expected 2 to 200");
    }
    let url = match (url, password) {
        (Some(DatabaseUrl::Postgres(url)), Ok(password)) => with_password(url, password, &mut section),
        (Some(url @ DatabaseUrl::Sqlite { .. }), password) => {
            if let Ok(Some((name, _))) = password {
                section.warning(name, "is for PostgreSQL; SQLite has no password");
            }
            if max_connections.is_some() {
                section.warning("max_connections", "is for PostgreSQL; SQLite has its own number");
            }
            Some(url)
        }
        (None, _) | (Some(DatabaseUrl::Postgres(_)), Err(Refused)) => None,
    };
    section.finish();
    let max_connections = max_connections.unwrap_or(10);
    url.map(|url| Database { url, max_connections, patience: PATIENCE })
}

fn with_password(
    url: PostgresUrl,
    password: Option<(&'static str, Secret)>,
    section: &mut Section<'_>,
) -> Option<DatabaseUrl> {
    let Some((name, password)) = password else { return Some(DatabaseUrl::Postgres(url)) };
    if url.password.is_some() {
        section.error(name, "is set beside a password in database.url; set one of them");
        return None;
    }
    if std::str::from_utf8(password.bytes()).is_err() || password.bytes().is_empty() {
        section.error(name, "expected a text that is not empty");
        return None;
    }
    Some(DatabaseUrl::Postgres(PostgresUrl { password: Some(password), ..url }))
}

fn database_url(url: &str, folder: &Path) -> Result<DatabaseUrl, String> {
    // The rest of the URL may hold a password.
    let (scheme, rest) = url.split_once(':').unwrap_or((url, ""));
    match scheme {
        "sqlite" => {
            let path = rest.strip_prefix("//").unwrap_or(rest);
            if path.is_empty() || path.contains(['?', ':']) {
                return Err("expected sqlite: and the path of a file, such as \"sqlite:issuer.db\"".into());
            }
            Ok(DatabaseUrl::Sqlite { file: folder.join(path) })
        }
        "postgres" | "postgresql" => PostgresUrl::from_text(url).map(DatabaseUrl::Postgres),
        _ => Err("expected a sqlite: or postgres: URL".into()),
    }
}
