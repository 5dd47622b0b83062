//! Edits of the configuration file by the operator's commands. Everything but the lines in question stays as it
//! was, comments included; a file is replaced whole or not at all.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::Deserialize;
use toml::{Spanned, Table, Value};

#[derive(Debug, thiserror::Error)]
pub enum EditError {
    #[error("no [[keys]] entry has kid {0:?}")]
    NoSuchKey(String),
    #[error("the keys are written in a way that cannot be edited safely; edit the file by hand:\n{0}")]
    ByHand(String),
    #[error("the file is not valid TOML: {0}")]
    Toml(String),
}

/// The lines of a `[[keys]]` entry; `file` is written as given.
pub fn key_lines(kid: &str, file: &str, sign_from: &str) -> String {
    let quoted = |text: &str| Value::String(text.to_owned()).to_string();
    format!("[[keys]]\nkid = {}\nfile = {}\nsign_from = {sign_from}\n", quoted(kid), quoted(file))
}

/// The text of the file with a `[[keys]]` entry added at its end.
///
/// # Errors
/// [`EditError::ByHand`] if the result would not be the same document plus that entry.
pub fn append_key(text: &str, kid: &str, file: &str, sign_from: &str) -> Result<String, EditError> {
    let lines = key_lines(kid, file, sign_from);
    let gap = match text {
        "" => "",
        text if text.ends_with('\n') => "\n",
        _ => "\n\n",
    };
    let edited = format!("{text}{gap}{lines}");
    let mut expected = document(text)?;
    let entry =
        document(&lines)?.remove("keys").and_then(|keys| keys.as_array().cloned()).unwrap_or_default();
    match expected.entry("keys").or_insert_with(|| Value::Array(Vec::new())) {
        Value::Array(keys) => keys.extend(entry),
        _ => return Err(EditError::ByHand(lines)),
    }
    confirm(edited, &expected, &lines)
}

/// The text of the file with `revoked = true` in the entry of `kid`.
///
/// # Errors
/// [`EditError::NoSuchKey`]; [`EditError::ByHand`] if the result would not be the same document plus that.
pub fn revoke_key(text: &str, kid: &str) -> Result<String, EditError> {
    let by_hand = "revoked = true";
    let places: Places = toml::from_str(text).map_err(|error| EditError::Toml(error.message().to_owned()))?;
    let index = places.keys.iter().position(|key| key.kid.get_ref() == kid);
    let index = index.ok_or_else(|| EditError::NoSuchKey(kid.to_owned()))?;
    let place = places.keys.get(index).ok_or_else(|| EditError::NoSuchKey(kid.to_owned()))?;
    let mut edited = text.to_owned();
    match &place.revoked {
        Some(written) => edited.replace_range(written.span(), "true"),
        None => {
            let end = place.kid.span().end;
            let line_end = text.get(end..).and_then(|rest| rest.find('\n')).map_or(text.len(), |at| end + at);
            edited.insert_str(line_end, "\nrevoked = true");
        }
    }
    let mut expected = document(text)?;
    let entry = expected.get_mut("keys").and_then(|keys| keys.get_mut(index)).and_then(Value::as_table_mut);
    entry.ok_or_else(|| EditError::ByHand(by_hand.into()))?.insert("revoked".into(), true.into());
    confirm(edited, &expected, by_hand)
}

#[derive(Deserialize)]
struct Places {
    #[serde(default)]
    keys: Vec<KeyPlace>,
}

#[derive(Deserialize)]
struct KeyPlace {
    kid: Spanned<String>,
    revoked: Option<Spanned<bool>>,
}

fn document(text: &str) -> Result<Table, EditError> {
    toml::from_str(text).map_err(|error| EditError::Toml(error.message().to_owned()))
}

/// `edited`, if it reads as `expected`.
fn confirm(edited: String, expected: &Table, by_hand: &str) -> Result<String, EditError> {
    match document(&edited) {
        Ok(found) if found == *expected => Ok(edited),
        _ => Err(EditError::ByHand(by_hand.to_owned())),
    }
}

/// Keeps other commands from editing `config` until the file returned is closed; waits for one that does so now.
///
/// Its folder is locked, because the file itself is replaced; a link leads to the same lock as what it links to.
///
/// # Errors
/// Those of the file system.
pub fn lock_for_edit(config: &Path) -> std::io::Result<File> {
    let target = config.canonicalize()?;
    let folder = File::open(target.parent().unwrap_or(Path::new("/")))?;
    folder.lock()?;
    Ok(folder)
}

/// Replaces the contents of `path` in one step, keeping its mode and the link that may lead to it.
///
/// # Errors
/// Those of the file system; the old contents are then untouched.
pub fn replace_file(path: &Path, contents: &str) -> std::io::Result<()> {
    let target = path.canonicalize()?;
    let mode = std::fs::metadata(&target)?.permissions();
    let mut name = std::ffi::OsString::from(".");
    name.push(target.file_name().unwrap_or_default());
    name.push(format!(".{}.new", std::process::id()));
    let draft = target.with_file_name(name);
    let result = (|| {
        let mut file =
            std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(contents.as_bytes())?;
        file.set_permissions(mode)?;
        file.sync_all()?;
        std::fs::rename(&draft, &target)
    })();
    if result.is_err() {
        let _ = std::fs::remove_file(&draft);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# ours\n[tokens] # and theirs\nissuer = \"a\"\n\n[[keys]]\nkid = \"one\" # first\nfile = \"one.pem\"\nsign_from = 2026-11-20T00:00:00Z";

    #[test]
    fn adding_a_key_leaves_every_other_byte_alone() {
        let edited = append_key(FILE, "two", "two.pem", "2026-11-21T00:00:00Z").unwrap();
        assert!(edited.starts_with(FILE));
        assert!(edited.ends_with(
            "\n\n[[keys]]\nkid = \"two\"\nfile = \"two.pem\"\nsign_from = 2026-11-21T00:00:00Z\n"
        ));
    }

    #[test]
    fn a_file_name_cannot_break_out_of_its_quotes() {
        let edited = append_key("", "k", "a\"\nrevoked = true #", "2026-11-21T00:00:00Z").unwrap();
        assert!(document(&edited).unwrap()["keys"][0].get("revoked").is_none());
    }

    #[test]
    fn inline_keys_are_left_to_the_operator() {
        let inline = "keys = [{ kid = \"one\", file = \"one.pem\", sign_from = 2026-11-20T00:00:00Z }]\n";
        assert!(matches!(
            append_key(inline, "two", "two.pem", "2026-11-21T00:00:00Z"),
            Err(EditError::ByHand(_))
        ));
        assert!(matches!(revoke_key(inline, "one"), Err(EditError::ByHand(_))));
    }

    #[test]
    fn revoking_marks_the_one_key_and_keeps_its_comment() {
        let two = append_key(FILE, "two", "two.pem", "2026-11-21T00:00:00Z").unwrap();
        let edited = revoke_key(&two, "one").unwrap();
        assert_eq!(edited, two.replace("# first\n", "# first\nrevoked = true\n"));
        assert_eq!(revoke_key(&edited, "one").unwrap(), edited);
        let lifted = edited.replace("revoked = true", "revoked = false");
        assert_eq!(revoke_key(&lifted, "one").unwrap(), edited);
        assert!(matches!(revoke_key(&two, "three"), Err(EditError::NoSuchKey(_))));
    }

    #[test]
    fn one_edit_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("x.toml"), folder.path().join("link.toml"));
        std::fs::write(&file, "").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let editing = lock_for_edit(&link).unwrap();
        let other = File::open(folder.path()).unwrap();
        assert!(matches!(other.try_lock(), Err(std::fs::TryLockError::WouldBlock)));
        drop(editing);
        other.try_lock().unwrap();
    }

    #[test]
    fn replacing_keeps_the_mode_and_follows_a_link() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real.toml"), folder.path().join("link.toml"));
        std::fs::write(&real, "old").unwrap();
        std::fs::set_permissions(&real, std::fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        replace_file(&link, "new").unwrap();
        assert_eq!(std::fs::read_to_string(&real).unwrap(), "new");
        assert_eq!(std::fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(link.is_symlink());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
