//! Somebody who comes from another system, with the password that they had there.

use std::fs;

use anyhow::{Context, Result, ensure};
use reqwest::Method;

use super::visitor::{Answer, PASSWORD, Visitor};
use crate::stack::Stack;

const ID: &str = "1042";
const EMAIL: &str = "grace@example.com";
const USERNAME: &str = "grace";

/// bcrypt of [`PASSWORD`], as FastAPI services store it.
const HASH: &str = "$2b$10$Tj.6rxiojDOMKq6.m/fqju8tLBRvu4YsfhrnynD/q1lKNaDb/YR0W";

pub(super) async fn with_bcrypt(ada: &Visitor, stack: &Stack) -> Result<String> {
    ada.remember(HASH);
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("users.csv");
    let columns = "id,email,username,hashed_password,is_admin,is_active,created_at";
    fs::write(&file, format!("{columns}\n{ID},{EMAIL},{USERNAME},{HASH},f,t,2024-05-01 09:30:00\n"))?;
    let file = file.to_str().context("a folder that is not UTF-8")?;
    let said = |expected: &str, arguments: &[&str]| -> Result<()> {
        let said = stack.operate(&[&["users", "import", file], arguments].concat())?;
        ensure!(said.contains(expected), "wanted {expected:?}: {said}");
        Ok(())
    };
    said("would be imported: 1,", &["--dry-run"])?;
    said("imported: 1, imported before: 0, refused: 0", &[])?;
    said("imported: 0, imported before: 1, refused: 0", &[])?;

    // The second time the password is checked against the hash that the first one has made of it.
    for time in ["the first login", "the second login"] {
        let login = ada.login(EMAIL).await.context(time)?;
        ensure!(login.user_id == ID, "{time}: the id is {} now", login.user_id);
    }
    let form = [("username", USERNAME), ("password", PASSWORD)];
    let answer = Answer::to(ada.request(Method::POST, "/token").form(&form)).await?;
    let token = answer.expect(200, "the name used before, at /token")?.text("/access_token")?;
    ada.remember(&token);
    Ok(format!("{EMAIL} in with the old password, by address and by user name, as {ID} as before"))
}
