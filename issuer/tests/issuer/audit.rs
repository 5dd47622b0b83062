//! What happened is shown to whom it concerns, and nothing of it is removed or changed unseen.

use std::collections::BTreeSet;

use countersign_issuer::audit::chain::{Flaw, Head};
use countersign_issuer::audit::sealer::{self, Outcome};
use countersign_issuer::audit::verify::{Proof, Unproved, verify};
use countersign_issuer::config::{Secret, Settings};
use countersign_issuer::secrets::Ring;
use futures_util::future::join_all;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::services::pieces_of_work;
use crate::stage::{Person, TestApp};

async fn proved(app: &TestApp, head: Option<&Head>) -> Result<Proof, Flaw> {
    let ring = Ring::from(&app.settings.archive_secrets());
    verify(&app.app.db, &ring, head).await.map_err(|unproved| match unproved {
        Unproved::Flaw(flaw) => flaw,
        Unproved::Database(error) => panic!("{error}"),
    })
}

async fn seal(app: &TestApp) -> usize {
    match sealer::seal(&app.app.db).await.unwrap() {
        Outcome::Done(count) => count,
        Outcome::Refused(flaw) => panic!("{flaw}"),
    }
}

/// Ten sealed events, one a minute.
async fn ten() -> (TestApp, Head) {
    let app = TestApp::new().await;
    app.registered("ada@example.com").await;
    for _ in 0..9 {
        app.pass(60);
        app.logged_in("ada@example.com").await;
    }
    assert_eq!(seal(&app).await, 10);
    let proof = proved(&app, None).await.unwrap();
    assert_eq!((proof.sealed, proof.unsealed, proof.head.sequence), (10, 0, 10));
    (app, proof.head)
}

#[tokio::test]
async fn what_was_changed_inserted_moved_or_removed_is_named() {
    // Each to the same ten events, by someone who has the database and no secret.
    let cases: &[(&[&str], &str)] = &[
        (&["UPDATE audit_events SET outcome = 'failure' WHERE sequence = 4"], "event 4 ("),
        (&["UPDATE audit_events SET at = at + 1 WHERE sequence = 4"], "event 4 ("),
        (&["UPDATE audit_events SET ip = '192.0.2.1' WHERE sequence = 4"], "event 4 ("),
        (&["UPDATE audit_events SET actor = NULL WHERE sequence = 1"], "event 1 ("),
        (&["UPDATE audit_events SET mac = NULL WHERE sequence = 4"], "event 4 ("),
        (&["UPDATE audit_events SET seal = NULL WHERE sequence = 4"], "event 4 ("),
        (&["DELETE FROM audit_events WHERE sequence = 4"], "event 4 is missing"),
        (&["DELETE FROM audit_events WHERE sequence = 1"], "event 1 is missing"),
        (&["DELETE FROM audit_events WHERE sequence = 10"], "event 10 is missing"),
        (&["DELETE FROM audit_events WHERE sequence > 7"], "event 8 is missing"),
        (&["DELETE FROM audit_events"], "event 1 is missing"),
        // Taken out and closed up.
        (
            &[
                "DELETE FROM audit_events WHERE sequence = 4",
                "UPDATE audit_events SET sequence = sequence - 1 WHERE sequence > 4",
            ],
            "event 4 (",
        ),
        // Exchanged: the numbers, or the numbers with the seals.
        (&["UPDATE audit_events SET sequence = 9 - sequence WHERE sequence IN (4, 5)"], "event 4 ("),
        (
            &[
                "CREATE TABLE old AS SELECT sequence, seal FROM audit_events WHERE sequence IN (4, 5)",
                "UPDATE audit_events SET sequence = 9 - sequence WHERE sequence IN (4, 5)",
                "UPDATE audit_events SET seal = (SELECT seal FROM old WHERE old.sequence = audit_events.sequence)
                 WHERE sequence IN (4, 5)",
            ],
            "event 4 (",
        ),
        // Taken back out of the chain.
        (&["UPDATE audit_events SET sequence = NULL, seal = NULL WHERE sequence = 10"], "event 10 is missing"),
        // Inserted: in the middle, at the end, before the beginning, and to be sealed.
        (
            &["INSERT INTO audit_events (id, at, type, outcome, mac, sequence, seal)
               SELECT '0', at, type, outcome, mac, sequence, seal FROM audit_events WHERE sequence = 4"],
            "event 4 (0) ",
        ),
        (
            &["INSERT INTO audit_events (id, at, type, outcome, mac, sequence, seal)
               SELECT 'f', at, type, outcome, mac, sequence, seal FROM audit_events WHERE sequence = 4"],
            "event 4 (f) ",
        ),
        (
            &["INSERT INTO audit_events (id, at, type, outcome, mac, sequence, seal)
               SELECT '0', at, type, outcome, mac, 11, seal FROM audit_events WHERE sequence = 4"],
            "event 11 (0) ",
        ),
        (
            &["INSERT INTO audit_events (id, at, type, outcome, mac, sequence, seal)
               SELECT '0', at, type, outcome, mac, 0, seal FROM audit_events WHERE sequence = 4"],
            "event 0 (0) is outside",
        ),
        (
            &["INSERT INTO audit_events (id, at, type, outcome) VALUES ('0', 1, 'login', 'success')"],
            "event 0, which is not sealed yet, ",
        ),
        // The row that says how far the chain goes.
        (&["DELETE FROM audit_chain"], "is gone"),
        (&["UPDATE audit_chain SET sealed_to = 9"], "how far the events are sealed was changed"),
        (
            &[
                "DELETE FROM audit_events WHERE sequence = 10",
                "UPDATE audit_chain SET sealed_to = 9, seal = (SELECT seal FROM audit_events WHERE sequence = 9)",
            ],
            "how far the events are sealed was changed",
        ),
        (
            &[
                "UPDATE audit_chain SET removed_to = 4, removed_seal = (SELECT seal FROM audit_events WHERE sequence = 4)",
                "DELETE FROM audit_events WHERE sequence <= 4",
            ],
            "how far the events are sealed was changed",
        ),
    ];
    for (statements, expected) in cases {
        let (app, _) = ten().await;
        for statement in *statements {
            app.execute(statement).await;
        }
        let flaw = proved(&app, None).await.unwrap_err().to_string();
        assert!(flaw.contains(expected), "{statements:?}: {flaw}");
        // Sealing goes on or refuses, and hides nothing.
        app.logged_in("ada@example.com").await;
        let _ = sealer::seal(&app.app.db).await.unwrap();
        assert!(proved(&app, None).await.is_err(), "{statements:?}");
    }
}

#[tokio::test]
async fn a_head_that_was_kept_shows_an_older_copy_and_another_chain() {
    let (app, head) = ten().await;
    app.execute("CREATE TABLE old_chain AS SELECT * FROM audit_chain").await;
    app.logged_in("ada@example.com").await;
    seal(&app).await;
    let newest = proved(&app, Some(&head)).await.unwrap().head;
    assert_eq!(newest.sequence, 11);
    // As from a copy: everything fits, but for what was published since.
    app.execute("DELETE FROM audit_events WHERE sequence = 11").await;
    app.execute("DELETE FROM audit_chain").await;
    app.execute("INSERT INTO audit_chain SELECT * FROM old_chain").await;
    proved(&app, None).await.unwrap();
    proved(&app, Some(&head)).await.unwrap();
    let cut = proved(&app, Some(&newest)).await.unwrap_err();
    assert_eq!(cut, Flaw::CutOff { end: head.clone(), head: newest.clone() });
    // And on from there, with other events.
    app.logged_in("ada@example.com").await;
    seal(&app).await;
    let other = proved(&app, Some(&newest)).await.unwrap_err();
    assert_eq!(other, Flaw::Replaced { sequence: 11, head: newest });
}

#[tokio::test]
async fn a_chain_that_is_gone_is_not_begun_anew() {
    let (app, _) = ten().await;
    app.execute("DELETE FROM audit_chain").await;
    assert_eq!(sealer::seal(&app.app.db).await.unwrap(), Outcome::Refused(Flaw::NoChain));
}

#[tokio::test]
async fn events_of_a_version_without_a_chain_are_taken_into_it_once() {
    let app = TestApp::new().await;
    app.registered("ada@example.com").await;
    for _ in 0..300 {
        app.app
            .db
            .write(async move |tx| {
                let old =
                    "INSERT INTO audit_events (id, at, type, outcome) VALUES ($1, 1, 'login', 'success')";
                let id = tx.new_id().to_string();
                Ok(sqlx::query(old).bind(id).execute(tx.connection()).await?)
            })
            .await
            .unwrap();
    }
    assert_eq!(seal(&app).await, 301);
    assert_eq!(proved(&app, None).await.unwrap().sealed, 301);
    // One that comes later is none of ours, whether it is sealed or not.
    app.execute("INSERT INTO audit_events (id, at, type, outcome) VALUES ('0', 1, 'login', 'success')").await;
    assert_eq!(proved(&app, None).await.unwrap_err(), Flaw::Unsealed { id: "0".into() });
    seal(&app).await;
    assert_eq!(proved(&app, None).await.unwrap_err(), Flaw::Changed { sequence: 302, id: "0".into() });
}

#[tokio::test]
async fn what_retention_removed_breaks_nothing_and_what_is_not_whole_stays() {
    let (app, head) = ten().await;
    let minute = |n: i64| crate::stage::noon().plus(60 * n);
    let retire = async |n| sealer::retire(&app.app.db, minute(n)).await.unwrap();
    assert_eq!(retire(4).await, Outcome::Done(4));
    let proof = proved(&app, Some(&head)).await.unwrap();
    assert_eq!((proof.sealed, proof.removed.sequence, proof.head), (6, 4, head.clone()));
    proved(&app, Some(&proof.removed)).await.unwrap();
    let older = Head { sequence: 3, ..proof.removed.clone() };
    assert_eq!(proved(&app, Some(&older)).await.unwrap_err(), Flaw::Older { head: older });
    // More than retention has removed shows, and a forged date makes nothing go.
    app.execute("UPDATE audit_events SET at = 0 WHERE sequence = 5").await;
    assert!(matches!(retire(4).await, Outcome::Refused(Flaw::Changed { sequence: 5, .. })));
    app.execute("DELETE FROM audit_events WHERE sequence = 5").await;
    assert_eq!(proved(&app, None).await.unwrap_err(), Flaw::Missing(5));
    assert_eq!(retire(9).await, Outcome::Refused(Flaw::Missing(5)));
}

#[tokio::test]
async fn a_few_events_are_sealed_by_one_transaction() {
    let (app, _) = ten().await;
    app.logged_in("ada@example.com").await;
    let before = pieces_of_work(&app);
    assert_eq!(seal(&app).await, 1);
    assert!((pieces_of_work(&app) - before - 1.0).abs() < 0.5);
}

#[tokio::test]
async fn everything_may_be_removed_and_the_chain_goes_on() {
    let (app, head) = ten().await;
    app.pass(3600);
    let cutoff = app.clock.now();
    app.logged_in("ada@example.com").await;
    // What is not sealed yet is never removed.
    assert_eq!(sealer::retire(&app.app.db, cutoff.plus(1)).await.unwrap(), Outcome::Done(10));
    let proof = proved(&app, Some(&head)).await.unwrap();
    assert_eq!((proof.sealed, proof.unsealed, proof.removed), (0, 1, head));
    assert_eq!(seal(&app).await, 1);
    assert_eq!(proved(&app, None).await.unwrap().head.sequence, 11);
}

#[tokio::test]
async fn a_secret_that_was_replaced_still_proves_the_events_of_its_time() {
    let (app, head) = ten().await;
    let replace = |settings: &mut Settings, text: &str| {
        std::mem::replace(&mut settings.secrets.current, Secret::new(text.as_bytes()))
    };
    let app = app
        .restarted(|settings| {
            let before = replace(settings, "another secret of these tests, and of none other");
            settings.audit.old_secrets.push(before);
        })
        .await;
    app.logged_in("ada@example.com").await;
    seal(&app).await;
    assert_eq!(proved(&app, Some(&head)).await.unwrap().head.sequence, 11);
    // Without it, the events since are proved, and those before are not.
    let app = app.restarted(|settings| settings.audit.old_secrets.clear()).await;
    assert!(matches!(proved(&app, None).await.unwrap_err(), Flaw::Changed { sequence: 1, .. }));
    let app =
        app.restarted(|settings| drop(replace(settings, "a third secret, when the others are lost"))).await;
    assert_eq!(proved(&app, None).await.unwrap_err(), Flaw::ChainChanged);
    app.logged_in("ada@example.com").await;
    assert_eq!(sealer::seal(&app.app.db).await.unwrap(), Outcome::Refused(Flaw::ChainChanged));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_issuers_write_seal_and_remove_at_once_and_the_chain_holds() {
    let one = TestApp::new().await;
    let two = one.beside().await;
    one.registered("ada@example.com").await;
    let logins = (0..40).map(|n| {
        let app = if n % 2 == 0 { &one } else { &two };
        let wrong = json!({"email": format!("{n}@example.com"), "password": "wrong wrong wrong"});
        app.post("/v1/auth/login", wrong).into_future()
    });
    let sealing = async |app: &TestApp| {
        for _ in 0..20 {
            seal(app).await;
            tokio::task::yield_now().await;
        }
    };
    // Whoever verifies meanwhile finds nothing amiss.
    let verifying = async {
        for _ in 0..20 {
            proved(&one, None).await.unwrap();
        }
    };
    let removing = async {
        for _ in 0..10 {
            let removed = sealer::retire(&two.app.db, two.clock.now().plus(1)).await.unwrap();
            assert!(matches!(removed, Outcome::Done(_)), "{removed:?}");
            tokio::task::yield_now().await;
        }
    };
    let (answers, ..) = tokio::join!(join_all(logins), sealing(&one), sealing(&two), verifying, removing);
    seal(&one).await;
    // On a busy machine the database may be too slow for some: these have failed for nobody, and are in no audit.
    let busy = answers.iter().filter(|answer| answer.status == StatusCode::SERVICE_UNAVAILABLE).count();
    let failed = answers.iter().filter(|answer| answer.status == StatusCode::UNAUTHORIZED).count();
    assert_eq!(failed + busy, 40);
    let events = i64::try_from(failed).unwrap() + 1;
    let proof = proved(&two, None).await.unwrap();
    assert_eq!((proof.head.sequence, proof.unsealed), (events, 0), "{busy} were turned away");
    assert_eq!(proof.sealed + proof.removed.sequence.unsigned_abs(), events.unsigned_abs());
}

/// The ids of every page, newest first, and the largest page.
async fn walk(app: &TestApp, person: &Person, path: &str) -> (Vec<String>, usize) {
    let (mut ids, mut largest, mut cursor) = (Vec::new(), 0, String::new());
    loop {
        let page = app.get(&format!("{path}&cursor={cursor}")).by(person).await.expect(StatusCode::OK).json();
        let items = page["items"].as_array().unwrap();
        largest = largest.max(items.len());
        ids.extend(items.iter().map(|event| event["id"].as_str().unwrap().to_owned()));
        match page["next_cursor"].as_str() {
            Some(next) => next.clone_into(&mut cursor),
            None => return (ids, largest),
        }
    }
}

#[tokio::test]
async fn one_sees_ones_own_events_newest_first_and_no_others() {
    let (app, _) = ten().await;
    let ada = app.logged_in("ada@example.com").await;
    app.registered("bob@example.com").await;
    let page = app.get("/v1/audit?limit=2").by(&ada).await.expect(StatusCode::OK).json();
    let fields: BTreeSet<&str> = page["items"][0].as_object().unwrap().keys().map(String::as_str).collect();
    let expected =
        ["id", "at", "type", "outcome", "actor", "subject", "ip", "device", "session_id", "request_id"];
    assert_eq!(fields, BTreeSet::from(expected));
    assert_eq!(
        (&page["items"][1]["type"], &page["items"][1]["outcome"]),
        (&json!("login"), &json!("success"))
    );
    assert_eq!(page["items"][1]["subject"], ada.id);
    let (ids, largest) = walk(&app, &ada, "/v1/audit?limit=4").await;
    assert_eq!((ids.len(), largest), (11, 4));
    assert!(ids[2..].windows(2).all(|pair| pair[0] > pair[1]), "{ids:?}");
    app.get("/v1/audit").await.refused(401, "missing_token");
}

#[tokio::test]
async fn where_an_administrator_was_is_not_told_to_whom_they_changed() {
    let app = TestApp::new().await;
    let root = app.admin("root@example.com").await;
    let ada = app.registered("ada@example.com").await;
    let path = format!("/v1/admin/users/{}", ada.id);
    let roles = json!({"roles": ["user", "admin"]});
    let call = app.call(Method::PATCH, &path).by(&root).json(roles).header("user-agent", "Root's");
    call.from("198.51.100.7:1").await.expect(StatusCode::OK);
    let find = |page: Value| {
        let events = page["items"].as_array().unwrap().clone();
        events.into_iter().find(|event| event["type"] == "role_changed").unwrap()
    };
    let mine = find(app.get("/v1/audit").by(&ada).await.json());
    assert_eq!((&mine["actor"], &mine["ip"], &mine["device"]), (&json!(root.id), &Value::Null, &Value::Null));
    let all = find(app.get(&format!("/v1/admin/audit?subject={}", ada.id)).by(&root).await.json());
    assert_eq!((&all["ip"], &all["device"]), (&json!("198.51.100.7"), &json!("Root's")));
}

#[tokio::test]
async fn administrators_filter_by_what_whom_who_and_when() {
    let app = TestApp::new().await;
    let root = app.admin("root@example.com").await;
    let ada = app.registered("ada@example.com").await;
    for _ in 0..5 {
        app.pass(60);
        app.logged_in("ada@example.com").await;
        let wrong = json!({"email": "ada@example.com", "password": "wrong wrong wrong"});
        app.post("/v1/auth/login", wrong).await.refused(401, "invalid_credentials");
    }
    let count =
        async |query: &str| walk(&app, &root, &format!("/v1/admin/audit?limit=3&{query}")).await.0.len();
    let ada = &ada.id;
    assert_eq!(count("type=login_failed").await, 5);
    assert_eq!(count(&format!("subject={ada}")).await, 11);
    assert_eq!(count(&format!("actor={ada}")).await, 6);
    assert_eq!(count(&format!("subject={ada}&actor={ada}&type=login")).await, 5);
    assert_eq!(count(&format!("subject={ada}&type=role_changed")).await, 0);
    assert_eq!(count("actor=operator").await, 1);
    assert_eq!(
        count(&format!("subject={ada}&since=2026-11-20T12:02:00Z&until=2026-11-20T12:04:00Z")).await,
        4
    );
    assert_eq!(count("since=2026-11-20T12:05:00%2B00:00&type=login_failed").await, 1);
    assert_eq!(count("until=2026-11-20T12:00:00Z").await, 0);
    assert_eq!(count("since=2026-11-21T00:00:00Z").await, 0);
    for (query, fields) in [
        ("type=nonsense", vec!["type"]),
        ("since=yesterday&until=2026-11-20", vec!["since", "until"]),
        ("subject=%00&actor=%c3%a9", vec!["actor", "subject"]),
        ("type=login&type=logout", vec!["type"]),
    ] {
        let answer = app.get(&format!("/v1/admin/audit?{query}")).by(&root).await;
        assert_eq!(answer.invalid_fields(), fields, "{query}");
    }
}

#[tokio::test]
async fn a_page_looks_at_a_bounded_number_of_events_and_all_of_them_are_found() {
    let app = TestApp::new().await;
    let root = app.admin("root@example.com").await;
    let ada = app.registered("ada@example.com").await;
    for batch in 0..25 {
        let subject = ada.id.clone();
        let work = app.app.db.write(async move |tx| {
            for n in batch * 100..(batch + 1) * 100 {
                // The newest of all and the oldest are of the kind that is looked for.
                let kind = if n == 0 || n == 2499 { "user_deleted" } else { "logout" };
                let event = "INSERT INTO audit_events (id, at, type, outcome, subject)
                             VALUES ($1, 1, $2, 'success', $3)";
                let id = format!("{n:08}-0000-7000-8000-000000000000");
                let event = sqlx::query(event).bind(id).bind(kind).bind(subject.clone());
                event.execute(tx.connection()).await?;
            }
            Ok(())
        });
        work.await.unwrap();
    }
    let path = format!("/v1/admin/audit?subject={}&type=user_deleted", ada.id);
    let first = app.get(&path).by(&root).await.json();
    assert!(first["items"].as_array().unwrap().len() == 1 && first["next_cursor"].is_string(), "{first}");
    assert_eq!(walk(&app, &root, &path).await.0.len(), 2, "of all pages");
}
