//! Published keys, rotation by the clock, reload while running, health.

use std::sync::Arc;
use std::time::Duration;

use countersign_issuer::ambient::{Clock, UnixTime};
use countersign_issuer::tokens::reload::{Reloader, Watch};
use countersign_issuer::tokens::{KeySet, Lifetimes, LiveKeys};
use http::StatusCode;
use serde_json::json;

use crate::stage::{Folder, NOON, ON_A_FILE, TestApp, key_lines, kid, noon, pem};

const JWKS: &str = "/.well-known/jwks.json";
const OVERLAP: i64 = 900 + 30;

async fn published(app: &TestApp) -> Vec<String> {
    let set = app.get(JWKS).await.expect(StatusCode::OK).json();
    set["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn the_keys_are_published_under_both_addresses() {
    let app = TestApp::new().await;
    let answer = app.get(JWKS).await.expect(StatusCode::OK);
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("cache-control"), "public, max-age=300");
    let key = &answer.json()["keys"][0];
    for (member, value) in
        [("kty", "OKP"), ("crv", "Ed25519"), ("use", "sig"), ("alg", "EdDSA"), ("kid", "one")]
    {
        assert_eq!(key[member], value);
    }
    assert!(key.get("d").is_none());
    assert_eq!(app.get("/v1/auth/.well-known/jwks.json").await.body, answer.body);
}

#[tokio::test]
async fn who_has_the_keys_gets_304() {
    let app = TestApp::with(&key_lines("two", NOON + 3_600), |_| ()).await;
    let etag = app.get(JWKS).await.header("etag").to_owned();
    assert!(etag.starts_with('"') && etag.ends_with('"') && etag.len() > 10, "{etag}");
    for held in [etag.clone(), format!("\"other\", {etag}"), format!("W/{etag}"), "*".into()] {
        let answer = app.get(JWKS).header("if-none-match", &held).await.expect(StatusCode::NOT_MODIFIED);
        assert!(answer.body.is_empty());
        assert_eq!(
            (answer.header("etag"), answer.header("cache-control")),
            (etag.as_str(), "public, max-age=300")
        );
    }
    app.get(JWKS).header("if-none-match", "\"other\"").await.expect(StatusCode::OK);
    // Another key signs, the same are published: nothing to fetch. One key less: something to fetch.
    app.pass(3_600);
    assert_eq!(app.get(JWKS).await.header("etag"), etag);
    app.pass(OVERLAP);
    assert_ne!(app.get(JWKS).await.header("etag"), etag);
}

#[tokio::test]
async fn the_next_key_is_published_signs_and_retires_the_one_before() {
    let app = TestApp::with(&key_lines("two", NOON + 600), |_| ()).await;
    let old = app.registered("ada@example.com").await;
    assert_eq!(kid(&old.access_token), "one");
    assert_eq!(published(&app).await, ["one", "two"]);

    app.pass(600);
    let new = app.logged_in("ada@example.com").await;
    assert_eq!(kid(&new.access_token), "two");
    assert_eq!(published(&app).await, ["one", "two"]);
    app.get("/v1/users/me").by(&old).await.expect(StatusCode::OK);

    // A token signed in the last second of the old key lives as long as any other.
    app.clock.set(UnixTime::from_seconds(NOON + 599));
    let last = app.logged_in("ada@example.com").await;
    assert_eq!(kid(&last.access_token), "one");
    app.clock.set(UnixTime::from_seconds(NOON + 599 + OVERLAP - 1));
    app.get("/v1/users/me").by(&last).await.expect(StatusCode::OK);
    app.clock.set(UnixTime::from_seconds(NOON + 600 + OVERLAP));
    assert_eq!(published(&app).await, ["two"]);
    app.get("/v1/users/me").by(&last).await.refused(401, "unknown_key");
}

#[tokio::test]
async fn a_clock_that_jumps_breaks_nothing() {
    let app = TestApp::with(&key_lines("two", NOON + 600), |_| ()).await;
    for now in [0, NOON, i64::MAX / 1000, NOON + 600, -1, i64::MIN / 1000, NOON] {
        app.clock.set(UnixTime::from_seconds(now));
        app.get(JWKS).await.expect(StatusCode::OK);
        app.get("/readyz").await;
        app.get("/v1/users/me").await.refused(401, "missing_token");
        app.refresh("v1.x.0.y").await.refused_grant("refresh_invalid");
    }
    app.registered("ada@example.com").await;
}

#[tokio::test]
async fn a_new_line_takes_effect_without_a_restart() {
    let app = TestApp::new().await;
    app.folder.append("countersign.toml", &key_lines("two", NOON + 600));
    let reloaded = app.reloader().reload().unwrap();
    assert_eq!((reloaded.warnings.len(), reloaded.needs_restart.len()), (0, 0));
    assert_eq!(published(&app).await, ["one", "two"]);
    app.pass(600);
    assert_eq!(kid(&app.registered("ada@example.com").await.access_token), "two");
}

#[tokio::test]
async fn a_revoked_key_is_gone_at_once_with_its_tokens() {
    let app = TestApp::with(&key_lines("two", NOON - 86_400 * 2), |_| ()).await;
    let ada = app.registered("ada@example.com").await;
    assert_eq!(kid(&ada.access_token), "one");
    app.folder.append("countersign.toml", "revoked = true\n");
    // The file of a leaked key may be gone with it.
    std::fs::remove_file(app.folder.path("one.pem")).unwrap();
    app.reloader().reload().unwrap();
    assert_eq!(published(&app).await, ["two"]);
    app.get("/v1/users/me").by(&ada).await.refused(401, "unknown_key");
    assert_eq!(kid(&app.logged_in("ada@example.com").await.access_token), "two");
}

#[tokio::test]
async fn a_bad_configuration_is_refused_and_the_one_in_force_stays() {
    let app = TestApp::new().await;
    let good = std::fs::read_to_string(app.folder.config()).unwrap();
    app.folder.write("broken.pem", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    app.folder.write("public.pem", "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAL1LZW+yqN8UVSP7CTYTv6cqakQF9mV1SgpgowOlO5Eo=\n-----END PUBLIC KEY-----\n");
    let cases = [
        (format!("{good}{}", key_lines("one", NOON)), "keys.kid: two keys have the kid \"one\""),
        (format!("{good}{}", key_lines("two", NOON - 86_400)), "sign from the same moment"),
        (format!("{good}{}", key_lines("three", NOON)), "keys[1].file: key \"three\": "),
        (format!("{good}{}", key_lines("broken", NOON)), "is not an Ed25519 private key in PKCS#8 PEM"),
        (format!("{good}{}", key_lines("public", NOON)), "is not an Ed25519 private key in PKCS#8 PEM"),
        (good.replace("2026-11-19T12", "2026-11-21T12"), "keys: no key signs now"),
        (format!("{good}revoked = true\n"), "keys: no key signs now"),
        (good.split("[[keys]]").next().unwrap().to_owned(), "keys: there is no key"),
        (format!("{good}siign_from = 1\n"), "keys[0].siign_from: unknown key"),
        ("not toml".to_owned(), "line 1"),
        (String::new(), "secrets.current_file: is required"),
    ];
    for (count, (text, expected)) in cases.iter().enumerate() {
        app.folder.write("countersign.toml", text);
        let findings = app.reloader().reload().unwrap_err();
        assert_eq!(findings.len(), 1, "{text}: {findings:?}");
        let finding = findings[0].to_string();
        assert!(finding.contains(expected), "{finding} has no {expected}");
        assert!(finding.starts_with(app.folder.config().to_str().unwrap()), "{finding}");
        assert_eq!(published(&app).await, ["one"]);
        assert_eq!(app.get("/readyz").await.json()["refused_reloads"], count + 1);
    }
    std::fs::remove_file(app.folder.config()).unwrap();
    assert!(app.reloader().reload().unwrap_err()[0].to_string().contains("cannot be read"));
    app.registered("ada@example.com").await;
}

#[tokio::test]
async fn a_key_in_force_leaves_only_by_being_revoked_or_retired() {
    let app = TestApp::with(&key_lines("two", NOON + 600), |_| ()).await;
    let good = std::fs::read_to_string(app.folder.config()).unwrap();
    let without = |kid: &str| {
        let mut entries = good.split("\n[[keys]]");
        let head = entries.next().unwrap().to_owned();
        let kept = entries.filter(|entry| !entry.contains(&format!("kid = \"{kid}\"")));
        kept.fold(head, |text, entry| format!("{text}\n[[keys]]{entry}"))
    };
    let refuses_to_drop = |text: &str, kid: &str| {
        app.folder.write("countersign.toml", text);
        let findings = app.reloader().reload().unwrap_err();
        assert_eq!(findings.len(), 1, "{findings:?}");
        let finding = findings[0].to_string();
        assert!(finding.contains(&format!("key {kid:?} is in force")), "{finding}");
        assert!(finding.contains("`revoked = true`"), "{finding}");
    };
    refuses_to_drop(&without("two"), "two");
    // A successor dated back would retire the key whose tokens are about.
    app.folder.write("three.pem", &pem(3));
    refuses_to_drop(&format!("{good}{}", key_lines("three", NOON - OVERLAP - 1)), "one");
    app.pass(600);
    refuses_to_drop(&without("one"), "one");
    assert_eq!(published(&app).await, ["one", "two"]);

    app.pass(OVERLAP);
    app.folder.write("countersign.toml", &without("one"));
    app.reloader().reload().unwrap();
    assert_eq!(published(&app).await, ["two"]);
}

#[tokio::test]
async fn other_changes_wait_for_a_restart_and_are_named() {
    let app = TestApp::new().await;
    let text = std::fs::read_to_string(app.folder.config()).unwrap();
    let text = text.replace("[secrets]", "[tokens]\nissuer = \"other\"\naccess_lifetime = \"1h\"\n[secrets]");
    app.folder.write("countersign.toml", &format!("{text}{}", key_lines("two", NOON + 600)));
    assert_eq!(app.reloader().reload().unwrap().needs_restart, ["tokens"]);
    assert_eq!(published(&app).await, ["one", "two"]);
    app.clock.set(UnixTime::from_seconds(NOON + 600 + OVERLAP));
    assert_eq!(published(&app).await, ["two"]);
}

#[tokio::test]
async fn a_key_that_signs_too_soon_is_a_warning() {
    let app = TestApp::new().await;
    app.folder.append("countersign.toml", &key_lines("two", NOON + 299));
    let warnings = app.reloader().reload().unwrap().warnings;
    assert_eq!(warnings.len(), 1);
    assert!(
        warnings[0].message.contains("\"two\" signs before verifiers have fetched it"),
        "{}",
        warnings[0]
    );
}

#[tokio::test]
async fn a_key_file_open_to_others_is_a_warning() {
    use std::os::unix::fs::PermissionsExt as _;
    let app = TestApp::new().await;
    let file = app.folder.path("one.pem");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let warnings = app.reloader().reload().unwrap().warnings;
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].to_string().contains("one.pem is open to other users (mode 644)"), "{}", warnings[0]);
}

#[tokio::test]
async fn a_replaced_key_file_takes_effect_too() {
    let app = TestApp::new().await;
    let before = app.get(JWKS).await.json();
    app.folder.write("one.pem", &pem(9));
    app.reloader().reload().unwrap();
    assert_ne!(app.get(JWKS).await.json(), before);
}

#[tokio::test]
async fn the_metadata_points_to_the_keys() {
    let app = TestApp::new().await;
    let answer = app.get("/.well-known/oauth-authorization-server").await.expect(StatusCode::OK).json();
    assert_eq!(answer["issuer"], "user_service");
    assert_eq!(answer["jwks_uri"], "https://trade.example/.well-known/jwks.json");
    assert_eq!(
        answer["scopes_supported"],
        json!(["alerts:read", "alerts:write", "positions:read", "quotes:read"])
    );
}

#[tokio::test]
async fn health_is_alive_and_ready_is_able() {
    let app = TestApp::new().await;
    assert_eq!(app.get("/healthz").await.expect(StatusCode::OK).json(), json!({"status": "ok"}));
    let ready = app.get("/readyz").await.expect(StatusCode::OK).json();
    assert_eq!(
        ready,
        json!({"status": "ready", "database": "ok", "signing_key": "one", "refused_reloads": 0})
    );

    app.clock.set(UnixTime::from_seconds(0));
    let ready = app.get("/readyz").await.expect(StatusCode::SERVICE_UNAVAILABLE).json();
    assert_eq!((&ready["status"], &ready["signing_key"]), (&json!("not_ready"), &json!(null)));
    app.clock.set(UnixTime::from_seconds(NOON));
    app.app.db.close().await;
    let ready = app.get("/readyz").await.expect(StatusCode::SERVICE_UNAVAILABLE).json();
    assert_eq!((&ready["status"], &ready["database"]), (&json!("not_ready"), &json!("unavailable")));
    app.get("/healthz").await.expect(StatusCode::OK);
    app.get("/v1/users/me").await.refused(401, "missing_token");
    app.post("/v1/auth/login", json!({"email": "a@b", "password": "x"})).await.refused(503, "busy");
}

#[tokio::test]
async fn what_cannot_be_written_is_not_ready() {
    let app = TestApp::with(ON_A_FILE, |_| ()).await;
    app.get("/readyz").await.expect(StatusCode::OK);
    app.execute("CREATE TRIGGER full BEFORE UPDATE ON write_probe BEGIN SELECT RAISE(ABORT, 'full'); END")
        .await;
    // Probed every few seconds, however often it is asked.
    app.get("/readyz").await.expect(StatusCode::OK);
    app.pass(5);
    let ready = app.get("/readyz").await.expect(StatusCode::SERVICE_UNAVAILABLE).json();
    assert_eq!((&ready["status"], &ready["database"]), (&json!("not_ready"), &json!("unavailable")));
    app.execute("DROP TRIGGER full").await;
    app.pass(5);
    app.get("/readyz").await.expect(StatusCode::OK);
}

#[tokio::test]
async fn a_database_file_that_is_gone_or_another_is_not_ready() {
    let app = TestApp::with(ON_A_FILE, |_| ()).await;
    app.get("/readyz").await.expect(StatusCode::OK);
    let (file, aside) = (app.folder.path("issuer.db"), app.folder.path("aside.db"));
    std::fs::rename(&file, &aside).unwrap();
    app.pass(5);
    app.get("/readyz").await.expect(StatusCode::SERVICE_UNAVAILABLE);
    std::fs::copy(&aside, &file).unwrap();
    app.pass(5);
    app.get("/readyz").await.expect(StatusCode::SERVICE_UNAVAILABLE);
    std::fs::rename(&aside, &file).unwrap();
    app.pass(5);
    app.get("/readyz").await.expect(StatusCode::OK);
}

/// A folder and the keys in force, without an issuer around them.
fn watched() -> (Folder, Arc<LiveKeys>, Reloader) {
    let folder = Folder::new("");
    let running = folder.settings();
    let lifetimes = Lifetimes::new(running.longest_lifetime());
    let keys = Arc::new(LiveKeys::new(KeySet::load(&running, running.overlap(), NOON).0.unwrap()));
    let reloader = Reloader {
        running,
        env: Vec::new(),
        keys: Arc::clone(&keys),
        clock: Clock::manual(noon()),
        lifetimes,
        tls: None,
    };
    (folder, keys, reloader)
}

/// Lets the paused clock run until two keys are published.
async fn until_taken_up(keys: &LiveKeys) {
    for _ in 0..60 {
        if keys.at(NOON).keyring.len() == 2 {
            return;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    panic!("the key was not taken up");
}

#[tokio::test(start_paused = true)]
async fn a_change_during_startup_is_seen() {
    let (folder, keys, reloader) = watched();
    folder.append("countersign.toml", &key_lines("two", NOON + 600));
    let watch = tokio::spawn(Watch::start(reloader).run());
    until_taken_up(&keys).await;
    watch.abort();
}

#[tokio::test(start_paused = true)]
async fn a_folder_that_is_swapped_is_seen() {
    let (folder, keys, mut reloader) = watched();
    let (live, next) = (folder.path("live"), folder.path("next"));
    for place in [&live, &next] {
        std::fs::create_dir(place).unwrap();
        for name in ["countersign.toml", "current.secret", "one.pem", "two.pem"] {
            std::fs::copy(folder.path(name), place.join(name)).unwrap();
        }
    }
    reloader.running.file = live.join("countersign.toml");
    let watch = tokio::spawn(Watch::start(reloader).run());
    tokio::time::sleep(Duration::from_secs(15)).await;
    assert_eq!(keys.at(NOON).keyring.len(), 1);
    let text = std::fs::read_to_string(next.join("countersign.toml")).unwrap();
    std::fs::write(next.join("countersign.toml"), text + &key_lines("two", NOON + 600)).unwrap();
    // The folder that is watched goes elsewhere: no notice tells of the other one in its place.
    std::fs::rename(&live, folder.path("old")).unwrap();
    std::fs::rename(&next, &live).unwrap();
    until_taken_up(&keys).await;
    watch.abort();
}

#[test]
fn a_longer_lifetime_that_is_remembered_keeps_a_key_published() {
    let folder = Folder::new(&key_lines("two", NOON - 1_000));
    let settings = folder.settings();
    let published = |overlap| KeySet::load(&settings, overlap, NOON).0.unwrap().jwks(NOON).keys.len();
    assert_eq!(published(settings.overlap()), 1);
    assert_eq!(published(3_600), 2);
}

#[tokio::test]
async fn the_newer_name_of_the_algorithm_is_in_tokens_and_keys_alike() {
    let app = TestApp::with("[tokens]\nalg = \"Ed25519\"\n", |_| ()).await;
    let ada = app.registered("ada@example.com").await;
    assert_eq!(crate::stage::part(&ada.access_token, 0)["alg"], "Ed25519");
    assert_eq!(app.get(JWKS).await.json()["keys"][0]["alg"], "Ed25519");
    app.get("/v1/users/me").by(&ada).await.expect(StatusCode::OK);
}

#[tokio::test]
async fn metadata_names_an_issuer_that_is_a_url_as_clients_validate_it() {
    let app = TestApp::with("[tokens]\nissuer = \"https://trade.example\"\n", |_| ()).await;
    let answer = app.get("/.well-known/oauth-authorization-server").await.expect(StatusCode::OK);
    // RFC 8414 §3.3: the same as the URL that the metadata was found under.
    assert_eq!(answer.json()["issuer"], "https://trade.example");
    assert_eq!(answer.header("cache-control"), "public, max-age=300");
    let openid = app.get("/.well-known/openid-configuration").await.refused(404, "not_found");
    let detail = openid.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("/.well-known/oauth-authorization-server"), "{detail}");
}
