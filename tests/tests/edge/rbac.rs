//! What the filter has found out, in the hands of Envoy's own RBAC filter and access log.

use std::time::Duration;

use countersign_claims::AccessClaims;
use countersign_tests::host::{Issuer, jwks};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::alone::{Alone, PATIENCE};
use super::module;

const TEMPLATE: &str = include_str!("rbac.yaml");

fn token(sub: &str, session_id: &str) -> String {
    let (sub, session_id) = (sub.into(), Some(session_id.into()));
    let times = AccessClaims { iat: None, exp: 4_000_000_000, ..Issuer::claims() };
    Issuer::new("k1", 1).token(&AccessClaims { sub, session_id, ..times })
}

async fn start() -> Alone {
    let config = json!({
        "issuer": "user_service", "audiences": ["trading_platform"], "keys": {"inline": jwks([&Issuer::new("k1", 1)])},
        "filter_state": ["rule", "reason", "subject", "session"],
        "rules": [
            {"name": "open", "match": {"prefix": "/open/"}, "allow": "anyone"},
            {"name": "watched", "match": {"prefix": "/watched/"}, "allow": {"role": "admin"}, "mode": "observe"},
            {"name": "api", "match": {"prefix": "/"}, "allow": "authenticated"},
        ],
    });
    let module = module();
    let bootstrap =
        TEMPLATE.replace("$MODULE", module.to_str().unwrap()).replace("$CONFIG", &config.to_string());
    Alone::start(&bootstrap).await
}

/// The status, and the entry in the access log.
async fn get(edge: &Alone, path: &str, token: Option<&str>) -> (u16, Value) {
    let mut request = reqwest::Client::new().get(edge.url(path));
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let status = request.send().await.unwrap().status().as_u16();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let log = edge.log();
        let entries = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        // It is written a moment later.
        if let Some(entry) = entries.into_iter().find(|entry| entry["path"] == path) {
            return (status, entry);
        }
        assert!(Instant::now() < deadline, "{log}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// What the README shows is what is tried here.
#[test]
fn the_readmes_policy_is_one_of_these() {
    let readme = include_str!("../../../filter/README.md");
    let policy = readme.lines().find(|line| line.contains("wasm.countersign_subject, ")).unwrap().trim();
    assert!(TEMPLATE.contains(policy), "{policy}");
}

#[tokio::test]
async fn rbac_decides_by_subject_session_rule_and_reason_and_logs_tell_them() {
    let edge = start().await;
    let (ada, suspended, stolen) =
        (token("u-ada", "s-1"), token("u-suspended", "s-2"), token("u-ada", "s-stolen"));
    let nothing = Value::Null;
    for (path, token, status, told) in [
        ("/1", Some(&ada), 200, json!(["api", nothing, "u-ada", "s-1"])),
        ("/2", Some(&suspended), 403, json!(["api", nothing, "u-suspended", "s-2"])),
        ("/3", Some(&stolen), 403, json!(["api", nothing, "u-ada", "s-stolen"])),
        ("/4", None, 401, json!(["api", "missing_token", nothing, nothing])),
        // A rule that only observes lets it through with its reason, and RBAC makes the refusal of one of them.
        ("/watched/5", Some(&ada), 403, json!(["watched", "permission_denied", "u-ada", "s-1"])),
        ("/watched/6", None, 200, json!(["watched", "missing_token", nothing, nothing])),
        // Where nobody is looked at, nobody is known.
        ("/open/7", Some(&suspended), 200, json!(["open", nothing, nothing, nothing])),
    ] {
        let (seen, entry) = get(&edge, path, token.map(String::as_str)).await;
        assert_eq!(seen, status, "{path}: {entry}");
        let logged = ["rule", "reason", "subject", "session"].map(|name| entry[name].clone());
        assert_eq!(Value::from(logged.to_vec()), told, "{path}");
    }
    edge.stop().await;
}
