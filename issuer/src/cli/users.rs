//! `countersign users`: accounts that exist before anyone can log in to make them.

use std::io::{BufRead as _, IsTerminal as _};
use std::path::Path;

use anyhow::{Context as _, anyhow, ensure};
use clap::Subcommand;

use super::{block_on, say, settings};
use crate::access;
use crate::accounts::{Email, Name, NewUser, User, UserBody, UserId, is_invisible, store};
use crate::ambient::Ids;
use crate::audit::{self, Event, Kind, Origin};
use crate::config::Settings;
use crate::db::{self, Db, Schema, Tx};
use crate::passwords::{Cost, Hasher, Password, Policy, check_strength};
use crate::sessions;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make an account; the password is asked for, or read from standard input.
    Create {
        /// The address to log in with.
        #[arg(long)]
        email: String,
        /// What the person is called.
        #[arg(long)]
        name: String,
        /// A role of the configuration; may be repeated; "user" if not given.
        #[arg(long = "role", value_name = "ROLE")]
        roles: Vec<String>,
        /// Read the password from the first line of standard input instead of asking.
        #[arg(long)]
        password_stdin: bool,
    },
    /// Show every account.
    List {
        /// As JSON, for programs.
        #[arg(long)]
        json: bool,
    },
    /// Replace the roles of an account; tokens issued from then on carry the new ones.
    SetRole {
        /// The address of the account.
        email: String,
        /// All roles that the account shall have; others are taken away.
        #[arg(required = true, value_name = "ROLE")]
        roles: Vec<String>,
    },
    /// Close an account: its sessions end at once and nobody can log in to it.
    Deactivate {
        /// The address of the account.
        email: String,
    },
    /// Open a closed account again.
    Activate {
        /// The address of the account.
        email: String,
    },
}

pub(super) fn run(config: &Path, command: Command) -> anyhow::Result<()> {
    let settings = settings(config)?;
    match command {
        Command::Create { email, name, roles, password_stdin } => {
            let roles = if roles.is_empty() { vec![access::USER.to_owned()] } else { roles };
            let roles = known(&settings, roles)?;
            let email = parse_email(&email)?;
            let name = Name::parse(&name).map_err(|error| anyhow!("--name {error}"))?;
            let password = if password_stdin { piped_password()? } else { asked_password()? };
            check_strength(Policy::from(&settings.passwords), &password, &email, &name)
                .map_err(|error| anyhow!("the password {error}"))?;
            block_on(create(&settings, email, name, roles, password))
        }
        Command::List { json } => block_on(list(&settings, json)),
        Command::SetRole { email, roles } => {
            let roles = known(&settings, roles)?;
            block_on(set_role(&settings, parse_email(&email)?, roles))
        }
        Command::Deactivate { email } => block_on(set_active(&settings, parse_email(&email)?, false)),
        Command::Activate { email } => block_on(set_active(&settings, parse_email(&email)?, true)),
    }
}

fn parse_email(text: &str) -> anyhow::Result<Email> {
    Email::parse(text).map_err(|error| anyhow!("{text:?} {error}"))
}

/// The roles without repetition, if the configuration knows them all.
fn known(settings: &Settings, roles: Vec<String>) -> anyhow::Result<Vec<String>> {
    let mut known = Vec::new();
    for role in roles {
        let names = || settings.roles.names().collect::<Vec<_>>().join(", ");
        ensure!(settings.roles.knows(&role), "there is no role {role:?}; the configuration has {}", names());
        if !known.contains(&role) {
            known.push(role);
        }
    }
    Ok(known)
}

fn piped_password() -> anyhow::Result<Password> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).context("cannot read the password from standard input")?;
    let length = line.trim_end_matches(['\r', '\n']).len();
    line.truncate(length);
    Ok(Password::new(line))
}

fn asked_password() -> anyhow::Result<Password> {
    ensure!(
        std::io::stdin().is_terminal(),
        "there is no terminal to ask for the password; use --password-stdin"
    );
    let ask =
        |prompt| rpassword::prompt_password(prompt).map(Password::new).context("cannot ask for the password");
    let (first, again) = (ask("Password: ")?, ask("Once more: ")?);
    ensure!(first.expose() == again.expose(), "the two passwords differ");
    Ok(first)
}

/// Opens the database, works with it, and closes it.
async fn with_db<T>(
    settings: &Settings,
    work: impl AsyncFnOnce(&Db) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let db = db::open(&settings.database, Schema::Expect, &Ids::system()).await?;
    let result = work(&db).await;
    db.close().await;
    result
}

async fn create(
    settings: &Settings,
    email: Email,
    name: Name,
    roles: Vec<String>,
    password: Password,
) -> anyhow::Result<()> {
    let ids = Ids::system();
    let hasher = Hasher::start(Cost::from(&settings.hashing), 1, 1)?;
    let password_hash = hasher.hash(password, ids.entropy.bytes()).await?;
    let id = UserId::new(ids.uuid());
    // The operator vouches for the address.
    let new =
        NewUser { id, email: email.clone(), email_verified: true, name, phone: None, password_hash, roles };
    let created = with_db(settings, async |db| {
        let create = db.write(async move |tx| {
            let created = store::create(tx, &new).await?;
            if let Some(user) = &created {
                note(tx, Kind::Registered, user).await?;
            }
            Ok(created)
        });
        Ok(create.await?)
    });
    let user = created.await?.with_context(|| format!("an account with {email} exists already"))?;
    say(format_args!("created {} for {} ({})", user.id, user.email, user.roles.join(", ")));
    Ok(())
}

/// Writes down what the operator did to an account.
async fn note(tx: &mut Tx<'_>, kind: Kind, user: &User) -> Result<(), db::Error> {
    let origin = Origin::command();
    let event = Event { kind, subject: Some(&user.id), session_id: None, origin: &origin };
    audit::store::record(tx, event).await
}

async fn list(settings: &Settings, json: bool) -> anyhow::Result<()> {
    let users = with_db(settings, async |db| Ok(store::list(db.reads()).await?)).await?;
    if json {
        let users = users.into_iter().map(|user| UserBody::new(user, &settings.roles));
        say(serde_json::to_string_pretty(&users.collect::<Vec<_>>())?);
        return Ok(());
    }
    say(format_args!(
        "{:<36}  {:<32} {:<16} {:<9} {:<20}  NAME",
        "ID", "EMAIL", "ROLES", "ACTIVE", "CREATED"
    ));
    for user in users {
        let (roles, created) = (user.roles.join(","), user.created_at.to_string());
        let active = if user.is_active { "active" } else { "inactive" };
        say(format_args!(
            "{:<36}  {:<32} {roles:<16} {active:<9} {created:<20}  {}",
            user.id.as_str(),
            user.email,
            printable(&user.name)
        ));
    }
    Ok(())
}

async fn set_role(settings: &Settings, email: Email, roles: Vec<String>) -> anyhow::Result<()> {
    let (account, new) = (email.clone(), roles.clone());
    let found = with_db(settings, async |db| {
        let set = db.write(async move |tx| {
            let user = store::set_roles(tx, &account, &new).await?;
            if let Some(user) = &user {
                note(tx, Kind::RoleChanged, user).await?;
            }
            Ok(user)
        });
        Ok(set.await?)
    });
    ensure!(found.await?.is_some(), "there is no account with {email}");
    say(format_args!("{email}: {}", roles.join(", ")));
    Ok(())
}

async fn set_active(settings: &Settings, email: Email, active: bool) -> anyhow::Result<()> {
    let (account, rules) = (email.clone(), sessions::Rules::from(settings));
    let changed = with_db(settings, async |db| {
        let set = db.write(async move |tx| {
            let Some(user) = store::set_active(tx, &account, active).await? else { return Ok(false) };
            let kind = if active { Kind::UserActivated } else { Kind::UserDeactivated };
            note(tx, kind, &user).await?;
            if !active {
                let origin = Origin::command();
                sessions::ending::end_all(tx, &user.id, Kind::SessionEnded, &origin, rules).await?;
            }
            Ok(true)
        });
        let changed = set.await?;
        let known = store::find_for_login(db.reads(), &email).await?.is_some();
        ensure!(known, "there is no account with {email}");
        Ok(changed)
    });
    let already = if changed.await? { "" } else { " already" };
    say(format_args!("{email}: {}{already}", if active { "active" } else { "inactive" }));
    Ok(())
}

/// The text with what would act on the terminal, or on the text around it, escaped.
fn printable(text: &str) -> String {
    text.chars().fold(String::new(), |mut printed, c| {
        if is_invisible(c) {
            printed.extend(c.escape_unicode());
        } else {
            printed.push(c);
        }
        printed
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_act_on_the_terminal() {
        assert_eq!(printable("Ада O'Brien"), "Ада O'Brien");
        assert_eq!(printable("a\u{1b}[2Jb\u{202e}c\nd"), "a\\u{1b}[2Jb\\u{202e}c\\u{a}d");
    }
}
