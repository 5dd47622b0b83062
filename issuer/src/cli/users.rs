//! `countersign users`: accounts that exist before anyone can log in to make them.

mod import;

use std::io::{BufRead as _, IsTerminal as _};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, anyhow, ensure};
use clap::{Args, Subcommand};

use super::{block_on, say, settings, with_db};
use crate::access;
use crate::accounts::standing::{self, Change, LastAdmin, Outcome};
use crate::accounts::{Email, Name, NewUser, User, UserBody, UserId, is_invisible, store};
use crate::ambient::Ids;
use crate::audit::{self, Event, Kind, Origin};
use crate::config::Settings;
use crate::db::Db;
use crate::limits::Limits;
use crate::mail::{self, Outbox};
use crate::mfa;
use crate::passwords::{BreachedList, Cost, Hasher, Password, Policy};
use crate::secrets::Ring;
use crate::sessions::Rules;

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
    /// Take the second factor of someone who has lost it away: sessions end at once, the password is enough.
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

fn given_password(piped: bool) -> anyhow::Result<Password> {
    if piped { piped_password() } else { asked_password() }
}

/// The hash of a password, if it is one by the rules of the configuration.
async fn new_hash(
    settings: &Settings,
    password: Password,
    email: &Email,
    name: &Name,
) -> anyhow::Result<String> {
    let breached = BreachedList::configured(&settings.passwords)?;
    let hasher = Hasher::start(Cost::from(&settings.hashing), 1, 1)?.refusing(breached);
    let policy = Policy::from(&settings.passwords);
    let judged = hasher.check_strength(policy, password.clone(), email.clone(), name.clone()).await?;
    judged.map_err(|weak| anyhow!("the password {weak}"))?;
    Ok(hasher.hash(password, Ids::system().entropy.bytes()).await?)
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

async fn create(
    settings: &Settings,
    email: Email,
    name: Name,
    roles: Vec<String>,
    password: Password,
) -> anyhow::Result<()> {
    let password_hash = new_hash(settings, password, &email, &name).await?;
    let id = UserId::new(Ids::system().uuid());
    // The operator vouches for the address.
    let new =
        NewUser { id, email: email.clone(), email_verified: true, name, phone: None, password_hash, roles };
    let created = with_db(settings, async |db| {
        let create = db.write(async move |tx| {
            let created = store::create(tx, &new).await?;
            if let Some(user) = &created {
                let (subject, origin) = (Some(&user.id), Origin::command());
                let event = Event { kind: Kind::Registered, subject, session_id: None, origin: &origin };
                audit::store::record(tx, event).await?;
            }
            Ok(created)
        });
        Ok(create.await?)
    });
    let user = created.await?.with_context(|| format!("an account with {email} exists already"))?;
    say(format_args!("created {} for {} ({})", user.id, user.email, user.roles.join(", ")));
    Ok(())
}

/// Accounts that are read at a time.
const STRETCH: usize = 500;

async fn list(settings: &Settings, search: &str, json: bool) -> anyhow::Result<()> {
    let beginning = search.trim_matches(' ').to_ascii_lowercase();
    ensure!(
        beginning.bytes().all(|b| b.is_ascii_graphic()),
        "--search {search:?} is not what an address begins with"
    );
    if !json {
        say(format_args!(
            "{:<36}  {:<32} {:<16} {:<9} {:<20}  NAME",
            "ID", "EMAIL", "ROLES", "ACTIVE", "CREATED"
        ));
    }
    with_db(settings, async |db| {
        let mut after: Option<String> = None;
        loop {
            let users = store::page(db.reads(), &beginning, after.as_deref(), STRETCH).await?;
            let Some(last) = users.last() else { break };
            let (last, first) = (last.email.clone(), after.is_none());
            for (index, user) in users.into_iter().enumerate() {
                if json {
                    let ahead = if first && index == 0 { "[" } else { "," };
                    say(format_args!(
                        "{ahead}{}",
                        serde_json::to_string(&UserBody::new(user, &settings.roles))?
                    ));
                } else {
                    say_user(&user);
                }
            }
            after = Some(last);
        }
        if json {
            say(if after.is_none() { "[]" } else { "]" });
        }
        Ok(())
    })
    .await
}

fn say_user(user: &User) {
    let (roles, created) = (user.roles.join(","), user.created_at.to_string());
    let active = if user.is_active { "active" } else { "inactive" };
    say(format_args!(
        "{:<36}  {:<32} {roles:<16} {active:<9} {created:<20}  {}",
        user.id.as_str(),
        user.email,
        printable(&user.name)
    ));
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

async fn set_password(settings: &Settings, email: &str, piped: bool) -> anyhow::Result<()> {
    let (rules, outbox) = (Rules::from(settings), Outbox::new(settings, Ids::system()));
    let user = with_db(settings, async move |db| {
        let user = find(db, email).await?;
        let (address, name) = (Email::parse(&user.email)?, Name::parse(&user.name)?);
        let password_hash = new_hash(settings, given_password(piped)?, &address, &name).await?;
        let (id, notice) = (user.id, outbox.notice(mail::Kind::PasswordChanged, address));
        let work = db.write(async move |tx| {
            let origin = Origin::command();
            standing::set_password(tx, &id, &password_hash, notice.as_ref(), &origin, rules).await
        });
        work.await?.with_context(|| format!("there is no account with {email}"))
    });
    say(format_args!("{}: new password; its sessions have ended", user.await?.email));
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
