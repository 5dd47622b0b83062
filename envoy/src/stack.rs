//! The platform as real processes: issuer, Envoy with the filter, and three stand-in services.

mod ports;
mod state;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use tokio::time::{Instant, sleep};

pub use ports::{Ports, free_port};
pub use state::{ADMIN_EMAIL, State, Times, issuer_config};
pub(crate) use state::{random_hex, run_quietly, write_secret};

use crate::artifacts::Artifacts;
use crate::process::{self, Service};
use ports::loopback;

/// How long requests under way may take to end once we are to stop.
const DRAIN: Duration = Duration::from_secs(10);

/// How long a service may take until it answers.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running platform. Dropped, it is killed; [`stop`](Self::stop) stops it in order.
#[derive(Debug)]
pub struct Stack {
    pub ports: Ports,
    pub state: State,
    artifacts: Artifacts,
    services: Vec<Service>,
    echo: bool,
}

impl Stack {
    /// Writes what the state lacks, starts everything and waits until a token would be verified at the edge.
    ///
    /// With `echo` the services' logs are copied to the terminal.
    pub async fn start(
        artifacts: Artifacts,
        state: State,
        ports: Ports,
        times: Times,
        echo: bool,
    ) -> Result<Self> {
        ports.check_free()?;
        state.prepare(&artifacts, ports, times)?;
        let mut stack = Self { ports, state, artifacts, services: Vec::new(), echo };
        stack.start_issuer().await?;
        for (name, port) in [("backend", ports.backend), ("ticker", ports.ticker), ("alerts", ports.alerts)] {
            stack.start_standin(name, port)?;
        }
        stack.start_envoy()?;
        stack.wait_until_verifying().await?;
        Ok(stack)
    }

    pub async fn start_issuer(&mut self) -> Result<()> {
        let mut command = process::command(&self.artifacts.issuer);
        command.arg("--config").arg(self.state.issuer_config()).arg("serve");
        self.spawn("issuer", &mut command)?;
        let ready = self.issuer_url("/readyz");
        self.wait_for("issuer", &ready, |_| true).await
    }

    fn start_standin(&mut self, name: &'static str, port: u16) -> Result<()> {
        let mut command = process::command(&self.artifacts.stack);
        command.args(["standin", name, "--listen"]).arg(loopback(port).to_string());
        if name == "ticker" {
            command.arg("--issuer").arg(loopback(self.ports.internal).to_string());
            command.env("COUNTERSIGN_SERVICE_TOKEN", secret(&self.state.ticker_token())?);
        }
        self.spawn(name, &mut command)
    }

    fn start_envoy(&mut self) -> Result<()> {
        let mut command = process::command(&self.artifacts.envoy);
        command.arg("--config-path").arg(self.state.bootstrap());
        // Several stacks may run on one machine; hot restart would have them share memory.
        command.args(["--disable-hot-restart", "--log-level", "warning", "--concurrency", "2"]);
        // Who has made a request wants to see it in the log, and not ten seconds later.
        command.args(["--file-flush-interval-msec", "200"]);
        command.env("COUNTERSIGN_SERVICE_TOKEN", secret(&self.state.service_token())?);
        self.spawn("envoy", &mut command)
    }

    fn spawn(&mut self, name: &'static str, command: &mut tokio::process::Command) -> Result<()> {
        let service = Service::start(name, command, &self.state.logs(), self.echo)?;
        self.services.push(service);
        Ok(())
    }

    /// The edge is up once Envoy has its listener, and verifies once the filter has its keys.
    async fn wait_until_verifying(&mut self) -> Result<()> {
        let stats = self.admin_url("/stats?filter=countersign_keys$");
        self.wait_for("envoy", &stats, |stats| {
            stats.lines().any(|line| line.rsplit_once(": ").is_some_and(|(_, value)| value != "0"))
        })
        .await
        .context("the edge verifies no token; Envoy's log says what its filter lacks")
    }

    async fn wait_for(&mut self, name: &str, url: &str, satisfied: impl Fn(&str) -> bool) -> Result<()> {
        let client = http_client();
        let deadline = Instant::now() + PATIENCE;
        loop {
            for service in &mut self.services {
                if let Some(status) = service.has_ended() {
                    let words = service.last_words().await;
                    bail!("{} ended while starting: {status}; {words}", service.name);
                }
            }
            if let Ok(answer) = client.get(url).send().await
                && answer.status().is_success()
                && satisfied(&answer.text().await.unwrap_or_default())
            {
                return Ok(());
            }
            if Instant::now() > deadline {
                let logs = self.state.logs();
                bail!("{name} is not ready at {url} after {} s; see {}", PATIENCE.as_secs(), logs.display());
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until any service ends by itself: it should not.
    pub async fn failure(&mut self) -> anyhow::Error {
        let waits = self.services.iter_mut().map(|service| {
            Box::pin(async {
                let status = service.ended().await;
                (service.name, status, service.last_words().await)
            })
        });
        let ((name, status, words), ..) = futures_util::future::select_all(waits).await;
        match status {
            Ok(status) => anyhow!("{name} ended: {status}; {words}"),
            Err(error) => anyhow!(error).context(format!("lost {name}")),
        }
    }

    /// Stops one service, as an outage would.
    pub async fn stop_service(&mut self, name: &str) -> Result<()> {
        let at = self.services.iter().position(|service| service.name == name);
        let at = at.with_context(|| format!("{name} does not run"))?;
        self.services.remove(at).stop().await
    }

    /// Stops everything, the edge first: it ends what it has begun and begins nothing new.
    pub async fn stop(mut self) -> Result<()> {
        if self.services.iter().any(|service| service.name == "envoy") {
            self.drain().await;
            self.stop_service("envoy").await?;
        }
        while let Some(service) = self.services.pop() {
            service.stop().await?;
        }
        Ok(())
    }

    /// Waits until Envoy has answered the requests under way. A WebSocket has no end to wait for.
    async fn drain(&self) {
        let client = http_client();
        // Answers from now on close their connection, and no new one is taken.
        for wish in ["/healthcheck/fail", "/drain_listeners"] {
            // An Envoy that does not answer has nothing to finish.
            if client.post(self.admin_url(wish)).send().await.is_err() {
                return;
            }
        }
        let deadline = Instant::now() + DRAIN;
        while Instant::now() < deadline && self.requests_under_way(&client).await.is_some_and(|n| n > 0) {
            sleep(Duration::from_millis(20)).await;
        }
        // An answer is counted as given when it is written, a moment before it is sent.
        sleep(Duration::from_millis(50)).await;
    }

    async fn requests_under_way(&self, client: &reqwest::Client) -> Option<i64> {
        let stats = client.get(self.admin_url("/stats?filter=^http.edge.downstream_")).send().await.ok()?;
        let stats = stats.text().await.ok()?;
        let gauge = |name: &str| -> Option<i64> {
            stats.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")?.parse().ok())
        };
        Some(gauge("http.edge.downstream_rq_active")? - gauge("http.edge.downstream_cx_upgrades_active")?)
    }

    /// Runs the operator's command on this stack's configuration and returns what it printed.
    pub fn operate(&self, arguments: &[&str]) -> Result<String> {
        let mut command = std::process::Command::new(&self.artifacts.issuer);
        run_quietly(command.arg("--config").arg(self.state.issuer_config()).args(arguments), "")
    }

    pub fn edge_url(&self, path: &str) -> String {
        url(self.ports.edge, path)
    }

    pub fn issuer_url(&self, path: &str) -> String {
        url(self.ports.issuer, path)
    }

    pub fn admin_url(&self, path: &str) -> String {
        url(self.ports.admin, path)
    }

    /// Everything that Envoy and the services have logged so far, with the file it stands in.
    pub fn logs(&self) -> Result<Vec<(PathBuf, String)>> {
        let mut logs = Vec::new();
        for entry in std::fs::read_dir(self.state.logs())? {
            let path = entry?.path();
            let text = String::from_utf8_lossy(&std::fs::read(&path)?).into_owned();
            logs.push((path, text));
        }
        Ok(logs)
    }
}

fn secret(file: &Path) -> Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

/// A client for what runs on this machine: never by a proxy that the environment names.
pub fn http_client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap_or_default()
}

fn url(port: u16, path: &str) -> String {
    format!("http://127.0.0.1:{port}{path}")
}
