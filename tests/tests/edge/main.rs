//! Real Envoy, real issuer, real clients: what the tour does not try.

#![expect(clippy::duplicate_mod, reason = "what concerns the filter runs with both builds of it")]

mod abi;
mod alone;
mod browsers;
mod clients;
mod figures;
mod guide;
mod hostile;
mod indicators;
mod issuer_routes;
mod launcher;
mod observed;
mod openapi;
mod raw;
mod rbac;
mod readings;
mod sdk;
mod try_it;

use std::path::PathBuf;

use countersign_stack::artifacts::{self, Artifacts};
use countersign_stack::stack::{Ports, Stack, State, Times};
use tempfile::TempDir;

fn module() -> PathBuf {
    artifacts::filter().unwrap()
}

/// A platform of one test's own. The folder goes with it.
async fn platform() -> (Stack, TempDir) {
    start(Artifacts::provide().unwrap()).await
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
