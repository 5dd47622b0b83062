//! What the issuer says of itself, and whether it keeps to it.

use std::path::Path;

use countersign_stack::stack::{ADMIN_EMAIL, Stack};
use countersign_stack::tools;
use serde_json::Value;
use tempfile::TempDir;

use super::clients::{program, run};
use super::{platform, token};

/// A platform whose issuer lets everyone fail, and have messages sent, as often as they like.
async fn patient_platform() -> (Stack, TempDir) {
    let (mut stack, folder) = platform().await;
    stack.stop_service("issuer").await.unwrap();
    let file = stack.state.issuer_config();
    let config = std::fs::read_to_string(&file).unwrap();
    let limits = "\n[limits]\nfailures_per_account = 1000\nfailures_per_address = 1000000\nmessages_per_address = 1000000\n";
    std::fs::write(&file, config + limits).unwrap();
    stack.start_issuer().await.unwrap();
    (stack, folder)
}

fn python(module: &str) -> std::process::Command {
    let mut python = program("python3");
    python.args(["-m", module]).env("PYTHONPATH", tools::openapi_checkers().unwrap());
    python
}

async fn document(stack: &Stack) -> Value {
    reqwest::get(stack.issuer_url("/v1/openapi.json")).await.unwrap().json().await.unwrap()
}

async fn internal_document(stack: &Stack) -> Value {
    let url = format!("http://127.0.0.1:{}/v1/internal/openapi.json", stack.ports.internal);
    reqwest::get(url).await.unwrap().json().await.unwrap()
}

/// How many calls a document describes.
fn calls(document: &Value) -> usize {
    let paths = document["paths"].as_object().unwrap();
    paths.values().map(|methods| methods.as_object().unwrap().len()).sum()
}

#[tokio::test]
async fn the_documents_are_openapi() {
    let (stack, folder) = platform().await;
    for document in [document(&stack).await, internal_document(&stack).await] {
        let file = folder.path().join("openapi.json");
        std::fs::write(&file, document.to_string()).unwrap();
        let mut validator = python("openapi_spec_validator");
        validator.args(["--schema", "3.1"]).arg(&file);
        run(validator).await;
    }
    stack.stop().await.unwrap();
}

/// Calls everything in the document as this user, in all ways that it may be called and in many that it may not.
async fn called_by(stack: &Stack, folder: &Path, email: &str, password: &str) -> Value {
    let report = folder.join("report.json");
    let mut schemathesis = python("schemathesis.cli");
    schemathesis
        .arg("--config-file")
        .arg(tools::workspace().join("tests/openapi/schemathesis.toml"))
        .arg("run")
        .arg(stack.issuer_url("/v1/openapi.json"))
        .arg("--report-json-path")
        .arg(&report)
        .env("EMAIL", email)
        .env("PASSWORD", password)
        .current_dir(folder);
    run(schemathesis).await;
    serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap()
}

#[tokio::test]
async fn every_call_answers_as_the_document_says_to_a_user_and_to_an_administrator() {
    let (stack, folder) = patient_platform().await;
    for person in ["ada", "bob", "eve"] {
        token(&stack, &format!("{person}@example.com")).await;
    }
    let all = calls(&document(&stack).await);
    let user = called_by(&stack, folder.path(), "ada@example.com", "a calm orange lighthouse").await;
    let password = std::fs::read_to_string(stack.state.admin_password()).unwrap();
    let admin = called_by(&stack, folder.path(), ADMIN_EMAIL, password.trim()).await;
    for report in [&user, &admin] {
        assert_eq!(report["operations"]["tested"], all, "{report}");
        assert_eq!(report["auth"]["reauth_broke"], false, "{report}");
    }
    // That most calls refuse all that they are sent would mean that nobody was logged in.
    assert!(done_for(&admin) > all / 2, "{admin}");
    stack.stop().await.unwrap();
}

/// How many calls did what they were asked at least once.
fn done_for(report: &Value) -> usize {
    let calls = report["valid_rates"].as_object().unwrap().values();
    let done = |phases: &Value| phases.as_object().unwrap().values().any(|phase| phase["accepted"] != 0);
    calls.filter(|phases| done(phases)).count()
}
