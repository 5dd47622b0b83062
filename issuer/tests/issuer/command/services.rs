//! `countersign services`: secrets for services, shown once or brought along.

use serde_json::Value;

use super::users::run_with_password;
use super::{fails, run};
use crate::stage::Folder;

const SCOPE: [&str; 2] = ["--scope", "revocations:read"];

fn folder() -> Folder {
    let folder = Folder::new("").for_a_process();
    assert_eq!(run(&folder, &["migrate"]).code, 0);
    folder
}

fn listed(folder: &Folder) -> Vec<Value> {
    let list = run(folder, &["services", "list", "--json"]);
    assert_eq!(list.code, 0, "{}", list.err);
    serde_json::from_str(&list.out).unwrap()
}

#[test]
fn a_service_gets_secrets_that_are_shown_once_and_taken_away() {
    let folder = folder();
    assert_eq!(listed(&folder), Vec::<Value>::new());
    let add = ["services", "add", "edge", "--scope", "revocations:read", "--scope", "api-keys:exchange"];
    let (first, second) = (run(&folder, &add), run(&folder, &add));
    for ran in [&first, &second] {
        assert_eq!(ran.code, 0, "{}", ran.err);
        // The secret alone, so that it can be sent where it is needed.
        assert_eq!(ran.out.lines().count(), 1);
        assert!(ran.out.starts_with("cs_service_") && ran.out.trim_end().len() == 83, "{}", ran.out);
        assert!(ran.err.starts_with("added edge (") && !ran.err.contains("cs_service_"), "{}", ran.err);
    }
    assert_ne!(first.out, second.out);
    let list = listed(&folder);
    assert_eq!(list.len(), 2);
    assert_eq!(list[0]["scopes"], serde_json::json!(["revocations:read", "api-keys:exchange"]));
    assert!(list[0]["last_used_at"].is_null() && list[0]["created_at"].is_string());
    let text = run(&folder, &["services", "list"]).out;
    assert!(text.lines().count() == 3 && text.contains("never") && !text.contains("cs_service_"), "{text}");
    let id = list[0]["id"].as_str().unwrap();
    let one = run(&folder, &["services", "revoke", "edge", "--id", id]);
    assert_eq!((one.code, one.out), (0, format!("revoked edge ({id})\n")));
    fails(&folder, &["services", "revoke", "edge", "--id", id], "there is no such secret of edge");
    assert_eq!(run(&folder, &["services", "revoke", "edge"]).code, 0);
    fails(&folder, &["services", "revoke", "edge"], "there is no such secret of edge");
    assert_eq!(listed(&folder), Vec::<Value>::new());
}

#[test]
fn a_secret_comes_by_standard_input_or_a_file_if_it_is_good_enough() {
    let folder = folder();
    let stdin = [&["services", "add", "edge", "--secret-stdin"][..], &SCOPE].concat();
    let secret = "0123456789abcdef".repeat(4);
    let ran = run_with_password(&folder, &stdin, &secret);
    assert_eq!((ran.code, ran.out.as_str()), (0, ""), "{}", ran.err);
    let again = run_with_password(&folder, &stdin, &secret);
    assert_eq!((again.code, again.err.contains("in use already")), (1, true), "{}", again.err);
    let generated = run(&folder, &[&["services", "add", "ticker"][..], &SCOPE].concat()).out;
    for (bad, reason) in [
        ("", "is too short: 32 random bytes are needed"),
        ("a password", "is too short: 32 random bytes are needed"),
        ("a-password-that-is-long", "is too short: 32 random bytes are needed"),
        (&secret[..62], "is too short"),
        (&generated.trim_end()[..80], "its checksum is wrong"),
    ] {
        let ran = run_with_password(&folder, &stdin, bad);
        assert!(ran.code == 1 && ran.err.contains(reason), "{}", ran.err);
        assert!(bad.is_empty() || !ran.err.contains(bad), "{}", ran.err);
    }
    let secret = "fedcba9876543210".repeat(4);
    folder.write("edge.token", &format!("{secret}\n"));
    let path = folder.path("edge.token");
    let file = [&["services", "add", "edge", "--secret-file", path.to_str().unwrap()][..], &SCOPE].concat();
    assert_eq!(run(&folder, &file).code, 0);
    folder.set_mode("edge.token", 0o644);
    let ran = run(&folder, &file);
    assert!(ran.code == 1 && ran.err.contains("is open to other users"), "{}", ran.err);
    assert!(!ran.err.contains(&secret), "{}", ran.err);
    let missing = [&["services", "add", "edge", "--secret-file", "/nowhere/token"][..], &SCOPE].concat();
    fails(&folder, &missing, "/nowhere/token");
}

#[test]
fn names_and_scopes_are_checked() {
    let folder = folder();
    fails(
        &folder,
        &[&["services", "add", "The Edge"][..], &SCOPE].concat(),
        "\"The Edge\" must have 1 to 48 of",
    );
    let unknown = ["services", "add", "edge", "--scope", "everything"];
    fails(
        &folder,
        &unknown,
        "there is no scope \"everything\"; for /v1/internal there are revocations:read, api-keys:exchange",
    );
    // What roles grant, and what the configuration adds to that.
    fails(&folder, &["services", "add", "edge", "--scope", "quotes:publish"], "there is no scope");
    folder.append("countersign.toml", "\n[services]\nscopes = [\"quotes:publish\"]\n");
    let both = ["services", "add", "ticker", "--scope", "quotes:publish", "--scope", "alerts:write"];
    assert_eq!(run(&folder, &both).code, 0);
    assert_eq!(run(&folder, &["services", "add", "edge"]).code, 2);
    assert_eq!(run(&folder, &["services", "add", "edge", "cs_service_0", "--scope", "x"]).code, 2);
    let help = run(&folder, &["services", "add", "--help"]).out;
    assert!(help.contains("--secret-stdin") && !help.contains("--secret "), "{help}");
}
