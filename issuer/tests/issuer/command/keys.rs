//! `countersign keys`: keys are made, scheduled, revoked and removed, and no command loses what another has written.

use std::process::Stdio;

use super::{countersign, fails, folder, run};
use crate::stage::{Folder, NOON, key_lines, pem};

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
