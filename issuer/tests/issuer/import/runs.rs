//! One run after another: what is there stays as it is, and what a run left out comes with the next.

use std::io::Write as _;
use std::process::{Command, Stdio};

use http::StatusCode;
use serde_json::json;

use super::{bcrypt, import, summary};
use crate::command::countersign;
use crate::stage::{PASSWORD, TestApp};

const COUNT: &str = "SELECT COUNT(*) FROM users";

const EVENTS: &str = "SELECT COUNT(*) FROM audit_events WHERE type = 'users_imported' AND actor = 'operator'";

fn lines(ids: std::ops::Range<u32>) -> String {
    let hash = bcrypt(PASSWORD.as_bytes());
    ids.map(|id| {
        json!({"id": id, "email": format!("user{id}@example.com"), "password_hash": hash}).to_string() + "\n"
    })
    .collect()
}

#[tokio::test]
async fn a_run_that_is_repeated_changes_nothing() {
    let app = TestApp::new().await;
    assert_eq!(import(&app, "users.jsonl", lines(0..3), &[]).out, summary(3, 0, 0));
    let login = json!({"email": "user1@example.com", "password": PASSWORD});
    app.post("/v1/auth/login", login.clone()).await.expect(StatusCode::OK);
    app.execute("UPDATE users SET name = 'Ada', is_active = 0 WHERE id = '2'").await;
    let again = import(&app, "users.jsonl", lines(0..4), &["--verified", "--role", "admin"]);
    assert_eq!((again.code, again.out, again.err.as_str()), (0, summary(1, 3, 0), ""));
    assert_eq!(
        app.value::<i64>("SELECT COUNT(*) FROM users WHERE email_verified = 1 AND roles = 'admin'").await,
        1
    );
    assert_eq!(app.value::<String>("SELECT name FROM users WHERE id = '2' AND is_active = 0").await, "Ada");
    // The password hashed anew is not replaced by the old hash.
    app.post("/v1/auth/login", login).await.expect(StatusCode::OK);
    let stored: String = app.value("SELECT password_hash FROM users WHERE id = '1'").await;
    assert!(stored.starts_with("$argon2id$"), "{stored}");
}

#[tokio::test]
async fn who_has_an_account_here_already_keeps_it() {
    let app = TestApp::new().await;
    let ada = app.registered("user1@example.com").await;
    app.execute("UPDATE users SET username = 'ada'").await;
    let hash = bcrypt(b"another password");
    let text = format!(
        "{}{}",
        lines(0..2),
        json!({"id": 9, "email": "i@example.com", "username": "ada", "password_hash": hash})
    );
    let ran = import(&app, "users.jsonl", text, &[]);
    assert_eq!((ran.code, ran.out), (1, summary(1, 0, 2)));
    let reasons = "line 2: its address, written in lower case, has an account already, under another id\n\
                   line 3: its username is that of another account\n";
    assert_eq!(ran.err, reasons);
    assert_eq!(app.logged_in("user1@example.com").await.id, ada.id);
}

#[tokio::test]
async fn a_run_that_was_killed_is_gone_on_with() {
    let app = TestApp::new().await;
    let (text, fifo) = (lines(0..1200), app.folder.path("fifo"));
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let mut child = countersign(&app.folder.config())
        .args(["users", "import", fifo.to_str().unwrap(), "--format", "jsonl"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let (head, writer) = (text.clone(), fifo.clone());
    // Held open, so that the command waits for more.
    let writer = std::thread::spawn(move || {
        let mut fifo = std::fs::File::options().write(true).open(writer).unwrap();
        fifo.write_all(head.as_bytes()).unwrap();
        fifo
    });
    while app.value::<i64>(COUNT).await < 1000 {
        tokio::task::yield_now().await;
    }
    child.kill().unwrap();
    child.wait().unwrap();
    drop(writer.join());
    assert_eq!((app.value::<i64>(COUNT).await, app.value::<i64>(EVENTS).await), (1000, 2));
    let ran = import(&app, "users.jsonl", text, &[]);
    assert_eq!((ran.code, ran.out), (0, summary(200, 1000, 0)));
    assert_eq!((app.value::<i64>(COUNT).await, app.value::<i64>(EVENTS).await), (1200, 3));
}

#[tokio::test]
async fn a_dry_run_writes_nothing_and_a_run_without_anything_new_no_event() {
    let app = TestApp::new().await;
    let dry = import(&app, "users.jsonl", lines(0..600), &["--dry-run"]);
    assert_eq!((dry.code, dry.out), (0, format!("would be {}", summary(600, 0, 0))));
    assert_eq!((app.value::<i64>(COUNT).await, app.value::<i64>(EVENTS).await), (0, 0));
    import(&app, "users.jsonl", lines(0..600), &[]);
    assert_eq!((app.value::<i64>(COUNT).await, app.value::<i64>(EVENTS).await), (600, 2));
    let dry = import(&app, "users.jsonl", lines(0..601), &["--dry-run"]);
    assert_eq!((dry.code, dry.out), (0, format!("would be {}", summary(1, 600, 0))));
    assert_eq!(import(&app, "users.jsonl", lines(0..600), &[]).out, summary(0, 600, 0));
    assert_eq!(app.value::<i64>(EVENTS).await, 2);
}

#[test]
fn a_database_that_is_not_up_to_date_is_not_written_to() {
    let folder = crate::stage::Folder::on_a_file();
    folder.write("users.jsonl", &lines(0..1));
    let file = folder.path("users.jsonl");
    crate::command::fails(&folder, &["users", "import", file.to_str().unwrap()], "migrate");
}
