//! The operator's command as it is shipped: what it prints, what it writes, how it fails.

mod audit;
mod filter;
mod users;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::SystemTime;

use countersign_issuer::ambient::Ids;
use countersign_issuer::db::{self, Schema};
use sqlx::Connection as _;

use crate::stage::{Folder, NOON, key_lines, pem};
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
            "cannot listen on 203.0.113.1:1",
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
fn a_generated_key_is_private_and_never_overwritten() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Folder(tempfile::tempdir().unwrap());
    let made = run(&folder, &["keys", "generate", "--kid", "first"]);
    assert_eq!(made.code, 0, "{}", made.err);
    assert!(
        made.out.starts_with("[[keys]]\nkid = \"first\"\nfile = \"keys/first.pem\"\nsign_from = "),
        "{}",
        made.out
    );
    let file = folder.path("keys/first.pem");
    let pem = std::fs::read_to_string(&file).unwrap();
    assert!(pem.starts_with("-----BEGIN PRIVATE KEY-----\n"));
    assert!(!made.out.contains(pem.lines().nth(1).unwrap()));
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    fails(&folder, &["keys", "generate", "--kid", "first"], "first.pem: cannot be written: File exists");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), pem);
    fails(&folder, &["keys", "generate", "--kid", "../x"], "expected 1 to 64 of");

    // What it prints is what the configuration needs.
    folder.write(
        "countersign.toml",
        &format!("[secrets]\ncurrent = \"0123456789-0123456789-0123456789\"\n{}", made.out),
    );
    assert_eq!(run(&folder, &["check"]).code, 0);
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
fn a_key_with_the_default_name_differs_each_time() {
    let folder = Folder(tempfile::tempdir().unwrap());
    let (one, two) = (run(&folder, &["keys", "generate"]), run(&folder, &["keys", "generate"]));
    assert_eq!((one.code, two.code), (0, 0));
    assert_ne!(one.out, two.out);
}

#[test]
fn rotating_schedules_a_key_after_verifiers_can_know_it() {
    let folder = folder();
    let before = std::fs::read_to_string(folder.config()).unwrap();
    let ran = run(&folder, &["keys", "rotate", "--kid", "next"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.out.contains("it signs") && ran.out.contains("no longer published"), "{}", ran.out);
    let after = std::fs::read_to_string(folder.config()).unwrap();
    assert!(after.starts_with(&before), "{after}");
    let settings = folder.settings();
    let delay = settings.keys[1].sign_from - countersign_issuer::ambient::Clock::system().now().seconds();
    assert!((590..=600).contains(&delay), "{delay}");

    let list = run(&folder, &["keys", "list"]).out;
    assert!(
        list.contains("one")
            && list.contains("signing")
            && list.contains("next")
            && list.contains("scheduled"),
        "{list}"
    );
    let jwks: serde_json::Value = serde_json::from_str(&run(&folder, &["keys", "jwks"]).out).unwrap();
    assert_eq!(jwks["keys"].as_array().unwrap().len(), 2);
    fails(&folder, &["keys", "rotate", "--kid", "next"], "a key \"next\" exists already");
}

#[test]
fn commands_at_the_same_time_lose_nothing() {
    let folder = folder();
    let at_once = |commands: Vec<Vec<String>>| {
        let start = |arguments| countersign(&folder.config()).args(arguments).stdout(Stdio::null()).spawn();
        let running: Vec<_> = commands.into_iter().map(|arguments| start(arguments).unwrap()).collect();
        running.into_iter().for_each(|mut command| assert!(command.wait().unwrap().success()));
    };
    let words = |text: String| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    // Keys that sign from the same second would refuse each other.
    let rotate = |n| words(format!("keys rotate --kid r{n} --sign-in {}s", 1000 + 100 * n));
    at_once((0..8).map(rotate).collect());
    at_once((0..8).map(|n| words(format!("keys revoke r{n}"))).collect());
    let keys = folder.settings().keys;
    let revoked: std::collections::BTreeSet<_> =
        keys.iter().filter(|key| key.revoked).map(|key| key.kid.clone()).collect();
    assert_eq!(revoked, (0..8).map(|n| format!("r{n}")).collect());
    assert_eq!(std::fs::read_dir(folder.path("keys")).unwrap().count(), 8);
    let drafts = |entry: std::fs::DirEntry| entry.file_name().to_string_lossy().ends_with(".new");
    assert!(!std::fs::read_dir(folder.0.path()).unwrap().any(|entry| drafts(entry.unwrap())));
}

#[test]
fn a_rotation_that_is_refused_leaves_no_key_behind() {
    let folder = folder();
    for n in 1..countersign_claims::MAX_KEYS {
        folder.write(&format!("k{n}.pem"), &pem(7));
        folder.append("countersign.toml", &key_lines(&format!("k{n}"), NOON + 60 * n as i64));
    }
    let before = std::fs::read_to_string(folder.config()).unwrap();
    fails(&folder, &["keys", "rotate", "--kid", "next"], "more than ");
    assert_eq!(std::fs::read_dir(folder.path("keys")).unwrap().count(), 0);
    assert_eq!(std::fs::read_to_string(folder.config()).unwrap(), before);
}

#[test]
fn a_missing_key_file_is_mended_by_rotating_and_revoking() {
    let folder = folder();
    std::fs::remove_file(folder.path("one.pem")).unwrap();
    let list = run(&folder, &["keys", "list"]);
    assert_eq!(list.code, 0, "{}", list.err);
    assert!(
        list.out.contains("one") && list.err.contains("one.pem cannot be read"),
        "{}{}",
        list.out,
        list.err
    );
    fails(&folder, &["keys", "revoke", "one"], "no key signs now");
    let rotated = run(&folder, &["keys", "rotate", "--kid", "next", "--sign-in", "0s", "--force"]);
    assert_eq!(rotated.code, 0, "{}", rotated.err);
    assert!(rotated.err.contains("a running issuer refuses this until it is mended"), "{}", rotated.err);
    let revoked = run(&folder, &["keys", "revoke", "one"]);
    assert_eq!(revoked.code, 0, "{}", revoked.err);
    assert_eq!(run(&folder, &["check"]).code, 0);
}

#[test]
fn two_rotations_in_one_second_sign_one_after_the_other() {
    let folder = folder();
    for kid in ["a", "b", "c"] {
        let ran = run(&folder, &["keys", "rotate", "--kid", kid]);
        assert_eq!(ran.code, 0, "{}", ran.err);
    }
    let keys = folder.settings().keys;
    assert!(keys.windows(2).all(|pair| pair[0].sign_from < pair[1].sign_from), "{keys:?}");
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
fn owner_and_group_stay_and_new_keys_get_them() {
    use std::os::unix::fs::MetadataExt as _;
    let folder = folder();
    // Only root can give a file away; anyone else tries with what is his.
    let _ = std::os::unix::fs::chown(folder.config(), Some(12_345), Some(12_346));
    let owner = |name: &str| {
        let file = std::fs::metadata(folder.path(name)).unwrap();
        (file.uid(), file.gid())
    };
    let expected = owner("countersign.toml");
    assert_eq!(run(&folder, &["keys", "rotate", "--kid", "two", "--sign-in", "0s", "--force"]).code, 0);
    assert_eq!(run(&folder, &["keys", "revoke", "one"]).code, 0);
    assert_eq!(run(&folder, &["keys", "generate", "--kid", "three"]).code, 0);
    for name in ["countersign.toml", "keys", "keys/two.pem", "keys/three.pem"] {
        assert_eq!(owner(name), expected, "{name}");
    }
}

#[test]
fn what_generate_prints_is_safe_to_paste() {
    let folder = folder();
    let now = countersign_issuer::ambient::Clock::system().now().seconds();
    let made = run(&folder, &["keys", "generate", "--kid", "next"]);
    assert_eq!((made.code, made.err.as_str()), (0, ""));
    folder.append("countersign.toml", &format!("\n{}", made.out));
    let delay = folder.settings().keys[1].sign_from - now;
    assert!((600..=610).contains(&delay), "{delay}");
}

#[test]
fn pruning_shows_first_and_removes_only_what_is_retired() {
    let folder = folder();
    let now = countersign_issuer::ambient::Clock::system().now().seconds();
    for (kid, ago) in [("two", 5_000), ("three", 300)] {
        folder.write(&format!("{kid}.pem"), &pem(2));
        folder.append("countersign.toml", &key_lines(kid, now - ago));
    }
    let before = std::fs::read_to_string(folder.config()).unwrap();
    let shown = run(&folder, &["keys", "prune"]);
    assert_eq!(shown.code, 0, "{}", shown.err);
    assert!(shown.out.contains("would remove one and ") && !shown.out.contains("two"), "{}", shown.out);
    assert_eq!(std::fs::read_to_string(folder.config()).unwrap(), before);
    assert!(folder.path("one.pem").exists());

    assert_eq!(run(&folder, &["keys", "prune", "--yes"]).code, 0);
    let kids: Vec<String> = folder.settings().keys.into_iter().map(|line| line.kid).collect();
    assert_eq!(kids, ["two", "three"]);
    assert!(!folder.path("one.pem").exists() && folder.path("two.pem").exists());
    assert!(run(&folder, &["keys", "prune", "--yes"]).out.contains("no key is retired"));
}

#[test]
fn keys_are_listed_for_programs_too() {
    let folder = folder();
    let list: serde_json::Value =
        serde_json::from_str(&run(&folder, &["keys", "list", "--json"]).out).unwrap();
    let expected =
        serde_json::json!([{"kid": "one", "sign_from": "2020-01-01T00:00:00Z", "state": "signing"}]);
    assert_eq!(list, expected);
}

#[test]
fn rotating_too_soon_needs_force() {
    let folder = folder();
    let before = std::fs::read_to_string(folder.config()).unwrap();
    fails(&folder, &["keys", "rotate", "--sign-in", "599s"], "less than twice jwks.max_age (600s)");
    assert_eq!(std::fs::read_to_string(folder.config()).unwrap(), before);
    assert!(!folder.path("keys").exists());
    assert_eq!(run(&folder, &["keys", "rotate", "--sign-in", "0s", "--force"]).code, 0);
    assert_eq!(run(&folder, &["keys", "rotate", "--sign-in", "2h"]).code, 0);
    let usage = run(&folder, &["keys", "rotate", "--sign-in", "soon"]);
    assert!(usage.code == 2 && usage.err.contains("expected a duration"), "{}", usage.err);
}

#[test]
fn the_first_key_signs_at_once() {
    let folder = folder();
    let text = std::fs::read_to_string(folder.config()).unwrap();
    folder.write("countersign.toml", text.split("[[keys]]").next().unwrap());
    assert_eq!(run(&folder, &["check"]).code, 1);
    assert_eq!(run(&folder, &["keys", "rotate"]).code, 0);
    assert_eq!(run(&folder, &["check"]).code, 0);
}

#[test]
fn revoking_unpublishes_and_never_leaves_a_gap() {
    let folder = folder();
    let before = std::fs::read_to_string(folder.config()).unwrap();
    fails(&folder, &["keys", "revoke", "one"], "no key signs now");
    fails(&folder, &["keys", "revoke", "none"], "no [[keys]] entry has kid \"none\"");
    assert_eq!(std::fs::read_to_string(folder.config()).unwrap(), before);
    assert_eq!(run(&folder, &["keys", "rotate", "--kid", "two", "--sign-in", "0s", "--force"]).code, 0);
    let revoked = run(&folder, &["keys", "revoke", "one"]);
    assert_eq!(revoked.code, 0, "{}", revoked.err);
    assert!(revoked.out.contains("keys.remote.refresh; others: jwks.max_age"), "{}", revoked.out);
    // Nobody listens.
    assert!(revoked.err.contains("could not be asked at 127.0.0.1:0: "), "{}", revoked.err);
    let list = run(&folder, &["keys", "list"]).out;
    assert!(list.lines().any(|line| line.starts_with("one ") && line.ends_with("revoked")), "{list}");
    assert!(!run(&folder, &["keys", "jwks"]).out.contains("\"one\""));
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
