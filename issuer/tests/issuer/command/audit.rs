//! `countersign audit`: the events, proved and handed over.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use countersign_issuer::ambient::Ids;
use countersign_issuer::audit::sealer;
use countersign_issuer::db::{self, Schema};
use serde_json::Value;

use super::users::run_with_password;
use super::{countersign, fails, run};
use crate::stage::{Folder, PASSWORD};

async fn seal(folder: &Folder, more: &'static str) {
    let db = db::open(&folder.settings(), Schema::Expect, &Ids::system()).await.unwrap();
    sealer::seal(&db).await.unwrap();
    let work = db.write(async move |tx| Ok(sqlx::query(more).execute(tx.connection()).await?));
    work.await.unwrap();
    db.close().await;
}

#[tokio::test]
async fn events_are_proved_and_handed_over() {
    let folder = Folder::new("").for_a_process();
    assert_eq!(run(&folder, &["migrate"]).code, 0);
    let nothing = run(&folder, &["audit", "verify"]);
    assert!(nothing.code == 0 && nothing.out.ends_with("head: 0:\n"), "{} {}", nothing.out, nothing.err);
    for email in ["ada@example.com", "bob@example.com"] {
        let create = ["users", "create", "--email", email, "--name", "Some One", "--password-stdin"];
        assert_eq!(run_with_password(&folder, &create, PASSWORD).code, 0);
    }
    seal(&folder, "UPDATE counters SET value = value").await;
    assert_eq!(run(&folder, &["users", "deactivate", "bob@example.com"]).code, 0);

    let proof = run(&folder, &["audit", "verify"]);
    assert_eq!(proof.code, 0, "{}", proof.err);
    let lines: Vec<&str> = proof.out.lines().collect();
    assert_eq!(lines[0], "sealed events, all as they were written: 2");
    assert_eq!(lines[1], "waiting to be sealed, none of them changed: 1");
    let head = lines[2].strip_prefix("head: ").unwrap();
    assert_eq!(run(&folder, &["audit", "verify", "--head", head]).code, 0);
    let later = head.replacen('2', "3", 1);
    fails(&folder, &["audit", "verify", "--head", &later], "events were cut off");
    assert_eq!(run(&folder, &["audit", "verify", "--head", "2:zz"]).code, 2);

    let export = run(&folder, &["audit", "export"]).out;
    let events: Vec<Value> = export.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let types: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["registered", "registered", "user_deactivated"]);
    assert_eq!((&events[1]["sequence"], &events[2]["sequence"]), (&2.into(), &Value::Null));
    assert_eq!(events[1]["seal"], head.split_once(':').unwrap().1);
    let table = run(&folder, &["audit", "export", "--csv"]).out;
    assert_eq!(table.lines().count(), 4);
    assert!(table.starts_with("sequence,id,at,type,") && table.contains("\"operator\""), "{table}");

    seal(&folder, "UPDATE audit_events SET actor = 'nobody' WHERE sequence = 2").await;
    fails(&folder, &["audit", "verify"], "the audit is not whole: event 2 (");
}

/// Three thousand that wait: more than are read at a time, and more than a pipe holds.
const MANY: &str = "INSERT INTO audit_events (id, at, type, outcome)
    WITH RECURSIVE many (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM many WHERE n < 3000)
    SELECT 'e' || CAST(10000 + n AS TEXT), 1795176000, 'login', 'success' FROM many";

#[tokio::test]
async fn an_export_has_every_event_once_though_they_are_sealed_meanwhile() {
    let folder = Folder::new("").for_a_process();
    assert_eq!(run(&folder, &["migrate"]).code, 0);
    let create = ["users", "create", "--email", "ada@example.com", "--name", "Ada", "--password-stdin"];
    assert_eq!(run_with_password(&folder, &create, PASSWORD).code, 0);
    seal(&folder, MANY).await;
    let mut command = countersign(&folder.config());
    let mut export = command.args(["audit", "export"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(export.stdout.take().unwrap()).lines().map(Result::unwrap);
    // It has printed what was sealed, and waits in the midst of the others until somebody reads on.
    let first = lines.next().unwrap();
    seal(&folder, "UPDATE counters SET value = value").await;
    let events = std::iter::once(first).chain(lines);
    let ids: Vec<String> = events
        .map(|line| serde_json::from_str::<Value>(&line).unwrap()["id"].as_str().unwrap().to_owned())
        .collect();
    assert!(export.wait().unwrap().success());
    assert_eq!((ids.len(), ids.iter().collect::<BTreeSet<_>>().len()), (3001, 3001));
}
