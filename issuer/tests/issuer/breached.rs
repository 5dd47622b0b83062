//! The list of passwords that leaked elsewhere: made by command, asked when a password is set, and found damaged before
//! it is needed.

use http::StatusCode;
use serde_json::json;
use sha1::{Digest as _, Sha1};

use crate::command::{fails, run};
use crate::letters::MAIL;
use crate::stage::{Folder, PASSWORD, TestApp};

const CONFIGURED: &str = "\n[passwords]\nbreached_file = \"breached.list\"\n";

/// A file of one hash.
fn leaked(folder: &Folder, password: &str) -> String {
    let hash: String = Sha1::digest(password.as_bytes()).iter().map(|byte| format!("{byte:02X}")).collect();
    folder.write("leaked.txt", &format!("{hash}:42\n"));
    folder.path("leaked.txt").to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_password_that_leaked_is_refused_when_it_is_set_and_not_when_it_is_checked() {
    let app = TestApp::with(MAIL, |_| ()).await;
    app.registered("ada@example.com").await;
    app.admin("root@example.com").await;
    app.folder.append("countersign.toml", CONFIGURED);
    let made = run(&app.folder, &["passwords", "import-breached", &leaked(&app.folder, PASSWORD)]);
    assert_eq!((made.code, made.err.as_str()), (0, ""));
    assert!(made.out.ends_with("breached.list: 1 passwords of 1 hashes\n"), "{}", made.out);

    let file = app.folder.path("breached.list");
    let app = app.restarted(|settings| settings.passwords.breached_file = Some(file)).await;
    let (ada, root) = (app.logged_in("ada@example.com").await, app.logged_in("root@example.com").await);
    let register = |password: &str| {
        app.post(
            "/v1/auth/register",
            json!({"email": "bob@example.com", "password": password, "name": "Bob"}),
        )
    };
    let refused = register(PASSWORD).await;
    let message = "is in a list of passwords that leaked elsewhere; choose one that you use nowhere else";
    assert_eq!(refused.json()["errors"], json!([{"field": "password", "message": message}]));
    assert_eq!(refused.invalid_fields(), ["password"]);
    register("tundra-adagio-velvet-98").await.expect(StatusCode::CREATED);
    let change = json!({"current_password": PASSWORD, "password": PASSWORD});
    assert_eq!(app.post("/v1/auth/password/change", change).by(&ada).await.invalid_fields(), ["password"]);
    let set = format!("/v1/admin/users/{}/password", ada.id);
    let set = app.post(&set, json!({"password": PASSWORD})).by(&root);
    assert_eq!(set.await.invalid_fields(), ["password"]);
    app.post("/v1/auth/password/forgot", json!({"email": "ada@example.com"}))
        .await
        .expect(StatusCode::ACCEPTED);
    let reset = json!({"token": app.letter_to("ada@example.com").await.token(), "password": PASSWORD});
    assert_eq!(app.post("/v1/auth/password/reset", reset).await.invalid_fields(), ["password"]);

    // What was damaged since is never taken for "not in it".
    let mut spoiled = std::fs::read(app.folder.path("breached.list")).unwrap();
    *spoiled.last_mut().unwrap() ^= 1;
    std::fs::write(app.folder.path("breached.list"), spoiled).unwrap();
    register(PASSWORD).await.refused(500, "internal");
}

#[test]
fn accounts_made_by_command_are_held_to_the_list() {
    let folder = Folder::on_a_file().for_a_process();
    folder.append("countersign.toml", CONFIGURED);
    assert_eq!(run(&folder, &["migrate"]).code, 0);
    assert_eq!(run(&folder, &["passwords", "import-breached", &leaked(&folder, PASSWORD)]).code, 0);
    let create = ["users", "create", "--email", "a@example.com", "--name", "A", "--password-stdin"];
    let ran = crate::command::run_with_password(&folder, &create, PASSWORD);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("the password is in a list of passwords that leaked elsewhere"), "{}", ran.err);
}

#[test]
fn a_list_that_is_missing_or_damaged_is_found_before_anything_is_served() {
    let folder = Folder::on_a_file().for_a_process();
    folder.append("countersign.toml", CONFIGURED);
    let both_say = |expected: &str| {
        let checked = run(&folder, &["check"]);
        assert_eq!(checked.code, 1, "{}", checked.out);
        let line = checked.out.lines().find(|line| line.contains("passwords.breached_file")).unwrap();
        assert!(line.starts_with("error: ") && line.contains(expected), "{line}");
        fails(&folder, &["serve"], expected);
    };
    both_say("breached.list cannot be read; `countersign passwords import-breached` makes it: No such file");
    folder.write("breached.list", "5BAA61E4C9B93F3F0682250B6CF8331B7EE68FD8:3\n");
    both_say("was not made by `countersign passwords import-breached`");
    assert_eq!(run(&folder, &["passwords", "import-breached", &leaked(&folder, "password")]).code, 0);
    assert_eq!(run(&folder, &["check"]).code, 0);
    let good = std::fs::read(folder.path("breached.list")).unwrap();
    std::fs::write(folder.path("breached.list"), &good[..good.len() - 1]).unwrap();
    both_say("is damaged");
    // One bit of an entry: `serve` does not read them all, `check` does.
    let mut spoiled = good;
    *spoiled.last_mut().unwrap() ^= 1;
    std::fs::write(folder.path("breached.list"), spoiled).unwrap();
    let checked = run(&folder, &["check"]);
    assert!(checked.code == 1 && checked.out.contains("is damaged"), "{}", checked.out);
}

#[test]
fn making_a_list_says_what_is_wrong() {
    let folder = Folder::on_a_file();
    let list = leaked(&folder, "password");
    let command = ["passwords", "import-breached", list.as_str()];
    fails(&folder, &command, "passwords.breached_file: is required to say where the list shall be");
    folder.append("countersign.toml", CONFIGURED);
    // The cause is told once.
    let once = "nowhere.txt cannot be used: No such file or directory (os error 2)\n";
    fails(&folder, &["passwords", "import-breached", "nowhere.txt"], once);
    folder.write("leaked.txt", "B\nA\n");
    fails(&folder, &command, "leaked.txt: line 1: expected 40 hexadecimal digits");
    assert!(!folder.path("breached.list").exists());
}
