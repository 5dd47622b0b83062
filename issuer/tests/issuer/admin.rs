//! What administrators may do to the accounts of others, and that one of them always remains.

use std::time::Duration;

use countersign_issuer::accounts::standing::{self, Change, LastAdmin, Outcome};
use countersign_issuer::accounts::{Email, Name, NewUser, UserId, store};
use countersign_issuer::audit::Origin;
use countersign_issuer::sessions::Rules;
use futures_util::future::join_all;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::stage::{Call, PASSWORD, Person, TestApp};

fn path(person: &Person) -> String {
    format!("/v1/admin/users/{}", person.id)
}

fn patch(app: &TestApp, by: &Person, whom: &Person, body: Value) -> Call {
    app.call(Method::PATCH, &path(whom)).by(by).json(body)
}

/// The types of the events about someone, with who did it, oldest first.
async fn told(app: &TestApp, root: &Person, subject: &str) -> Vec<(String, String)> {
    let page = app.get(&format!("/v1/admin/audit?subject={subject}&limit=200")).by(root).await;
    let page = page.expect(StatusCode::OK).json();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let events = page["items"].as_array().unwrap().iter().rev();
    events.map(|event| (text(&event["type"]), text(&event["actor"]))).collect()
}

#[tokio::test]
async fn only_administrators_come_in() {
    let app = TestApp::new().await;
    let ada = app.registered("ada@example.com").await;
    let id = format!("/v1/admin/users/{}", ada.id);
    let calls = [
        (Method::GET, "/v1/admin/users".to_owned()),
        (Method::GET, id.clone()),
        (Method::PATCH, id.clone()),
        (Method::DELETE, id.clone()),
        (Method::POST, format!("{id}/password")),
        (Method::DELETE, format!("{id}/sessions")),
        (Method::GET, "/v1/admin/audit".to_owned()),
    ];
    for (method, path) in calls {
        app.call(method.clone(), &path).await.refused(401, "missing_token");
        app.call(method.clone(), &path).by(&ada).await.refused(403, "permission_denied");
        // Whatever else is wrong with the request.
        app.call(method, &format!("{path}?limit=0"))
            .by(&ada)
            .json(json!([]))
            .await
            .refused(403, "permission_denied");
    }
    app.get("/v1/users/me").by(&ada).await.expect(StatusCode::OK);
}

#[tokio::test]
async fn who_is_no_longer_an_administrator_is_out_with_the_old_token() {
    let app = TestApp::new().await;
    let (root, other) = (app.admin("root@example.com").await, app.admin("other@example.com").await);
    patch(&app, &root, &other, json!({"roles": ["user"]})).await.expect(StatusCode::OK);
    app.get("/v1/admin/users").by(&other).await.refused(403, "permission_denied");
}

#[tokio::test]
async fn one_account_is_shown_changed_and_deleted() {
    let app = TestApp::new().await;
    let root = app.admin("root@example.com").await;
    let ada = app.registered("ada@example.com").await;
    let shown = app.get(&path(&ada)).by(&root).await.expect(StatusCode::OK).json();
    assert_eq!((&shown["email"], &shown["is_active"]), (&json!("ada@example.com"), &json!(true)));

    let closed = patch(&app, &root, &ada, json!({"is_active": false})).await.expect(StatusCode::OK).json();
    assert_eq!(closed["is_active"], false);
    app.get("/v1/users/me").by(&ada).await.refused(401, "revoked");
    app.refresh(&ada.refresh_token).await.refused_grant("session_revoked");
    let login = json!({"email": "ada@example.com", "password": PASSWORD});
    app.post("/v1/auth/login", login).await.refused(403, "account_inactive");
    patch(&app, &root, &ada, json!({"is_active": true, "roles": ["admin", "user", "admin"]}))
        .await
        .expect(StatusCode::OK);
    let ada = app.logged_in("ada@example.com").await;
    let shown = app.get("/v1/users/me").by(&ada).await.json();
    assert_eq!((&shown["roles"], &shown["is_admin"]), (&json!(["admin", "user"]), &json!(true)));
    // What is so already is no change.
    patch(&app, &root, &ada, json!({"is_active": true})).await.expect(StatusCode::OK);
    patch(&app, &root, &ada, json!({})).await.expect(StatusCode::OK);

    app.call(Method::DELETE, &path(&ada)).by(&root).await.expect(StatusCode::NO_CONTENT);
    app.get("/v1/users/me").by(&ada).await.refused(401, "revoked");
    app.get(&path(&ada)).by(&root).await.refused(404, "not_found");
    assert_eq!(app.value::<i64>("SELECT COUNT(*) FROM users").await, 1);
    let by = |kind: &str, actor: &Person| (kind.to_owned(), actor.id.clone());
    let expected = [
        by("registered", &ada),
        by("user_deactivated", &root),
        by("session_ended", &root),
        (String::from("login_blocked"), String::new()),
        by("role_changed", &root),
        by("user_activated", &root),
        by("login", &ada),
        by("session_ended", &root),
        by("user_deleted", &root),
    ];
    let mut told = told(&app, &root, &ada.id).await;
    let mut expected = expected.to_vec();
    // Events of one second have no order.
    told.sort();
    expected.sort();
    assert_eq!(told, expected);
    // Its revocations outlive it, for whoever verifies tokens without asking.
    assert_eq!(app.value::<i64>("SELECT COUNT(*) FROM revocations").await, 2);
}

#[tokio::test]
async fn a_new_password_ends_the_sessions_and_is_held_to_the_policy() {
    let app = TestApp::new().await;
    let root = app.admin("root@example.com").await;
    let ada = app.registered("ada@example.com").await;
    let set = |password: &str| {
        app.post(&format!("{}/password", path(&ada)), json!({"password": password})).by(&root)
    };
    for weak in ["", "short", "password1234", "some-velvet-tundra-31", &"x".repeat(200)] {
        assert_eq!(set(weak).await.invalid_fields(), ["password"], "{weak}");
    }
    app.get("/v1/users/me").by(&ada).await.expect(StatusCode::OK);
    set("another-velvet-tundra-31").await.expect(StatusCode::NO_CONTENT);
    app.get("/v1/users/me").by(&ada).await.refused(401, "revoked");
    let login = |password: &str| {
        app.post("/v1/auth/login", json!({"email": "ada@example.com", "password": password}))
    };
    login(PASSWORD).await.refused(401, "invalid_credentials");
    login("another-velvet-tundra-31").await.expect(StatusCode::OK);
    assert!(told(&app, &root, &ada.id).await.contains(&("password_changed".into(), root.id.clone())));
}

#[tokio::test]
async fn sessions_are_ended_without_closing_the_account() {
    let app = TestApp::new().await;
    let root = app.admin("root@example.com").await;
    let ada = app.registered("ada@example.com").await;
    let sessions = format!("{}/sessions", path(&ada));
    app.call(Method::DELETE, &sessions).by(&root).await.expect(StatusCode::NO_CONTENT);
    app.refresh(&ada.refresh_token).await.refused_grant("session_revoked");
    app.logged_in("ada@example.com").await;
    assert!(told(&app, &root, &ada.id).await.contains(&("session_ended".into(), root.id.clone())));
}

#[tokio::test]
async fn wrong_fields_and_unknown_accounts_are_told_apart() {
    let app = TestApp::new().await;
    let root = app.admin("root@example.com").await;
    let ada = app.registered("ada@example.com").await;
    for roles in [json!(["king"]), json!([]), json!(["user", "a b"])] {
        let answer = patch(&app, &root, &ada, json!({"roles": roles})).await;
        assert_eq!(answer.invalid_fields(), ["roles"], "{roles}");
    }
    assert_eq!(patch(&app, &root, &ada, json!({"is_active": "no"})).await.invalid_fields(), ["is_active"]);
    for id in ["01940000-0000-7000-8000-000000000001", "x", "%ff", "%00", "a%2fb", "a,b", &"x".repeat(65)] {
        let path = format!("/v1/admin/users/{id}");
        let password = json!({"password": "another-velvet-tundra-31"});
        for call in [
            app.get(&path),
            app.call(Method::DELETE, &path),
            app.call(Method::PATCH, &path).json(json!({"is_active": false})),
            app.call(Method::DELETE, &format!("{path}/sessions")),
            app.post(&format!("{path}/password"), password),
        ] {
            call.by(&root).await.refused(404, "not_found");
        }
    }
}

#[tokio::test]
async fn the_last_administrator_stays() {
    let app = TestApp::new().await;
    let root = app.admin("root@example.com").await;
    let asleep = app.admin("asleep@example.com").await;
    patch(&app, &root, &asleep, json!({"is_active": false})).await.expect(StatusCode::OK);
    // Someone whose role only looks like it.
    let ada = app.registered("ada@example.com").await;
    for body in [
        json!({"roles": ["user"]}),
        json!({"is_active": false}),
        json!({"roles": ["user"], "is_active": false}),
        json!({"roles": ["admin"], "is_active": false}),
    ] {
        patch(&app, &root, &root, body).await.refused(409, "last_admin");
    }
    app.call(Method::DELETE, &path(&root)).by(&root).await.refused(409, "last_admin");
    app.call(Method::DELETE, "/v1/users/me")
        .by(&root)
        .json(json!({"password": PASSWORD}))
        .await
        .refused(409, "last_admin");
    // Nothing of it happened.
    app.get("/v1/admin/users").by(&root).await.expect(StatusCode::OK);
    let told = told(&app, &root, &root.id).await;
    assert!(told.iter().all(|(kind, _)| !kind.starts_with("user_de")), "{told:?}");
    // The role may go together with one that stays, and with another administrator everything may.
    patch(&app, &root, &root, json!({"roles": ["admin"]})).await.expect(StatusCode::OK);
    patch(&app, &root, &ada, json!({"roles": ["admin"]})).await.expect(StatusCode::OK);
    patch(&app, &root, &root, json!({"is_active": false})).await.expect(StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_hundred_demotions_of_the_last_two_one_administrator_remains() {
    let one = TestApp::new().await;
    let two = one.beside().await;
    let (a, b) = (one.admin("a@example.com").await, one.admin("b@example.com").await);
    let calls = (0..100).map(|n: usize| {
        let app = if n.is_multiple_of(3) { &two } else { &one };
        let (by, whom) = if n.is_multiple_of(2) { (&a, &b) } else { (&b, &a) };
        let call = match n % 4 {
            0 | 1 => patch(app, by, whom, json!({"roles": ["user"]})),
            2 => patch(app, by, by, json!({"is_active": false})),
            _ => app.call(Method::DELETE, &path(whom)).by(by),
        };
        call.into_future()
    });
    for answer in join_all(calls).await {
        assert!([200, 204, 401, 403, 404, 409].contains(&answer.status.as_u16()), "{answer:?}");
    }
    let left = "SELECT COUNT(*) FROM users WHERE is_active = 1 AND roles LIKE '%admin%'";
    assert_eq!(one.value::<i64>(left).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_takes_the_other_administrator_away_waits_for_who_came_first() {
    let app = TestApp::new().await;
    let (a, b) = (app.admin("a@example.com").await, app.admin("b@example.com").await);
    let rules = Rules::from(&app.settings);
    let (release, released) = watch::channel(false);
    let demote = |person: &Person, held: bool| {
        let (id, released, db) = (UserId::parse(&person.id).unwrap(), released.clone(), app.app.db.clone());
        tokio::spawn(async move {
            let work = db.write(async move |tx| {
                let change = Change { active: None, roles: Some(vec!["user".to_owned()]) };
                let (last, origin) = (LastAdmin::MustStay, Origin::command());
                let outcome = standing::change(tx, &id, &change, last, &origin, rules).await?;
                if held {
                    // The change is made, and not committed.
                    let _ = released.clone().wait_for(|go| *go).await;
                }
                Ok(outcome)
            });
            work.await.unwrap()
        })
    };
    let first = demote(&a, true);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let second = demote(&b, false);
    // Long enough to be done, if nothing held it up.
    tokio::time::sleep(Duration::from_millis(100)).await;
    release.send(true).unwrap();
    assert!(matches!(first.await.unwrap(), Outcome::Done(_)));
    assert_eq!(second.await.unwrap(), Outcome::Refused);
}

/// Accounts without sessions, as an import would make them.
async fn accounts(app: &TestApp, emails: impl IntoIterator<Item = String>) {
    for email in emails {
        let new = NewUser {
            id: UserId::new(app.app.ids.uuid()),
            email: Email::parse(&email).unwrap(),
            name: Name::parse("Some One").unwrap(),
            phone: None,
            password_hash: String::new(),
            roles: vec!["user".to_owned()],
        };
        let made = app.app.db.write(async move |tx| store::create(tx, &new).await);
        assert!(made.await.unwrap().is_some());
    }
}

/// The addresses of every page, walked to the end.
async fn walk(app: &TestApp, root: &Person, query: &str) -> Vec<Vec<String>> {
    let (mut pages, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = app.get(&format!("/v1/admin/users?{query}&cursor={cursor}")).by(root).await;
        let page = page.expect(StatusCode::OK).json();
        let emails = page["items"].as_array().unwrap().iter();
        pages.push(emails.map(|user| user["email"].as_str().unwrap().to_owned()).collect());
        match page["next_cursor"].as_str() {
            Some(next) => next.clone_into(&mut cursor),
            None => return pages,
        }
    }
}

#[tokio::test]
async fn every_account_is_on_one_page() {
    let app = TestApp::new().await;
    let root = app.admin("root@example.com").await;
    // In the order of their bytes, whatever a database makes of punctuation.
    let emails = ["a.z@x", "a-b@x", "a_c@x", "aa@x", "a+1@x", "a@x", "b@x", "a~@x", "a1@x"];
    accounts(&app, emails.map(str::to_owned)).await;
    let mut sorted: Vec<String> = emails.iter().map(|email| (*email).to_owned()).collect();
    sorted.push("root@example.com".to_owned());
    sorted.sort();
    for limit in [1, 3, 9, 10, 200] {
        let pages = walk(&app, &root, &format!("limit={limit}")).await;
        assert!(
            pages.iter().all(|page| page.len() <= limit) && pages.len() == 10usize.div_ceil(limit),
            "{limit}"
        );
        assert_eq!(pages.concat(), sorted, "{limit}");
    }
    assert_eq!(walk(&app, &root, "search=A").await.concat(), sorted[..8]);
    assert_eq!(walk(&app, &root, "search=a.").await.concat(), ["a.z@x"]);
    assert_eq!(walk(&app, &root, "search=a%2b&limit=1").await.concat(), ["a+1@x"]);
    assert_eq!(walk(&app, &root, "search=a@x").await.concat(), ["a@x"]);
    for nothing in ["search=zz", "search=%25", "search=_", "search=%27%20OR%201=1"] {
        let answer = app.get(&format!("/v1/admin/users?{nothing}")).by(&root).await;
        assert!(
            answer.status == StatusCode::UNPROCESSABLE_ENTITY || answer.json()["items"] == json!([]),
            "{nothing}"
        );
    }
}

#[tokio::test]
async fn pages_of_odd_sizes_and_forged_cursors_are_refused() {
    let app = TestApp::new().await;
    let root = app.admin("root@example.com").await;
    accounts(&app, (0..3).map(|n| format!("{n}@example.com"))).await;
    let lists = ["/v1/admin/users", "/v1/admin/audit", "/v1/audit"];
    for list in lists {
        for limit in ["0", "-1", "1000000", "201", "1.5", "abc", "%00", "99999999999999999999"] {
            let answer = app.get(&format!("{list}?limit={limit}")).by(&root).await;
            assert_eq!(answer.invalid_fields(), ["limit"], "{list} {limit}");
        }
        for cursor in ["x", "AAAA", "%00", "eyJhIjoxfQ", &"A".repeat(64), &"A".repeat(4000)] {
            let answer = app.get(&format!("{list}?cursor={cursor}")).by(&root).await;
            assert_eq!(answer.invalid_fields(), ["cursor"], "{list} {cursor}");
        }
        let both = app.get(&format!("{list}?limit=1&limit=2&cursor=x")).by(&root).await;
        assert_eq!(both.invalid_fields(), ["cursor", "limit"]);
    }
    // A cursor is good for the list that gave it, and for no other.
    let mut cursors = Vec::new();
    for list in lists {
        let page = app.get(&format!("{list}?limit=1")).by(&root).await.expect(StatusCode::OK).json();
        cursors.push(page["next_cursor"].as_str().unwrap().to_owned());
    }
    for (of, cursor) in cursors.iter().enumerate() {
        for (at, list) in lists.iter().enumerate() {
            let answer = app.get(&format!("{list}?cursor={cursor}")).by(&root).await;
            assert_eq!(answer.status == StatusCode::OK, of == at, "{of} {list}");
        }
    }
    for search in ["%00", "%c3%a9", "a%20b", &"a".repeat(255)] {
        let answer = app.get(&format!("/v1/admin/users?search={search}")).by(&root).await;
        assert_eq!(answer.invalid_fields(), ["search"], "{search}");
    }
}
