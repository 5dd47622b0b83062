//! Real Envoy, real issuer, real clients: what the tour does not try.

#![expect(clippy::duplicate_mod, reason = "what concerns the filter runs with both builds of it")]

mod abi;
mod alone;
mod browsers;
mod clients;
mod clock;
mod figures;
mod forms;
mod guide;
mod hostile;
mod hostile_exchange;
mod hostile_feed;
mod hostile_keys;
mod identity;
mod indicators;
mod interleaved;
mod internal_tls;
mod issuer_routes;
mod launcher;
mod live;
mod malformed_tokens;
mod observed;
mod openapi;
mod places;
mod pressure;
mod raw;
mod rbac;
mod readings;
mod sdk;
mod services;
mod stage;
mod try_it;
mod upgrades;

use std::path::Path;
use std::sync::LazyLock;

use countersign_stack::artifacts::Artifacts;
use countersign_stack::stack::{Ports, Stack, State, Times};
use tempfile::TempDir;

/// What is tried here, asked of cargo once.
static ARTIFACTS: LazyLock<Artifacts> = LazyLock::new(|| Artifacts::provide().unwrap());

fn module() -> &'static Path {
    &ARTIFACTS.filter
}

/// A platform of one test's own. The folder goes with it.
async fn platform() -> (Stack, TempDir) {
    start(ARTIFACTS.clone()).await
}

async fn start(artifacts: Artifacts) -> (Stack, TempDir) {
    let folder = tempfile::tempdir().unwrap();
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
