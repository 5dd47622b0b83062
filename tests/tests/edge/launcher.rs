//! The launcher as a careless operator meets it.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use countersign_stack::artifacts::Artifacts;
use countersign_stack::stack::{Ports, Stack, State, Times};

use super::platform;

fn up(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let program = Artifacts::provide().unwrap().stack;
    Command::new(program).arg("up").args(arguments).envs(environment.iter().copied()).output().unwrap()
}

/// One line that says what is wrong, and a failure.
fn assert_one_clear_line(output: &Output, needle: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert_eq!(said.trim().lines().count(), 1, "{said}");
    assert!(said.contains(needle), "{said}");
}

#[test]
fn an_occupied_port_is_one_clear_line() {
    // Whoever has it, it is taken.
    let _held = TcpListener::bind(("127.0.0.1", Ports::LOCAL.alerts));
    assert_one_clear_line(&up(&[], &[]), "127.0.0.1:8083 (alerts)");
}

#[test]
fn a_missing_tool_is_one_clear_line() {
    let empty = tempfile::tempdir().unwrap();
    let path = empty.path().to_str().unwrap();
    assert_one_clear_line(&up(&["--once"], &[("PATH", path)]), "rustup is not installed");
    assert_one_clear_line(
        &up(&["--once"], &[("ENVOY_BIN", "/nowhere/envoy")]),
        "ENVOY_BIN names /nowhere/envoy",
    );
    let elsewhere = [("PATH", path), ("CARGO_TARGET_DIR", path)];
    assert_one_clear_line(&up(&["--once"], &elsewhere), "python3 is not installed");
}

#[tokio::test]
async fn a_broken_issuer_config_stops_the_start_with_its_reason() {
    let (stack, folder) = platform().await;
    let config = stack.state.issuer_config();
    stack.stop().await.unwrap();
    let good = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, good.replace("access_lifetime", "acess_lifetime")).unwrap();
    let error = start(folder.path()).await.expect_err("the issuer took an unknown key");
    assert!(error.contains("acess_lifetime") && error.contains("access_lifetime"), "{error}");
}

async fn start(folder: &Path) -> Result<Stack, String> {
    let (artifacts, state) = (Artifacts::provide().unwrap(), State::open(folder.join("up")).unwrap());
    Stack::start(artifacts, state, Ports::free().unwrap(), Times::DEFAULT, false)
        .await
        .map_err(|error| format!("{error:#}"))
}

#[tokio::test]
async fn accounts_and_keys_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (artifacts, state) = (Artifacts::provide().unwrap(), State::open(folder.path().join("up")).unwrap());
    let ports = Ports::free().unwrap();
    let stack = Stack::start(artifacts.clone(), state.clone(), ports, Times::DEFAULT, false).await.unwrap();
    let token = super::token(&stack, "ada@example.com").await;
    stack.stop().await.unwrap();

    let stack = Stack::start(artifacts, state, ports, Times::DEFAULT, false).await.unwrap();
    let answer =
        reqwest::Client::new().get(stack.edge_url("/v1/users/me")).bearer_auth(token).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    stack.stop().await.unwrap();
}

#[tokio::test]
async fn a_second_stack_does_not_touch_the_state_of_the_first() {
    let (stack, folder) = platform().await;
    let refused = State::open(folder.path().join("up")).expect_err("two stacks share a folder").to_string();
    assert!(refused.contains("in use by another cargo up"), "{refused}");
    stack.stop().await.unwrap();
    State::open(folder.path().join("up")).unwrap();
}

#[tokio::test]
async fn what_is_there_is_kept_when_the_admin_password_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let (artifacts, state) = (Artifacts::provide().unwrap(), State::open(folder.path().join("up")).unwrap());
    let ports = Ports::free().unwrap();
    let stack = Stack::start(artifacts.clone(), state.clone(), ports, Times::DEFAULT, false).await.unwrap();
    let config = std::fs::read_to_string(state.issuer_config()).unwrap();
    let token = super::token(&stack, "ada@example.com").await;
    stack.stop().await.unwrap();

    let password = state.admin_password();
    // Lost for good, and as a start that was killed between account and file leaves it.
    for left in [None, Some(password.with_extension("pending"))] {
        match left {
            None => std::fs::remove_file(&password).unwrap(),
            Some(pending) => std::fs::write(pending, "kept from the start that was killed").unwrap(),
        }
        let stack =
            Stack::start(artifacts.clone(), state.clone(), ports, Times::DEFAULT, false).await.unwrap();
        assert_eq!(std::fs::read_to_string(state.issuer_config()).unwrap(), config);
        let answer = reqwest::Client::new()
            .get(stack.edge_url("/v1/users/me"))
            .bearer_auth(&token)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
        stack.stop().await.unwrap();
    }
    assert!(password.exists());
}

#[tokio::test]
async fn stopping_leaves_no_port_taken() {
    let (stack, _folder) = platform().await;
    let ports = stack.ports;
    stack.stop().await.unwrap();
    for (name, port) in ports.named() {
        TcpListener::bind(("127.0.0.1", port)).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[tokio::test]
async fn a_killed_launcher_leaves_no_process_behind() {
    let program = Artifacts::provide().unwrap().stack;
    let mut launcher =
        Command::new(program).args(["up", "--once"]).stdout(std::process::Stdio::null()).spawn().unwrap();
    let children =
        |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let mut started = Vec::new();
    while started.len() < 5 {
        assert_eq!(launcher.try_wait().unwrap(), None, "the launcher ended with {started:?} started");
        started = children(launcher.id()).split_whitespace().map(str::to_owned).collect();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    launcher.kill().unwrap();
    launcher.wait().unwrap();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while let Some(alive) = started.iter().find(|pid| is_running(pid)) {
        assert!(tokio::time::Instant::now() < deadline, "process {alive} is still there");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A process that has ended and waits to be reaped by init runs no more.
fn is_running(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}
