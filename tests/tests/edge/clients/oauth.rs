//! Generic OAuth clients in Python.

use countersign_stack::stack::{Ports, Stack, State, Times};
use countersign_stack::tools;

use super::super::{ARTIFACTS, token};
use super::{localhost, program, run};

/// A platform whose tokens name the URL of the metadata as their issuer, which is what clients validate (RFC 8414 §3.3).
async fn platform_with_a_url_for_issuer() -> (Stack, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let artifacts = ARTIFACTS.clone();
    let ports = Ports::free().unwrap();
    let start = async || {
        let state = State::open(folder.path().join("up")).unwrap();
        Stack::start(artifacts.clone(), state, ports, Times::DEFAULT, false).await.unwrap()
    };
    let stack = start().await;
    let files = [(stack.state.issuer_config(), "issuer = "), (stack.state.plugin(), "\"issuer\": ")];
    let url = localhost(&stack);
    stack.stop().await.unwrap();
    for (file, name) in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let edited = text.replace(&format!("{name}\"user_service\""), &format!("{name}\"{url}\""));
        assert_ne!(edited, text, "{}", file.display());
        std::fs::write(file, edited).unwrap();
    }
    (start().await, folder)
}

#[tokio::test]
async fn clients_that_know_oauth_log_in_refresh_revoke_and_validate() {
    let (stack, _folder) = platform_with_a_url_for_issuer().await;
    token(&stack, "ada@example.com").await;
    let add = ["services", "add", "ticker", "--scope", "alerts:read", "--scope", "alerts:write"];
    let secret = stack.operate(&add).unwrap();
    let mut python = program("python3");
    python
        .arg(tools::workspace().join("tests/clients/oauth.py"))
        .args([&localhost(&stack), "ada@example.com", "a calm orange lighthouse", secret.trim()])
        .env("PYTHONPATH", tools::python_clients().unwrap())
        // The edge of a test speaks plain http.
        .env("OAUTHLIB_INSECURE_TRANSPORT", "1")
        .env("AUTHLIB_INSECURE_TRANSPORT", "1");
    let said = run(python).await;
    assert_eq!(said.lines().filter(|line| line.starts_with("ok ")).count(), 6, "{said}");
    stack.stop().await.unwrap();
}
