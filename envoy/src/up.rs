//! `cargo up`: the platform for a person, and the tour of it.

use std::path::PathBuf;

use anyhow::{Result, ensure};

use crate::artifacts::Artifacts;
use crate::process::Interrupt;
use crate::stack::{ADMIN_EMAIL, Ports, Stack, State, Times};
use crate::{tools, tour};

/// What a person may choose.
#[derive(Debug, Default, clap::Args)]
pub struct Choices {
    /// Empty the folder first: accounts, keys and logs of earlier runs are gone
    #[arg(long)]
    fresh: bool,
    /// Listen on N and the six ports after it: edge, issuer, its internal port, backend, ticker, alerts, Envoy's admin page
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1024..=i64::from(Ports::HIGHEST_BASE)))]
    port_base: Option<u16>,
    /// Keep accounts, keys and logs here [default: target/up; with --port-base N, target/up-N]
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
}

impl Choices {
    fn ports(&self) -> Ports {
        self.port_base.map_or(Ports::LOCAL, Ports::from_base)
    }

    fn folder(&self) -> Result<PathBuf> {
        match (&self.folder, self.port_base) {
            (Some(folder), _) => Ok(std::path::absolute(folder)?),
            // What is kept there says on which ports it runs.
            (None, Some(base)) => Ok(tools::target().join(format!("up-{base}"))),
            (None, None) => Ok(tools::target().join("up")),
        }
    }
}

/// Runs the platform until Ctrl-C, or until a service fails.
pub async fn run(choices: &Choices) -> Result<()> {
    let artifacts = Artifacts::provide()?;
    let (state, ports) = (State::open(choices.folder()?)?, choices.ports());
    if choices.fresh {
        ports.check_free()?;
        state.empty()?;
    }
    let mut interrupt = Interrupt::listen()?;
    let mut stack = tokio::select! {
        stack = Stack::start(artifacts, state, ports, Times::DEFAULT, true) => stack?,
        () = interrupt.came() => return Ok(()),
    };
    println!("{}", try_it(&stack, names_a_proxy()));
    let outcome = tokio::select! {
        failure = stack.failure() => Err(failure),
        () = interrupt.came() => Ok(()),
    };
    println!("stopping: requests under way are answered first; Ctrl-C again stops at once");
    let stopped = tokio::select! {
        stopped = stack.stop() => stopped,
        () = interrupt.came() => Ok(()),
    };
    // Why a service failed is told last, and before whatever stopping met.
    outcome.and(stopped)
}

/// Whether the environment would send `curl` to a proxy.
fn names_a_proxy() -> bool {
    ["http_proxy", "all_proxy", "ALL_PROXY"]
        .iter()
        .any(|name| std::env::var_os(name).is_some_and(|v| !v.is_empty()))
}

/// Commands that work when pasted, in this order; `proxied` is whether there is a proxy to get around.
pub fn try_it(stack: &Stack, proxied: bool) -> String {
    let direct = if proxied { "\n  export no_proxy=localhost" } else { "" };
    let edge = format!("localhost:{}", stack.ports.edge);
    let admin = stack.state.admin_password();
    let known = if admin.exists() { "stands in" } else { "is not known any more; it was kept in" };
    format!(
        r#"
The platform is up. Try it in another terminal:
{direct}
  curl -s {edge}/v1/auth/register -H 'content-type: application/json' -d '{{"email":"ada@example.com","password":"a calm orange lighthouse","name":"Ada"}}'
  TOKEN=$(curl -s {edge}/v1/auth/login -H 'content-type: application/json' -d '{{"email":"ada@example.com","password":"a calm orange lighthouse"}}' | python3 -c 'import json,sys; print(json.load(sys.stdin)["access_token"])')
  curl -s {edge}/api/positions -H "authorization: Bearer $TOKEN"
  curl -s {edge}/api/positions
  curl -s {edge}/alerts -H "authorization: Bearer $TOKEN" -H 'content-type: application/json' -d '{{"symbol":"AAPL","above":200}}'
  curl -sN --max-time 2 "{edge}/ws/quotes?token=$TOKEN" -H 'connection: Upgrade' -H 'upgrade: websocket' -H 'sec-websocket-version: 13' -H 'sec-websocket-key: Y291bnRlcnNpZ24gdGljaw==' --output -

The administrator is {ADMIN_EMAIL}; the password {known} {}.
E-mail is not sent: each message is a file in {}.
Envoy's admin page: http://localhost:{}. Ctrl-C stops everything.
"#,
        admin.display(),
        stack.state.mail().display(),
        stack.ports.admin,
    )
}

/// Runs the tour on free ports and leaves its findings in `tour.json`.
pub async fn tour(choices: &Choices) -> Result<()> {
    let artifacts = Artifacts::provide()?;
    let home = choices.folder()?;
    let state = State::open(home.join("tour"))?;
    state.empty()?;
    let report = tour::run(artifacts, state).await?;
    report.write_json(&home.join("tour.json"))?;
    println!("{report}");
    ensure!(report.holds(), "the tour failed; the logs are in {}", home.join("tour/logs").display());
    Ok(())
}
