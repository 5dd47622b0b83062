//! `countersign users`: accounts that exist before anyone can log in to make them.

mod import;
mod list;
mod passwords;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use clap::{Args, Subcommand};

use super::{block_on, print, say, settings, with_db};
use crate::access;
use crate::accounts::standing::{self, Change, LastAdmin, Outcome};
use crate::accounts::{Email, Name, User, store};
use crate::audit::Origin;
use crate::config::Settings;
use crate::db::Db;
use crate::limits::Limits;
use crate::mfa;
use crate::secrets::Ring;
use crate::sessions::Rules;
use list::{list, printable};
use passwords::{create, given_password, set_password};

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
    /// Take over the accounts of another system, with their ids and passwords.
    Import(import::Arguments),
    /// Show the accounts, in the order of their addresses.
    List {
        /// As JSON, for programs.
        #[arg(long)]
        json: bool,
        /// Only those whose address begins with this.
        #[arg(long, value_name = "BEGINNING", default_value = "")]
        search: String,
    },
    /// Replace the roles of an account; tokens issued from then on carry the new ones.
    SetRole {
        /// The address of the account.
        email: String,
        /// All roles that the account shall have; others are taken away.
        #[arg(required = true, value_name = "ROLE")]
        roles: Vec<String>,
        #[command(flatten)]
        last: Last,
    },
    /// Close an account: its sessions end at once and nobody can log in to it.
    Deactivate {
        /// The address of the account.
        email: String,
        #[command(flatten)]
        last: Last,
    },
    /// Open a closed account again.
    Activate {
        /// The address of the account.
        email: String,
    },
    /// Give an account a new password, asked for or read from standard input; its sessions end.
    SetPassword {
        /// The address of the account.
        email: String,
        /// Read the password from the first line of standard input instead of asking.
        #[arg(long)]
        password_stdin: bool,
    },
    /// End every session of an account, and every login under way.
    EndSessions {
        /// The address of the account.
        email: String,
    },
    /// Forget the failures of an account, which may log in again at once.
    Unlock {
        /// The address of the account.
        email: String,
    },
    /// Take the second factor away from someone who has lost it: sessions end at once, the password is enough.
    ResetMfa {
        /// The address of the account.
        email: String,
    },
    /// Delete an account, for good; what happened to it stays in the audit, under its id.
    Delete {
        /// The address of the account.
        email: String,
        #[command(flatten)]
        last: Last,
    },
}

#[derive(Debug, Args)]
pub(super) struct Last {
    /// Also if no administrator is left who can log in.
    #[arg(long)]
    force: bool,
}

impl From<Last> for LastAdmin {
    fn from(Last { force }: Last) -> Self {
        if force { Self::MayGo } else { Self::MustStay }
    }
}

pub(super) fn run(config: &Path, command: Command) -> anyhow::Result<ExitCode> {
    let settings = settings(config)?;
    let done = match command {
        Command::Import(arguments) => return import::run(&settings, arguments),
        Command::Create { email, name, roles, password_stdin } => {
            let roles = if roles.is_empty() { vec![access::USER.to_owned()] } else { roles };
            let roles = settings.roles.check(&roles)?;
            let email = parse_email(&email)?;
            let name = Name::parse(&name).map_err(|error| anyhow!("--name {error}"))?;
            let password = given_password(password_stdin)?;
            block_on(create(&settings, email, name, roles, password))
        }
        Command::List { json, search } => block_on(list(&settings, &search, json)),
        Command::SetRole { email, roles, last } => {
            let roles = settings.roles.check(&roles)?;
            let shown = roles.join(", ");
            let change = Change { roles: Some(roles), active: None };
            let (user, _) = block_on(set_standing(&settings, &email, change, last.into()))?;
            say(format_args!("{}: {shown}", user.email));
            Ok(())
        }
        Command::Deactivate { email, last } => set_active(&settings, &email, false, last.into()),
        Command::Activate { email } => set_active(&settings, &email, true, LastAdmin::MustStay),
        Command::SetPassword { email, password_stdin } => {
            block_on(set_password(&settings, &email, password_stdin))
        }
        Command::EndSessions { email } => block_on(end_sessions(&settings, &email)),
        Command::Unlock { email } => block_on(unlock(&settings, &email)),
        Command::ResetMfa { email } => block_on(reset_mfa(&settings, &email)),
        Command::Delete { email, last } => block_on(delete(&settings, &email, last.into())),
    };
    done.map(|()| ExitCode::SUCCESS)
}

fn parse_email(text: &str) -> anyhow::Result<Email> {
    Email::parse(text).map_err(|error| anyhow!("{text:?} {error}"))
}

/// The account with this address.
async fn find(db: &Db, email: &str) -> anyhow::Result<User> {
    let email = parse_email(email)?;
    let found = store::find_for_login(db.reads(), &email).await?;
    found.map(|(user, _)| user).with_context(|| format!("there is no account with {email}"))
}

/// The account after the change, and whether there was anything to change.
async fn set_standing(
    settings: &Settings,
    email: &str,
    change: Change,
    last: LastAdmin,
) -> anyhow::Result<(User, bool)> {
    let rules = Rules::from(settings);
    with_db(settings, async move |db| {
        let id = find(db, email).await?.id;
        let work = db
            .write(async move |tx| standing::change(tx, &id, &change, last, &Origin::command(), rules).await);
        done(work.await?, email)
    })
    .await
}

fn done(outcome: Outcome, email: &str) -> anyhow::Result<(User, bool)> {
    match outcome {
        Outcome::Done(user) => Ok((user, true)),
        Outcome::AlreadySo(user) => Ok((user, false)),
        Outcome::Refused => {
            Err(anyhow!("{email} is the last administrator who can log in; --force does it all the same"))
        }
        Outcome::Unknown => Err(anyhow!("there is no account with {email}")),
    }
}

fn set_active(settings: &Settings, email: &str, active: bool, last: LastAdmin) -> anyhow::Result<()> {
    let change = Change { active: Some(active), roles: None };
    let (user, changed) = block_on(set_standing(settings, email, change, last))?;
    let already = if changed { "" } else { " already" };
    say(format_args!("{}: {}{already}", user.email, if active { "active" } else { "inactive" }));
    Ok(())
}

async fn end_sessions(settings: &Settings, email: &str) -> anyhow::Result<()> {
    let rules = Rules::from(settings);
    let user = with_db(settings, async move |db| {
        let id = find(db, email).await?.id;
        let work = db.write(async move |tx| standing::end_sessions(tx, &id, &Origin::command(), rules).await);
        work.await?.with_context(|| format!("there is no account with {email}"))
    });
    say(format_args!("{}: its sessions have ended", user.await?.email));
    Ok(())
}

async fn delete(settings: &Settings, email: &str, last: LastAdmin) -> anyhow::Result<()> {
    let rules = Rules::from(settings);
    let deleted = with_db(settings, async move |db| {
        let id = find(db, email).await?.id;
        let work = db.write(async move |tx| standing::delete(tx, &id, last, &Origin::command(), rules).await);
        done(work.await?, email)
    });
    let (user, _) = deleted.await?;
    say(format_args!("deleted {} ({})", user.email, user.id));
    Ok(())
}

async fn unlock(settings: &Settings, email: &str) -> anyhow::Result<()> {
    let limits = Limits::new(&settings.limits, Ring::from(&settings.secrets));
    let unlocked = with_db(settings, async move |db| {
        let user = find(db, email).await?;
        let address = user.email.clone();
        let work = db.write(async move |tx| limits.unlock(tx, &user, &Origin::command()).await);
        Ok((address, work.await?))
    });
    let (address, unlocked) = unlocked.await?;
    let said = if unlocked { "unlocked" } else { "was not locked" };
    say(format_args!("{address}: {said}"));
    Ok(())
}

async fn reset_mfa(settings: &Settings, email: &str) -> anyhow::Result<()> {
    let rules = Rules::from(settings);
    let reset = with_db(settings, async move |db| {
        let user = find(db, email).await?;
        let (id, address) = (user.id, user.email);
        let work = db.write(async move |tx| mfa::reset(tx, &id, &Origin::command(), rules).await);
        Ok((address, work.await?))
    });
    let (address, reset) = reset.await?;
    let said = if reset { "second factor taken away" } else { "no second factor" };
    say(format_args!("{address}: {said}"));
    Ok(())
}
