//! Several issuers on one database, and several requests at once: of everything there is one winner.

use countersign_issuer::accounts::{self, Email};
use futures_util::future::join_all;
use http::{Method, StatusCode};
use serde_json::json;

use crate::services::pieces_of_work;
use crate::stage::{Answer, PASSWORD, TestApp};

fn refresh_token(answer: Answer) -> String {
    answer.expect(StatusCode::OK).json()["refresh_token"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_session_of_one_issuer_is_good_at_the_other() {
    let one = TestApp::new().await;
    let two = one.beside().await;
    let ada = one.registered("ada@example.com").await;
    two.get("/v1/users/me").by(&ada).await.expect(StatusCode::OK);
    let next = refresh_token(two.refresh(&ada.refresh_token).await);
    assert_eq!(refresh_token(one.refresh(&ada.refresh_token).await), next);
    two.post("/v1/auth/logout", json!({"refresh_token": next})).await.expect(StatusCode::NO_CONTENT);
    one.get("/v1/users/me").by(&ada).await.refused(401, "revoked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_refreshes_at_two_issuers_one_rotates_and_all_get_the_same_token() {
    let one = TestApp::new().await;
    let two = one.beside().await;
    let ada = one.registered("ada@example.com").await;
    let calls = (0..100).map(|n| if n % 2 == 0 { &one } else { &two }.refresh(&ada.refresh_token));
    let mut tokens: Vec<String> = join_all(calls).await.into_iter().map(refresh_token).collect();
    tokens.dedup();
    assert_eq!(tokens.len(), 1);
    assert_eq!(one.value::<i64>("SELECT counter FROM sessions").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_registrations_with_one_address_one_succeeds() {
    let one = TestApp::new().await;
    let two = one.beside().await;
    let body = || json!({"email": "ada@example.com", "password": PASSWORD, "name": "Ada"});
    let calls = (0..8).map(|n| if n % 2 == 0 { &one } else { &two }.post("/v1/auth/register", body()));
    let answers = join_all(calls.map(IntoFuture::into_future)).await;
    let made = answers.iter().filter(|answer| answer.status == StatusCode::CREATED).count();
    assert_eq!(made, 1);
    for answer in answers.into_iter().filter(|answer| answer.status != StatusCode::CREATED) {
        answer.refused(409, "email_taken");
    }
    assert_eq!(one.value::<i64>("SELECT COUNT(*) FROM sessions").await, 1);
}

#[tokio::test]
async fn a_login_under_way_does_not_outlive_what_ends_all_logins() {
    let app = TestApp::new().await;
    let ada = app.registered("ada@example.com").await;
    let email = Email::parse("ada@example.com").unwrap();
    // The password has been checked; what ends all logins comes before the session begins.
    let checked =
        async || accounts::store::find_for_login(app.app.db.reads(), &email).await.unwrap().unwrap();
    let begins = async |(user, credential): (accounts::User, accounts::Credential)| {
        let claim = app
            .app
            .db
            .write(async move |tx| accounts::store::claim_login(tx, &user.id, credential.epoch).await);
        claim.await.unwrap()
    };
    assert!(begins(checked().await).await);
    let before = checked().await;
    app.post("/v1/auth/logout", json!({"all_devices": true})).by(&ada).await.expect(StatusCode::NO_CONTENT);
    assert!(!begins(before).await);
    let before = checked().await;
    app.deactivate("ada@example.com").await;
    assert!(!begins(before).await && !begins(checked().await).await);
}

#[tokio::test]
async fn a_login_under_way_does_not_outlive_a_change_of_roles() {
    let app = TestApp::new().await;
    let (ada, root) = (app.registered("ada@example.com").await, app.admin("root@example.com").await);
    let path = format!("/v1/admin/users/{}", ada.id);
    for roles in [json!(["user", "admin"]), json!(["user"])] {
        let email = Email::parse("ada@example.com").unwrap();
        let found = accounts::store::find_for_login(app.app.db.reads(), &email).await.unwrap();
        let (user, credential) = found.unwrap();
        let change = app.call(Method::PATCH, &path).json(json!({"roles": roles})).by(&root);
        change.await.expect(StatusCode::OK);
        // What was read before would say the roles of then.
        let claim = app
            .app
            .db
            .write(async move |tx| accounts::store::claim_login(tx, &user.id, credential.epoch).await);
        assert!(!claim.await.unwrap(), "{roles}");
    }
    app.logged_in("ada@example.com").await;
}

#[tokio::test]
async fn the_oldest_session_makes_room_for_one_too_many() {
    let app = TestApp::with("", |settings| settings.sessions.max_per_user = 3).await;
    let first = app.registered("ada@example.com").await;
    let bob = app.registered("bob@example.com").await;
    let mut others = Vec::new();
    for _ in 0..3 {
        app.pass(1);
        others.push(app.logged_in("ada@example.com").await);
    }
    app.get("/v1/users/me").by(&first).await.refused(401, "revoked");
    for person in others.iter().chain([&bob]) {
        app.get("/v1/users/me").by(person).await.expect(StatusCode::OK);
    }
    let told = "SELECT COUNT(*) FROM audit_events WHERE type = 'session_ended' AND actor = 'issuer'";
    assert_eq!(app.value::<i64>(told).await, 1);
}

#[tokio::test]
async fn sweeping_goes_through_any_number_of_sessions_in_short_stretches() {
    let app = TestApp::new().await;
    app.registered("ada@example.com").await;
    let ended = ["expires_at", "idle_expires_at", "revoked_at"];
    for n in 0..450_usize {
        let (id, column) = (countersign_issuer::ambient::Ids::system().uuid().to_string(), ended[n % 3]);
        let copy = format!(
            "INSERT INTO sessions (id, user_id, counter, created_at, last_used_at, idle_expires_at, expires_at,
                                   revoked_at, persistent, amr, device)
             SELECT '{id}', user_id, 0, created_at, created_at, idle_expires_at, expires_at, NULL, 0, amr, ''
             FROM sessions LIMIT 1"
        );
        let end = format!("UPDATE sessions SET {column} = 1 WHERE id = '{id}'");
        let work = app.app.db.write(async move |tx| {
            for statement in [copy.clone(), end.clone()] {
                sqlx::query(sqlx::AssertSqlSafe(statement)).execute(tx.connection()).await?;
            }
            Ok(())
        });
        work.await.unwrap();
    }
    let before = pieces_of_work(&app);
    let swept = countersign_issuer::sessions::sweep(&app.app.db, app.clock.now()).await.unwrap();
    assert_eq!((swept, app.value::<i64>("SELECT COUNT(*) FROM sessions").await), (450, 1));
    // Three stretches of sessions, and at least one look for revocations.
    assert!(pieces_of_work(&app) - before >= 4.0, "{before}, {}", pieces_of_work(&app));
}
