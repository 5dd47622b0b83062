//! `countersign users create` and `set-password`: a password from a terminal or from standard input, never from an argument,
//! and held to the rules of the configuration.

use std::io::{BufRead as _, IsTerminal as _};

use anyhow::{Context as _, anyhow, ensure};

use super::{find, say, with_db};
use crate::accounts::standing;
use crate::accounts::{Email, Name, NewUser, UserId, store};
use crate::ambient::Ids;
use crate::audit::{self, Event, Kind, Origin};
use crate::config::Settings;
use crate::mail::{self, Outbox};
use crate::passwords::{BreachedList, Cost, Hasher, Password, Policy};
use crate::sessions::Rules;

pub(super) async fn create(
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

pub(super) async fn set_password(settings: &Settings, email: &str, piped: bool) -> anyhow::Result<()> {
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

pub(super) fn given_password(piped: bool) -> anyhow::Result<Password> {
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
