//! `countersign api-keys`: keys of another system go on working; those of anyone can be seen and revoked.

use countersign_issuer::services::Scope;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256, Sha512};

use super::{Ran, fails, run};
use crate::services::{EXCHANGE, service};
use crate::stage::{Answer, PASSWORD, TestApp, part};

const ONE: &str = "sk_live_0123456789abcdef";
const TWO: &str = "sk_live_fedcba9876543210";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sha256(key: &str) -> String {
    hex(&Sha256::digest(key.as_bytes()))
}

fn import(app: &TestApp, lines: &[Value], options: &[&str]) -> Ran {
    let text: Vec<String> = lines.iter().map(Value::to_string).collect();
    app.folder.write("keys.jsonl", &text.join("\n"));
    let file = app.folder.path("keys.jsonl");
    run(&app.folder, &[&["api-keys", "import", file.to_str().unwrap()], options].concat())
}

async fn exchange(app: &TestApp, token: &str, key: &str) -> Answer {
    let call = app.internally(Method::POST, EXCHANGE).header("x-service-token", token);
    call.json(json!({"api_key": key})).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_another_system_go_on_working() {
    let app = TestApp::new().await;
    let ada = app.registered("ada@example.com").await;
    let token = service(&app, &Scope::ALL).await;
    let lines = [
        json!({"key_hash": sha256(ONE), "user_id": ada.id, "name": "robot", "prefix": "sk_live_0123"}),
        json!({"hash": format!("sha512:{}", hex(&Sha512::digest(TWO.as_bytes()))), "email": "ADA@example.com",
               "scopes": ["quotes:read"], "expires_at": "2099-01-01T00:00:00Z"}),
    ];
    let dry = import(&app, &lines, &["--dry-run"]);
    assert_eq!(
        (dry.code, dry.out.as_str()),
        (0, "would be imported: 2, imported before: 0, refused: 0\n"),
        "{}",
        dry.err
    );
    exchange(&app, &token, ONE).await.refused(401, "api_key_invalid");
    let ran = import(&app, &lines, &["--json"]);
    assert_eq!(serde_json::from_str::<Value>(&ran.out).unwrap()["imported"], 2, "{}", ran.err);
    let again = import(&app, &lines, &[]);
    assert_eq!((again.code, again.out.as_str()), (0, "imported: 0, imported before: 2, refused: 0\n"));

    for (key, scope) in [(ONE, None), (TWO, Some("quotes:read"))] {
        let answer = exchange(&app, &token, key).await.expect(StatusCode::OK).json();
        let claims = part(answer["access_token"].as_str().unwrap(), 1);
        assert_eq!((&claims["sub"], &claims["amr"]), (&json!(ada.id), &json!(["api_key"])));
        assert!(scope.is_none_or(|scope| claims["scope"] == scope), "{claims}");
    }
    let list: Value =
        serde_json::from_str(&run(&app.folder, &["api-keys", "list", "ada@example.com", "--json"]).out)
            .unwrap();
    let list = list.as_array().unwrap();
    let robot = list.iter().find(|key| key["name"] == "robot").unwrap();
    assert_eq!((list.len(), &robot["prefix"]), (2, &json!("sk_live_0123")));
    let text = run(&app.folder, &["api-keys", "list", "ada@example.com"]).out;
    assert!(text.contains("robot") && text.contains("2099-01-01T00:00:00Z"), "{text}");
    let id = robot["id"].as_str().unwrap();
    let ran = run(&app.folder, &["api-keys", "revoke", id]);
    assert_eq!((ran.code, ran.out), (0, format!("revoked {id} of ada@example.com\n")), "{}", ran.err);
    exchange(&app, &token, ONE).await.refused(401, "api_key_invalid");
    let told = "SELECT COUNT(*) FROM revocations, audit_events
                WHERE revocations.session_id = audit_events.session_id AND type = 'api_key_revoked' AND actor = 'operator'";
    assert_eq!(app.value::<i64>(told).await, 1);
    fails(&app.folder, &["api-keys", "revoke", id], "there is no API key");
    fails(&app.folder, &["api-keys", "revoke", "sk"], "\"sk\" is no id of an API key");
    fails(&app.folder, &["api-keys", "list", "who@example.com"], "there is no account with who@example.com");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_was_revoked_here_is_not_brought_back_by_another_import() {
    let app = TestApp::new().await;
    let (ada, bob) = (app.registered("ada@example.com").await, app.registered("bob@example.com").await);
    let carol = app.registered("carol@example.com").await;
    let token = service(&app, &Scope::ALL).await;
    let keys = [ONE, TWO, "sk_live_aaaaaaaaaaaaaaaa"];
    let lines: Vec<Value> = keys
        .iter()
        .zip([&ada, &bob, &carol])
        .map(|(key, owner)| json!({"key_hash": sha256(key), "user_id": owner.id}))
        .collect();
    let ran = import(&app, &lines, &[]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "imported: 3, imported before: 0, refused: 0\n"));
    // One by its owner, one with the account, one with an account that is deleted.
    let list = app.get("/v1/api-keys").by(&ada).await.json();
    let id = list["items"][0]["id"].as_str().unwrap();
    let revoke = app.call(Method::DELETE, &format!("/v1/api-keys/{id}")).by(&ada);
    revoke.await.expect(StatusCode::NO_CONTENT);
    app.deactivate("bob@example.com").await;
    let delete = app.call(Method::DELETE, "/v1/users/me").by(&carol).json(json!({"password": PASSWORD}));
    delete.await.expect(StatusCode::NO_CONTENT);
    let dave = app.registered("dave@example.com").await;
    let mut lines = lines;
    lines[2]["user_id"] = json!(dave.id);
    for options in [&["--dry-run"][..], &[]] {
        let again = import(&app, &lines, options);
        assert!(again.code == 1 && again.out.contains("imported before: 0, refused: 3"), "{}", again.out);
        for (line, reason) in
            [(1, "was revoked here"), (2, "the account of its owner is closed"), (3, "was revoked here")]
        {
            assert!(again.err.contains(&format!("line {line}: {reason}")), "{}", again.err);
        }
    }
    // An account that is opened again has its keys no more.
    app.execute("UPDATE users SET is_active = 1").await;
    let opened = import(&app, &lines, &[]);
    assert!(opened.err.contains("line 2: was revoked here"), "{}", opened.err);
    for key in keys {
        exchange(&app, &token, key).await.refused(401, "api_key_invalid");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_that_is_wrong_is_named_and_not_shown_and_stops_nothing() {
    let app = TestApp::new().await;
    let (ada, bob) = (app.registered("ada@example.com").await, app.registered("bob@example.com").await);
    let lines = [
        json!({"key_hash": sha256(ONE), "user_id": "nobody"}),
        json!({"key_hash": ONE, "user_id": ada.id}),
        json!({"key_hash": sha256(ONE), "user_id": ada.id}),
        json!({"key_hash": sha256(ONE), "user_id": bob.id}),
        json!({"key_hash": sha256(TWO), "email": "bob@example.com", "revoked": true}),
        json!({"key_hash": sha256(TWO), "email": "bob@example.com"}),
    ];
    let ran = import(&app, &lines, &[]);
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (1, "imported: 2, imported before: 0, refused: 4\n"),
        "{}",
        ran.err
    );
    for (line, reason) in [
        (1, "there is no account of its owner"),
        (2, "key_hash is no hash that keys can be found by"),
        (4, "its hash is that of a key of another account"),
        (5, "is revoked or not active"),
    ] {
        assert!(ran.err.contains(&format!("line {line}: {reason}")), "{}", ran.err);
    }
    assert!(!ran.err.contains(ONE) && !ran.err.contains(&sha256(ONE)), "{}", ran.err);
    fails(&app.folder, &["api-keys", "import", "/nowhere.jsonl"], "/nowhere.jsonl");
}
