//! `countersign users list`: the accounts, for people and for programs.

use anyhow::ensure;

use super::{print, with_db};
use crate::accounts::{User, UserBody, is_invisible, store};
use crate::config::Settings;

/// Accounts that are read at a time.
const STRETCH: usize = 500;

pub(super) async fn list(settings: &Settings, search: &str, json: bool) -> anyhow::Result<()> {
    let beginning = search.trim_matches(' ').to_ascii_lowercase();
    ensure!(
        beginning.bytes().all(|b| b.is_ascii_graphic()),
        "--search {search:?} is not what an address begins with"
    );
    with_db(settings, async |db| {
        if !json {
            print(format_args!(
                "{:<36}  {:<32} {:<16} {:<9} {:<20}  NAME",
                "ID", "EMAIL", "ROLES", "ACTIVE", "CREATED"
            ))?;
        }
        let mut after: Option<String> = None;
        loop {
            let users = store::page(db.reads(), &beginning, after.as_deref(), STRETCH).await?;
            let Some(last) = users.last() else { break };
            let (last, first) = (last.email.clone(), after.is_none());
            for (index, user) in users.into_iter().enumerate() {
                if json {
                    let ahead = if first && index == 0 { "[" } else { "," };
                    print(format_args!(
                        "{ahead}{}",
                        serde_json::to_string(&UserBody::new(user, &settings.roles))?
                    ))?;
                } else {
                    print_user(&user)?;
                }
            }
            after = Some(last);
        }
        if json {
            print(if after.is_none() { "[]" } else { "]" })?;
        }
        Ok(())
    })
    .await
}

fn print_user(user: &User) -> anyhow::Result<()> {
    let (roles, created) = (user.roles.join(","), user.created_at.to_string());
    let active = if user.is_active { "active" } else { "inactive" };
    print(format_args!(
        "{:<36}  {:<32} {roles:<16} {active:<9} {created:<20}  {}",
        user.id.as_str(),
        user.email,
        printable(&user.name)
    ))
}

/// The text with what would act on the terminal, or on the text around it, escaped.
pub(super) fn printable(text: &str) -> String {
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
