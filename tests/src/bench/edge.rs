//! One running Envoy: what it is told, what it counts, what it costs.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use countersign_stack::process::{self, Service};
use serde_json::Value;
use tokio::time::{Instant, sleep};

/// How long Envoy may take until it listens.
const PATIENCE: Duration = Duration::from_secs(20);

/// Our filter tells its counters every 200 ms.
const METRICS_SETTLE: Duration = Duration::from_millis(300);

/// Where a process may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Processor {
    Any,
    /// Only there, so that Envoy and its load do not take turns.
    Only(u32),
}

#[derive(Debug)]
pub struct Edge {
    service: Service,
    pid: u32,
    port: u16,
    admin: String,
    http: reqwest::Client,
    /// From its start until it listened.
    pub started_in: Duration,
}

pub type Counters = BTreeMap<String, u64>;

impl Edge {
    /// Starts Envoy and waits until it listens. `service_token`: for a filter that asks the issuer.
    pub async fn start(
        envoy: &Path,
        config: &str,
        folder: &Path,
        workers: u32,
        processor: Processor,
        service_token: Option<&str>,
    ) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let (config_file, admin_file) = (folder.join("envoy.yaml"), folder.join("admin"));
        fs::write(&config_file, config)?;
        fs::write(&admin_file, "")?;
        let mut command = process::command(Path::new("/bin/sh"));
        // Access logs stand on standard output: reading them would be work of ours.
        command.args(["-c", r#"exec "$@" >/dev/null"#, "sh"]).args(pinned(processor));
        command.arg(envoy).arg("--config-path").arg(&config_file);
        command.arg("--admin-address-path").arg(&admin_file);
        command.args(["--disable-hot-restart", "--log-level", "warning"]);
        command.args(["--concurrency", &workers.to_string()]);
        command.envs(service_token.map(|token| ("COUNTERSIGN_SERVICE_TOKEN", token)));
        let started = Instant::now();
        let service = Service::start("envoy", &mut command, folder, false)?;
        let pid = service.id().context("Envoy has no process id")?;
        let mut edge = Self {
            service,
            pid,
            port: 0,
            admin: String::new(),
            http: reqwest::Client::new(),
            started_in: Duration::ZERO,
        };
        while edge.port == 0 {
            if let Some(status) = edge.service.has_ended() {
                bail!("Envoy ended while starting: {status}\n{}", edge.service.last_words().await);
            }
            let log = &edge.service.log;
            ensure!(started.elapsed() < PATIENCE, "Envoy does not listen; see {}", log.display());
            sleep(Duration::from_millis(2)).await;
            edge.admin = fs::read_to_string(&admin_file)?;
            edge.port = edge.listening().await.unwrap_or_default();
        }
        edge.started_in = started.elapsed();
        Ok(edge)
    }

    /// The port of the listener, once all workers serve.
    async fn listening(&self) -> Result<u16> {
        if self.admin.is_empty() {
            return Ok(0);
        }
        self.ask("/ready").await?;
        let listeners: Value = serde_json::from_str(&self.ask("/listeners?format=json").await?)?;
        let port = &listeners["listener_statuses"][0]["local_address"]["socket_address"]["port_value"];
        Ok(u16::try_from(port.as_u64().unwrap_or_default())?)
    }

    /// What the admin page says.
    pub async fn ask(&self, path: &str) -> Result<String> {
        let url = format!("http://{}{path}", self.admin);
        Ok(self.http.get(url).send().await?.error_for_status()?.text().await?)
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Sends one request with this credential.
    pub async fn request(&self, token: Option<&str>) -> Result<reqwest::Response> {
        let mut request = self.http.get(self.url("/api/positions"));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        Ok(request.send().await?)
    }

    /// The counters, once the filter has told its own.
    pub async fn counters(&self) -> Result<Counters> {
        sleep(METRICS_SETTLE).await;
        Ok(parse_counters(&self.ask("/stats?usedonly").await?))
    }

    /// What Envoy counts at this moment: what fits the expression.
    pub async fn counters_now(&self, which: &str) -> Result<Counters> {
        Ok(parse_counters(&self.ask(&format!("/stats?usedonly&filter={which}")).await?))
    }

    /// The time that it has spent on a processor.
    pub fn cpu_time(&self) -> Result<Duration> {
        super::process::cpu_time(&self.pid.to_string())
    }

    /// Resident memory in bytes.
    pub fn resident_bytes(&self) -> Result<u64> {
        super::process::resident_bytes(&self.pid.to_string())
    }

    /// What it has said of itself.
    pub fn log(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&fs::read(&self.service.log)?).into_owned())
    }

    pub async fn stop(self) -> Result<()> {
        self.service.stop().await
    }
}

/// What to put before a program to keep it on its processor: nothing if it may run anywhere.
pub fn pinned(processor: Processor) -> Vec<String> {
    match processor {
        Processor::Any => vec![],
        Processor::Only(number) => vec!["taskset".into(), "--cpu-list".into(), number.to_string()],
    }
}

/// How much a counter has grown.
pub fn delta(before: &Counters, after: &Counters, name: &str) -> u64 {
    let value = |counters: &Counters| counters.get(name).copied().unwrap_or_default();
    value(after).saturating_sub(value(before))
}

fn parse_counters(text: &str) -> Counters {
    text.lines()
        .filter_map(|line| line.rsplit_once(": "))
        .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_envoy_tells() {
        let counters = parse_counters("http.edge.downstream_rq_2xx: 7\nhistogram: No recorded values\n");
        assert_eq!(counters, BTreeMap::from([("http.edge.downstream_rq_2xx".to_owned(), 7)]));
    }
}
