//! Real Envoy, real issuer, real clients: what the tour does not try.

mod browsers;
mod guide;
mod hostile;
mod launcher;
mod observed;
mod raw;
mod readings;
mod try_it;

use countersign_stack::artifacts::Artifacts;
use countersign_stack::stack::{Ports, Stack, State, Times};
use tempfile::TempDir;

/// A platform of one test's own. The folder goes with it.
async fn platform() -> (Stack, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let artifacts = Artifacts::provide().unwrap();
    let state = State::open(folder.path().join("up")).unwrap();
    let stack = Stack::start(artifacts, state, Ports::free().unwrap(), Times::DEFAULT, false).await.unwrap();
    (stack, folder)
}

/// A new person's access token.
async fn token(stack: &Stack, email: &str) -> String {
    let account = serde_json::json!({"email": email, "password": "a calm orange lighthouse", "name": "Ada"});
    let answer =
        reqwest::Client::new().post(stack.edge_url("/v1/auth/register")).json(&account).send().await.unwrap();
    let status = answer.status();
    let body: serde_json::Value = answer.json().await.unwrap();
    assert_eq!(status, 201, "{body}");
    body["access_token"].as_str().unwrap().to_owned()
}
