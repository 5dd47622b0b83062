//! Clients and services that people have, unchanged.

mod front_end;
mod oauth;
mod services;

use std::process::{Command, Output};

use countersign_stack::stack::Stack;

/// The edge under the name that browsers and metadata know it by.
fn localhost(stack: &Stack) -> String {
    stack.edge_url("").replace("127.0.0.1", "localhost")
}

/// A program that calls this machine only, whatever proxy the environment names.
pub(super) fn program(name: &str) -> Command {
    let mut command = Command::new(name);
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    for proxy in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env_remove(proxy);
    }
    command
}

/// Runs it to its end, which must be a good one, and returns what it said.
pub(super) async fn run(mut command: Command) -> String {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = tokio::task::spawn_blocking(move || command.output());
    let Output { status, stdout, stderr } =
        output.await.unwrap().unwrap_or_else(|error| panic!("cannot run {name}: {error}"));
    let said = String::from_utf8_lossy(&stdout).into_owned();
    assert!(status.success(), "{said}\n{}", String::from_utf8_lossy(&stderr));
    said
}
