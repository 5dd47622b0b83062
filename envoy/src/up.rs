//! `cargo up`: the platform for a person, and the tour of it.

use anyhow::{Result, ensure};
use tokio::signal::unix::{SignalKind, signal};

use crate::artifacts::Artifacts;
use crate::stack::{ADMIN_EMAIL, Ports, Stack, State, Times};
use crate::{tools, tour};

/// Runs the platform on the ports that clients know until Ctrl-C, or until a service fails.
pub async fn run(fresh: bool) -> Result<()> {
    let artifacts = Artifacts::provide()?;
    let state = State::open(tools::target().join("up"))?;
    if fresh {
        Ports::LOCAL.check_free()?;
        state.empty()?;
    }
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut stack = tokio::select! {
        stack = Stack::start(artifacts, state, Ports::LOCAL, Times::DEFAULT, true) => stack?,
        _ = interrupt.recv() => return Ok(()),
        _ = terminate.recv() => return Ok(()),
    };
    println!("{}", try_it(&stack));
    let outcome = tokio::select! {
        failure = stack.failure() => Err(failure),
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    };
    println!("stopping");
    stack.stop().await?;
    outcome
}

/// Commands that work when pasted, in this order.
pub fn try_it(stack: &Stack) -> String {
    let edge = format!("localhost:{}", stack.ports.edge);
    let admin = stack.state.admin_password();
    let known = if admin.exists() { "stands in" } else { "is not known any more; it was kept in" };
    format!(
        r#"
The platform is up. Try it in another terminal:

  curl -s {edge}/v1/auth/register -H 'content-type: application/json' -d '{{"email":"ada@example.com","password":"a calm orange lighthouse","name":"Ada"}}'
  TOKEN=$(curl -s {edge}/v1/auth/login -H 'content-type: application/json' -d '{{"email":"ada@example.com","password":"a calm orange lighthouse"}}' | python3 -c 'import json,sys; print(json.load(sys.stdin)["access_token"])')
  curl -s {edge}/api/positions -H "authorization: Bearer $TOKEN"
  curl -s {edge}/api/positions
  curl -s {edge}/alerts -H "authorization: Bearer $TOKEN" -H 'content-type: application/json' -d '{{"symbol":"AAPL","above":200}}'
  curl -sN --max-time 2 "{edge}/ws/quotes?token=$TOKEN" -H 'connection: Upgrade' -H 'upgrade: websocket' -H 'sec-websocket-version: 13' -H 'sec-websocket-key: Y291bnRlcnNpZ24gdGljaw==' --output -

The administrator is {ADMIN_EMAIL}; the password {known} {}.
Envoy's admin page: http://localhost:{}. Ctrl-C stops everything.
"#,
        admin.display(),
        stack.ports.admin,
    )
}

/// Runs the tour on free ports and leaves its findings in `target/up/tour.json`.
pub async fn tour() -> Result<()> {
    let artifacts = Artifacts::provide()?;
    let home = tools::target().join("up");
    let state = State::open(home.join("tour"))?;
    state.empty()?;
    let report = tour::run(artifacts, state).await?;
    report.write_json(&home.join("tour.json"))?;
    println!("{report}");
    ensure!(report.holds(), "the tour failed; the logs are in {}", home.join("tour/logs").display());
    Ok(())
}
