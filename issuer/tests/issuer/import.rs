//! Users of another system: they keep their ids and passwords, and what is wrong in a file is told line by line.

mod files;
mod passwords;
mod runs;

use base64ct::{Base64Bcrypt, Encoding as _};

use crate::command::{Ran, run};
use crate::stage::TestApp;

/// As systems with bcrypt hash, at the lowest cost.
pub(crate) fn bcrypt(password: &[u8]) -> String {
    let salt = [7; 16];
    let key: Vec<u8> = password.iter().chain(&[0]).copied().take(72).collect();
    let hash = bcrypt::bcrypt(4, salt, &key);
    format!("$2b$04${}{}", Base64Bcrypt::encode_string(&salt), Base64Bcrypt::encode_string(&hash[..23]))
}

/// Runs the import of a file with this text.
pub(crate) fn import(app: &TestApp, name: &str, text: impl AsRef<[u8]>, options: &[&str]) -> Ran {
    let file = app.folder.path(name);
    std::fs::write(&file, text).unwrap();
    run(&app.folder, &[&["users", "import", file.to_str().unwrap()], options].concat())
}

/// What a run says at its end.
fn summary(imported: u64, before: u64, refused: u64) -> String {
    format!("imported: {imported}, imported before: {before}, refused: {refused}\n")
}
