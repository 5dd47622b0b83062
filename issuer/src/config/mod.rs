//! The settings: one TOML file with `COUNTERSIGN_*` variables laid over it, checked as a whole. Loading reports
//! everything that is wrong with file, key and reason; it must never echo a secret or start half-configured.

mod compat;
mod database;
mod edit;
mod encryption;
mod finding;
mod internal;
mod limits;
mod mail;
mod reader;
mod roles;
mod secret;
mod sections;
mod value;

use std::path::{Path, PathBuf};

use toml::Table;

pub use compat::{Compat, Group, Serve, Served};
pub use database::{Database, DatabaseUrl, PostgresUrl};
pub use edit::{EditError, append_key, key_lines, lock_for_edit, remove_keys, replace_file, revoke_key};
pub(crate) use edit::{belong_as, sync_folder};
pub use encryption::{Encryption, Kms, KmsKey, TradingAccounts, WrappingKey};
pub use finding::{Finding, Severity};
pub use internal::{Internal, Services, Tls};
pub use limits::{Limits, Mfa};
pub use mail::{Mail, MailTransport, Smtp, SmtpTls};
pub use roles::Roles;
pub(crate) use secret::readable_by_others;
pub use secret::{Secret, Secrets};
pub use sections::{
    Accounts, Audit, Cookies, Cors, Hashing, Jwks, KeyLine, Log, LogFormat, MAX_HASH_MEMORY_KIB,
    MAX_HASH_PASSES, Passwords, Server, Sessions, Tokens,
};
pub(crate) use sections::{LONGEST_KID, is_kid};
pub(crate) use value::Seconds;
pub use value::{ApiUrl, Network, PublicUrl};

use reader::Reader;

/// Everything the issuer is told. All durations are whole seconds, all paths ready to open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The file that says all this; findings about keys name it.
    pub file: PathBuf,
    pub server: Server,
    pub internal: Internal,
    pub services: Services,
    pub cors: Cors,
    pub database: Database,
    pub secrets: Secrets,
    pub encryption: Encryption,
    pub trading_accounts: TradingAccounts,
    pub accounts: Accounts,
    pub mail: Mail,
    pub tokens: Tokens,
    pub jwks: Jwks,
    pub sessions: Sessions,
    pub cookies: Cookies,
    pub compat: Compat,
    pub serve: Serve,
    pub passwords: Passwords,
    pub hashing: Hashing,
    pub audit: Audit,
    pub limits: Limits,
    pub mfa: Mfa,
    pub log: Log,
    pub roles: Roles,
    pub keys: Vec<KeyLine>,
}

/// What came of reading a configuration: the settings, unless a finding is an error.
#[derive(Debug)]
pub struct Loaded {
    pub settings: Option<Settings>,
    pub findings: Vec<Finding>,
}

impl Loaded {
    fn refused(finding: Finding) -> Self {
        Self { settings: None, findings: vec![finding] }
    }
}

/// Reads `file` and lays the variables of `env` over it.
pub fn load(file: &Path, env: impl IntoIterator<Item = (String, String)>) -> Loaded {
    match std::fs::read_to_string(file) {
        Ok(text) => parse(file, &text, env),
        Err(error) => Loaded::refused(Finding::error(file.display(), "", format!("cannot be read: {error}"))),
    }
}

/// Like [`load`] for the text of a file already read; `file` names it and anchors relative paths.
pub fn parse(file: &Path, text: &str, env: impl IntoIterator<Item = (String, String)>) -> Loaded {
    let root: Table = match toml::from_str(text) {
        Ok(root) => root,
        Err(error) => {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or("");
            let line = before.matches('\n').count() + 1;
            // Only a key is quoted: anything else may be a secret.
            let key =
                error.span().filter(|_| error.message() == "duplicate key").and_then(|span| text.get(span));
            let key = key.map_or_else(String::new, |key| format!(" {key:?}"));
            let message = format!("line {line}: {}{key}", error.message());
            return Loaded::refused(Finding::error(file.display(), "", message));
        }
    };
    let mut reader = Reader::new(file, root, env);
    let settings = read(&mut reader, file);
    reader.finish();
    let findings = reader.findings;
    let sound = !findings.iter().any(Finding::is_error);
    Loaded { settings: settings.filter(|_| sound), findings }
}

/// Every key that can be set, dotted, sorted.
pub fn reference() -> Vec<String> {
    let mut root = Table::new();
    root.insert("keys".into(), toml::Value::Array(vec![Table::new().into()]));
    let mut reader = Reader::new(Path::new(""), root, []);
    let _ = read(&mut reader, Path::new(""));
    reader.known.into_iter().filter(|key| !key.ends_with('.')).collect()
}

fn read(reader: &mut Reader, file: &Path) -> Option<Settings> {
    let folder = file.parent().unwrap_or(Path::new(""));
    // No `?` before every section was read: all findings, not the first.
    let server = sections::server(reader);
    let internal = internal::internal(reader, folder, server.listen);
    let services = internal::services(reader);
    let cors = sections::cors(reader);
    let database = database::database(reader, folder);
    let secrets = secret::secrets(reader, folder);
    let encryption = encryption::encryption(reader, folder, secrets.as_ref());
    let trading_accounts = encryption::trading_accounts(reader);
    let mail = mail::mail(reader, folder, &server.public_url);
    let accounts = sections::accounts(reader, &mail);
    let tokens = sections::tokens(reader);
    let jwks = sections::jwks(reader);
    let sessions = sections::sessions(reader, tokens.access_lifetime);
    let cookies = sections::cookies(reader);
    let compat = compat::compat(reader);
    let serve = compat::serve(reader);
    let passwords = sections::passwords(reader, folder);
    let hashing = sections::hashing(reader);
    let audit = sections::audit(reader, folder);
    let limits = limits::limits(reader);
    let mfa = limits::mfa(reader);
    let log = sections::log(reader);
    let roles = roles::roles(reader);
    let keys = sections::keys(reader, folder);
    Some(Settings {
        file: file.to_owned(),
        server,
        internal,
        services,
        cors,
        database: database?,
        secrets: secrets?,
        encryption,
        trading_accounts,
        accounts,
        mail,
        tokens,
        jwks,
        sessions,
        cookies,
        compat,
        serve,
        passwords,
        hashing,
        audit,
        limits,
        mfa,
        log,
        roles,
        keys,
    })
}

impl Settings {
    /// What proves rows that are kept: every secret, also those that are good for nothing else any more.
    pub fn archive_secrets(&self) -> Secrets {
        let mut secrets = self.secrets.clone();
        secrets.previous.extend(self.audit.old_secrets.iter().cloned());
        secrets
    }

    /// The sections in which `self` and `other` differ and which only a restart applies: all but the keys.
    pub fn sections_changed(&self, other: &Self) -> Vec<&'static str> {
        let pairs = [
            ("server", self.server == other.server),
            ("internal", self.internal == other.internal),
            ("services", self.services == other.services),
            ("cors", self.cors == other.cors),
            ("secrets", self.secrets == other.secrets),
            ("encryption", self.encryption == other.encryption),
            ("trading_accounts", self.trading_accounts == other.trading_accounts),
            ("accounts", self.accounts == other.accounts),
            ("mail", self.mail == other.mail),
            ("passwords", self.passwords == other.passwords),
            ("database", self.database == other.database),
            ("tokens", self.tokens == other.tokens),
            ("jwks", self.jwks == other.jwks),
            ("sessions", self.sessions == other.sessions),
            ("cookies", self.cookies == other.cookies),
            ("compat", self.compat == other.compat),
            ("serve", self.serve == other.serve),
            ("hashing", self.hashing == other.hashing),
            ("audit", self.audit == other.audit),
            ("limits", self.limits == other.limits),
            ("mfa", self.mfa == other.mfa),
            ("log", self.log == other.log),
            ("roles", self.roles == other.roles),
        ];
        pairs.into_iter().filter(|(_, same)| !same).map(|(name, _)| name).collect()
    }
}

#[cfg(test)]
mod tests;
