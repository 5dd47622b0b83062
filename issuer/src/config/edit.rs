//! Edits of the configuration file by the operator's commands. Everything but the lines in question stays as it
//! was, comments included; a file is replaced whole or not at all.

use std::fs::{File, Metadata};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use toml_edit::{ArrayOfTables, Datetime, DocumentMut, Item, Table, TableLike, Value, value};

#[derive(Debug, thiserror::Error)]
pub enum EditError {
    #[error("no [[keys]] entry has kid {0:?}")]
    NoSuchKey(String),
    #[error("keys is not a list of [[keys]] entries")]
    NotAList,
    #[error("{0:?} is not a date and time")]
    NoMoment(String),
    #[error("the file is not valid TOML: {0}")]
    Toml(String),
}

/// The lines of a `[[keys]]` entry; `file` is written as given.
///
/// # Errors
/// [`EditError::NoMoment`] if `sign_from` is not RFC 3339.
pub fn key_lines(kid: &str, file: &str, sign_from: &str) -> Result<String, EditError> {
    append_key("", kid, file, sign_from).map(|lines| lines.trim_start().to_owned())
}

/// The text of the file with an entry added to its `[[keys]]`.
///
/// # Errors
/// [`EditError`] if there is something else under that name.
pub fn append_key(text: &str, kid: &str, file: &str, sign_from: &str) -> Result<String, EditError> {
    let moment: Datetime = sign_from.parse().map_err(|_| EditError::NoMoment(sign_from.to_owned()))?;
    let mut entry = Table::new();
    entry.insert("kid", value(kid));
    entry.insert("file", value(file));
    entry.insert("sign_from", value(moment));
    let mut document = document(text)?;
    match document.entry("keys").or_insert(Item::ArrayOfTables(ArrayOfTables::new())) {
        Item::ArrayOfTables(entries) => {
            entry.decor_mut().set_prefix(if text.is_empty() { "" } else { "\n" });
            entries.push(entry);
        }
        Item::Value(Value::Array(entries)) => entries.push(entry.into_inline_table()),
        _ => return Err(EditError::NotAList),
    }
    Ok(document.to_string())
}

/// The text of the file with `revoked = true` in the entry of `kid`.
///
/// # Errors
/// [`EditError::NoSuchKey`]
pub fn revoke_key(text: &str, kid: &str) -> Result<String, EditError> {
    let mut document = document(text)?;
    let mut entries = entries(&mut document).into_iter();
    let entry = entries.find(|entry| has_kid(&**entry, kid));
    let entry = entry.ok_or_else(|| EditError::NoSuchKey(kid.to_owned()))?;
    match entry.get_mut("revoked").and_then(Item::as_value_mut) {
        Some(written) => {
            // Its comment stays.
            let decor = written.decor().clone();
            *written = true.into();
            *written.decor_mut() = decor;
        }
        None => drop(entry.insert("revoked", value(true))),
    }
    Ok(document.to_string())
}

/// The text of the file without the entries of `kids`, and without the comments above them.
///
/// # Errors
/// [`EditError::Toml`]
pub fn remove_keys(text: &str, kids: &[&str]) -> Result<String, EditError> {
    let mut document = document(text)?;
    let stays = |entry: &dyn TableLike| !kids.iter().any(|kid| has_kid(entry, kid));
    match document.get_mut("keys") {
        Some(Item::ArrayOfTables(entries)) => entries.retain(|entry| stays(entry)),
        Some(Item::Value(Value::Array(entries))) => {
            entries.retain(|entry| entry.as_inline_table().is_none_or(|entry| stays(entry)));
        }
        _ => {}
    }
    Ok(document.to_string())
}

fn document(text: &str) -> Result<DocumentMut, EditError> {
    text.parse().map_err(|error: toml_edit::TomlError| EditError::Toml(error.message().to_owned()))
}

/// The keys, however they are written.
fn entries(document: &mut DocumentMut) -> Vec<&mut dyn TableLike> {
    match document.get_mut("keys") {
        Some(Item::ArrayOfTables(entries)) => {
            entries.iter_mut().map(|entry| entry as &mut dyn TableLike).collect()
        }
        Some(Item::Value(Value::Array(entries))) => {
            let tables = entries.iter_mut().filter_map(Value::as_inline_table_mut);
            tables.map(|entry| entry as &mut dyn TableLike).collect()
        }
        _ => Vec::new(),
    }
}

fn has_kid(entry: &dyn TableLike, kid: &str) -> bool {
    entry.get("kid").and_then(Item::as_str) == Some(kid)
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

/// Replaces the contents of `path` in one step, keeping its mode, owner and group and the link that may lead to it.
///
/// # Errors
/// Those of the file system; the old contents are then untouched.
pub fn replace_file(path: &Path, contents: &str) -> std::io::Result<()> {
    let target = path.canonicalize()?;
    let old = std::fs::metadata(&target)?;
    let mut name = std::ffi::OsString::from(".");
    name.push(target.file_name().unwrap_or_default());
    name.push(format!(".{}.new", std::process::id()));
    let draft = target.with_file_name(name);
    let result = (|| {
        let mut file =
            std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(contents.as_bytes())?;
        belong_as(&file, &old)?;
        file.set_permissions(old.permissions())?;
        file.sync_all()?;
        std::fs::rename(&draft, &target)?;
        sync_folder(&target)
    })();
    if result.is_err() {
        let _ = std::fs::remove_file(&draft);
    }
    result
}

/// Gives `file` the owner and group of `model`: whoever read that can read this.
///
/// # Errors
/// Those of the file system; only root can give a file to another user.
pub(crate) fn belong_as(file: &File, model: &Metadata) -> std::io::Result<()> {
    let now = file.metadata()?;
    if (now.uid(), now.gid()) == (model.uid(), model.gid()) {
        return Ok(());
    }
    std::os::unix::fs::fchown(file, Some(model.uid()), Some(model.gid()))
}

/// Makes sure that a file that came into its folder is still there after a power cut.
///
/// # Errors
/// Those of the file system.
pub(crate) fn sync_folder(file: &Path) -> std::io::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
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
    fn inline_keys_are_edited_where_they_are() {
        let inline = "keys = [{ kid = \"one\", file = \"one.pem\", sign_from = 2026-11-20T00:00:00Z }]\n";
        let two = append_key(inline, "two", "two.pem", "2026-11-21T00:00:00Z").unwrap();
        let revoked = revoke_key(&two, "one").unwrap();
        let keys = document(&revoked).unwrap();
        assert_eq!(keys["keys"][0]["revoked"].as_bool(), Some(true));
        assert_eq!(keys["keys"][1]["kid"].as_str(), Some("two"));
        assert_eq!(
            document(&remove_keys(&revoked, &["one"]).unwrap()).unwrap()["keys"][0]["kid"].as_str(),
            Some("two")
        );
        assert!(matches!(
            append_key("keys = 1", "two", "f", "2026-11-21T00:00:00Z"),
            Err(EditError::NotAList)
        ));
    }

    #[test]
    fn revoking_marks_the_one_key_and_keeps_comments() {
        let two = append_key(FILE, "two", "two.pem", "2026-11-21T00:00:00Z").unwrap();
        let edited = revoke_key(&two, "one").unwrap();
        let line = "sign_from = 2026-11-20T00:00:00Z\n";
        assert_eq!(edited, two.replacen(line, &format!("{line}revoked = true\n"), 1));
        assert_eq!(revoke_key(&edited, "one").unwrap(), edited);
        let lifted = edited.replace("revoked = true", "revoked = false # not yet");
        assert_eq!(revoke_key(&lifted, "one").unwrap(), lifted.replace("false", "true"));
        assert!(matches!(revoke_key(&two, "three"), Err(EditError::NoSuchKey(_))));
    }

    #[test]
    fn removing_takes_the_entries_and_nothing_else() {
        let two = append_key(FILE, "two", "two.pem", "2026-11-21T00:00:00Z").unwrap();
        assert_eq!(remove_keys(&two, &["two"]).unwrap().trim_end(), FILE);
        assert!(remove_keys(&two, &["one"]).unwrap().starts_with("# ours\n[tokens] # and theirs\n"));
        assert_eq!(remove_keys(&two, &[]).unwrap(), two);
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
