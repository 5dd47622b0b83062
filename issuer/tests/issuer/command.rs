//! The operator's command as it is shipped: what it prints, what it writes, how it fails.

mod api_keys;
mod audit;
mod filter;
mod keys;
mod services;
mod users;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::SystemTime;

use countersign_issuer::ambient::Ids;
use countersign_issuer::db::{self, Schema};
use sqlx::Connection as _;

use crate::stage::{Folder, NOON, PASSWORD, key_lines};
pub(crate) use users::run_with_password;

pub(crate) fn countersign(config: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.env_clear().env("COUNTERSIGN_CONFIG", config).stdin(Stdio::null());
    command
}

#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

fn ran(output: Output) -> Ran {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

pub(crate) fn run(folder: &Folder, arguments: &[&str]) -> Ran {
    ran(countersign(&folder.config()).args(arguments).output().unwrap())
}

/// Fails with this on one line, and nothing else.
#[track_caller]
pub(crate) fn fails(folder: &Folder, arguments: &[&str], expected: &str) {
    let ran = run(folder, arguments);
    assert_eq!(ran.code, 1, "{} {}", ran.out, ran.err);
    assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
    assert!(ran.err.starts_with("error: ") && ran.err.contains(expected), "{} has no {expected}", ran.err);
    assert!(!ran.err.contains("panicked") && !ran.err.contains("backtrace"), "{}", ran.err);
}

/// Most of these tests are about files, the database's among them.
fn folder() -> Folder {
    Folder::on_a_file().for_a_process()
}

#[test]
fn check_is_content_with_what_serve_would_take() {
    let folder = folder();
    let before = run(&folder, &["check"]);
    assert_eq!(before.code, 0, "{}", before.out);
    assert!(before.out.contains("does not exist yet"), "{}", before.out);
    assert_eq!(run(&folder, &["migrate"]).code, 0);
    folder.set_mode("issuer.db", 0o600);
    let after = run(&folder, &["check"]);
    assert_eq!((after.code, after.out.lines().count()), (0, 1), "{}", after.out);
    assert!(after.out.contains("errors: 0, warnings: 0"), "{}", after.out);
}

/// Root may prepare what another user's issuer works with.
#[test]
fn a_new_database_belongs_to_the_owner_of_its_folder() {
    use std::os::unix::fs::{MetadataExt as _, chown};
    let folder = folder();
    // Nobody's, if we are root; ours otherwise.
    let _ = chown(folder.path("."), Some(65_534), Some(65_534));
    assert_eq!(run(&folder, &["migrate"]).code, 0);
    let owner = |path: &Path| std::fs::metadata(path).map(|file| (file.uid(), file.gid())).unwrap();
    assert_eq!(owner(&folder.path("issuer.db")), owner(&folder.path(".")));
}

/// Every file below, with its contents and the time of its last change.
fn everything(folder: &Path) -> BTreeMap<PathBuf, (Vec<u8>, SystemTime)> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .map(|path| {
            let changed = std::fs::metadata(&path).unwrap().modified().unwrap();
            let contents = std::fs::read(&path).unwrap();
            (path, (contents, changed))
        })
        .collect()
}

#[tokio::test]
async fn check_changes_nothing() {
    let folder = folder();
    let unchanged_by_check = || {
        let before = everything(folder.0.path());
        folder.set_mode(".", 0o500);
        let ran = run(&folder, &["check"]);
        folder.set_mode(".", 0o700);
        assert_eq!(ran.code, 0, "{}", ran.out);
        assert_eq!(everything(folder.0.path()), before);
    };
    // Before there is a database, with one, and with one that is in the journal mode it was made with.
    unchanged_by_check();
    assert_eq!(run(&folder, &["migrate"]).code, 0);
    unchanged_by_check();
    sqlx::any::install_default_drivers();
    let url = format!("sqlite://{}", folder.path("issuer.db").display());
    let mut db = sqlx::AnyConnection::connect(&url).await.unwrap();
    sqlx::query("PRAGMA journal_mode = DELETE").execute(&mut db).await.unwrap();
    db.close().await.unwrap();
    unchanged_by_check();
}

#[test]
fn check_warns_of_a_database_that_others_can_read() {
    let folder = folder();
    assert_eq!(run(&folder, &["migrate"]).code, 0);
    folder.set_mode("issuer.db", 0o644);
    let ran = run(&folder, &["check"]);
    assert_eq!(ran.code, 0, "{}", ran.out);
    assert!(ran.out.contains("issuer.db is open to other users (mode 644); chmod 600 it"), "{}", ran.out);
}

#[tokio::test]
async fn a_database_of_another_version_is_refused_by_check_as_by_serve() {
    for (change, expected) in [
        (
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
             VALUES (9999, 'later', TRUE, x'00', 0)",
            "migration 9999 is unknown: a newer version of countersign has migrated it",
        ),
        (
            "UPDATE _sqlx_migrations SET checksum = x'00' WHERE version = 1",
            "migration 1 was previously applied",
        ),
    ] {
        let folder = folder();
        let db = db::open(&folder.settings(), Schema::Migrate, &Ids::system()).await.unwrap();
        let changed = db.write(async move |tx| Ok(sqlx::query(change).execute(tx.connection()).await?));
        changed.await.unwrap();
        db.close().await;
        let ran = run(&folder, &["check"]);
        assert_eq!(ran.code, 1, "{}", ran.out);
        assert!(ran.out.contains("issuer.db cannot be used: ") && ran.out.contains(expected), "{}", ran.out);
        fails(&folder, &["serve"], expected);
    }
}

#[test]
fn check_prints_every_finding_and_fails() {
    let folder = folder();
    folder.append("countersign.toml", &key_lines("three", NOON));
    folder.append("countersign.toml", "\n[database]\nurl = \"sqlite:nowhere/issuer.db\"\n");
    let ran = run(&folder, &["check"]);
    assert_eq!(ran.code, 1);
    for expected in [
        "error: ",
        "keys[1].file: key \"three\": ",
        "three.pem cannot be read",
        "its folder does not exist",
        "errors: 2",
    ] {
        assert!(ran.out.contains(expected), "{} has no {expected}", ran.out);
    }
}

#[test]
fn a_missing_configuration_is_one_line() {
    let folder = folder();
    let nowhere = folder.path("nowhere.toml");
    let ran = ran(countersign(&nowhere).arg("serve").output().unwrap());
    assert_eq!(ran.code, 1);
    assert_eq!(
        ran.err,
        format!("error: {}: cannot be read: No such file or directory (os error 2)\n", nowhere.display())
    );
}

#[test]
fn serve_refuses_what_check_refuses() {
    let folder = folder();
    let good = std::fs::read_to_string(folder.config()).unwrap();
    for (text, expected) in [
        (good.replace("one.pem", "."), "keys[0].file: key \"one\": "),
        (good.replace("one.pem", "."), " is a directory"),
        (good.replace("one.pem", "gone.pem"), "gone.pem cannot be read: No such file"),
        (good.replace("[secrets]", "[hashing]\nmemory_kib = 1024\n[secrets]"), "below OWASP's minimum"),
        (
            good.replace("[secrets]", "[hashing]\nmax_memory_kib = 19455\n[secrets]"),
            "need 19456 KiB, and 19455 KiB are available",
        ),
        (
            good.replace("[secrets]", "[hashing]\nmemory_kib = 1048576\nthreads = 64\n[secrets]"),
            "hashing.threads: 64 threads of 1048576 KiB",
        ),
        (good.replace("[secrets]", "[database]\nurl = \"sqlite:.\"\n[secrets]"), "database.url: "),
        (
            good.replace("[secrets]", "[database]\nurl = \"sqlite:one.pem\"\n[secrets]"),
            "file is not a database",
        ),
        (
            good.replace("[secrets]", &format!("[roles]\nking = [\"{}\"]\n[secrets]", "x".repeat(6000))),
            "roles: someone with every role can get a token of ",
        ),
        (
            good.replace("[server]\nlisten = \"127.0.0.1:0\"", "[server]\nlisten = \"203.0.113.1:1\""),
            "server.listen: cannot listen on 203.0.113.1:1",
        ),
    ] {
        folder.write("countersign.toml", &text);
        fails(&folder, &["serve"], expected);
    }
}

#[test]
fn a_database_file_is_for_its_owner_only_whatever_the_umask() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = folder();
    let command = countersign(&folder.config());
    let mut loose = Command::new("sh");
    loose.args(["-c", "umask 000 && exec \"$0\" migrate"]).arg(command.get_program());
    loose.env_clear().env("COUNTERSIGN_CONFIG", folder.config());
    assert!(loose.status().unwrap().success());
    let mode = std::fs::metadata(folder.path("issuer.db")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn of_several_starters_one_migrates_and_the_others_wait() {
    let folder = Folder::new("").for_a_process();
    let start = || countersign(&folder.config()).arg("migrate").stderr(Stdio::piped()).spawn().unwrap();
    let starters: Vec<_> = (0..4).map(|_| start()).collect();
    for starter in starters {
        let done = starter.wait_with_output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
    let checked = run(&folder, &["check"]);
    assert!(checked.out.contains("errors: 0, warnings: 0"), "{}", checked.out);
}

#[test]
fn only_serve_and_migrate_make_a_database() {
    let folder = folder();
    fails(&folder, &["users", "list"], "it does not exist; `countersign migrate` creates it");
    assert!(!folder.path("issuer.db").exists());
}

#[test]
fn a_read_only_database_is_one_line() {
    let folder = folder();
    assert_eq!(run(&folder, &["migrate"]).code, 0);
    // Permissions do not bind root; a file of a newer write version (SQLite file format §1.3.3) binds everyone.
    let mut bytes = std::fs::read(folder.path("issuer.db")).unwrap();
    bytes[18] = 3;
    std::fs::write(folder.path("issuer.db"), bytes).unwrap();
    fails(&folder, &["serve"], "attempt to write a readonly database");
    fails(&folder, &["users", "list"], "attempt to write a readonly database");
}

#[test]
fn an_occupied_port_is_one_line() {
    let folder = folder();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let text = std::fs::read_to_string(folder.config()).unwrap();
    for section in ["[server]", "[internal]"] {
        let (free, bound) =
            (format!("{section}\nlisten = \"127.0.0.1:0\""), format!("{section}\nlisten = \"{address}\""));
        folder.write("countersign.toml", &text.replace(&free, &bound));
        fails(&folder, &["serve"], &format!("cannot listen on {address}: Address already in use"));
    }
}

#[test]
fn a_configuration_in_the_current_folder_needs_no_naming() {
    let folder = folder();
    let here = |arguments: &[&str]| {
        let mut command = countersign(&folder.config());
        command.env_remove("COUNTERSIGN_CONFIG").current_dir(folder.0.path());
        let ran = ran(command.args(arguments).output().unwrap());
        assert_eq!((ran.code, ran.err.as_str()), (0, ""));
        ran.out
    };
    let made = here(&["keys", "generate", "--kid", "first"]);
    assert!(made.contains("file = \"keys/first.pem\"\n"), "{made}");
    assert!(folder.path("keys/first.pem").exists());
    here(&["keys", "rotate", "--kid", "next"]);
    here(&["migrate"]);
    here(&["check"]);
}

#[test]
fn templates_that_do_not_work_are_found_by_check_and_refused_by_serve() {
    let folder = folder();
    std::fs::create_dir(folder.path("texts")).unwrap();
    folder.append("countersign.toml", "\n[mail]\ntemplates = \"texts\"\n");
    folder.write("texts/reset_password.html", "<p>Hello {{ nmae }}</p>\n");
    folder.write("texts/reset-password.txt", "Subject: x\n\ny\n");
    let ran = run(&folder, &["check"]);
    assert_eq!(ran.code, 1, "{}", ran.out);
    for expected in [
        "countersign.toml: mail.templates: reset_password.html line 1: undefined value",
        "there are service, name, email, link, token, lifetime and at",
        "reset-password.txt is not read",
        "errors: 1",
    ] {
        assert!(ran.out.contains(expected), "{} has no {expected}", ran.out);
    }
    let served = run(&folder, &["serve"]);
    assert!(served.code == 1 && served.err.contains("reset_password.html line 1"), "{}", served.err);
}

#[test]
fn shells_are_told_how_to_complete() {
    let folder = folder();
    for shell in ["bash", "zsh", "fish"] {
        let ran = run(&folder, &["completions", shell]);
        assert!(ran.code == 0 && ran.out.contains("rotate"), "{shell}: {}", ran.err);
    }
}

#[test]
fn what_was_asked_for_is_written_whole_or_the_command_fails() {
    let folder = folder();
    assert_eq!(run(&folder, &["migrate"]).code, 0);
    let create = ["users", "create", "--email", "ada@example.com", "--name", "Ada", "--password-stdin"];
    assert_eq!(run_with_password(&folder, &create, PASSWORD).code, 0);
    for arguments in [
        &["audit", "export"][..],
        &["audit", "export", "--csv"],
        &["audit", "verify"],
        &["users", "list"],
        &["users", "list", "--json"],
        &["services", "add", "edge", "--scope", "revocations:read"],
        &["services", "list"],
        &["api-keys", "list", "ada@example.com"],
        &["keys", "list"],
        &["keys", "jwks"],
        &["completions", "bash"],
    ] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let ran = ran(countersign(&folder.config()).args(arguments).stdout(full).output().unwrap());
        assert_eq!(ran.code, 1, "{arguments:?} {}", ran.err);
        let expected = "error: standard output cannot be written: No space left on device";
        assert!(ran.err.lines().last().unwrap().starts_with(expected), "{arguments:?} {}", ran.err);
        // Whoever reads no further has what they wanted.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let left = countersign(&folder.config()).args(arguments).stdout(writer).output().unwrap();
        assert!(left.status.success(), "{arguments:?} {left:?}");
    }
}

#[test]
fn every_argument_is_explained() {
    let folder = folder();
    for command in [
        &["serve"][..],
        &["check"],
        &["migrate"],
        &["completions"],
        &["keys", "list"],
        &["keys", "generate"],
        &["keys", "rotate"],
        &["keys", "revoke"],
        &["keys", "prune"],
        &["keys", "jwks"],
        &["users", "create"],
        &["users", "list"],
        &["users", "set-role"],
        &["users", "import"],
        &["services", "add"],
        &["services", "list"],
        &["services", "revoke"],
        &["api-keys", "import"],
        &["api-keys", "list"],
        &["api-keys", "revoke"],
        &["passwords", "import-breached"],
    ] {
        // The short form has an argument and its text on one line.
        let help = run(&folder, &[command, &["-h"]].concat()).out;
        let arguments: Vec<_> =
            help.lines().map(str::trim).filter(|line| line.starts_with(['-', '<'])).collect();
        assert!(arguments.iter().any(|line| line.contains("--help")), "{help}");
        let unexplained = |line: &str| !line.contains("  ");
        assert!(!arguments.iter().any(|line| unexplained(line)), "{help}");
    }
}

#[test]
fn variables_of_any_bytes_do_no_harm() {
    use std::os::unix::ffi::OsStrExt as _;
    let folder = folder();
    let odd = std::ffi::OsStr::from_bytes(b"\xff\xfe");
    let output = countersign(&folder.config()).env("ODD", odd).args(["keys", "list"]).output().unwrap();
    assert_eq!(ran(output).code, 0);
}
