//! An Envoy without a platform: a bootstrap of the test's own, and Envoy's ports.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::time::Duration;

use countersign_stack::process::{self, Service};
use countersign_stack::tools;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Alone {
    service: Service,
    admin: String,
    /// Of the first listener.
    pub(crate) port: u16,
    /// Of all of them, in the order of their names.
    pub(crate) ports: Vec<u16>,
    folder: TempDir,
}

impl Alone {
    /// One with one worker. Waits until it listens. The bootstrap leaves its ports to Envoy.
    pub(crate) async fn start(bootstrap: &str) -> Self {
        Self::start_with(bootstrap, 1, &[]).await
    }

    /// With so many workers, and with this in its environment.
    pub(crate) async fn start_with(bootstrap: &str, workers: u8, environment: &[(&str, &OsStr)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        std::fs::write(file("envoy.yaml"), bootstrap).unwrap();
        let mut command = process::command(&tools::envoy().unwrap());
        command.arg("--config-path").arg(file("envoy.yaml")).arg("--admin-address-path").arg(file("admin"));
        command.args([
            "--disable-hot-restart",
            "--log-level",
            "warning",
            "--file-flush-interval-msec",
            "100",
        ]);
        command.arg("--concurrency");
        command.arg(workers.to_string()).envs(environment.iter().copied());
        let service = Service::start("envoy", &mut command, folder.path(), false).unwrap();
        let mut envoy = Self { service, admin: String::new(), port: 0, ports: Vec::new(), folder };
        let deadline = Instant::now() + PATIENCE;
        while envoy.port == 0 {
            assert_eq!(envoy.service.has_ended(), None, "{}", envoy.service.last_words().await);
            assert!(Instant::now() < deadline, "Envoy does not listen");
            sleep(Duration::from_millis(20)).await;
            envoy.admin = std::fs::read_to_string(envoy.folder.path().join("admin")).unwrap_or_default();
            envoy.ports = envoy.listening().await.unwrap_or_default();
            envoy.port = envoy.ports.first().copied().unwrap_or_default();
        }
        envoy
    }

    async fn listening(&self) -> Option<Vec<u16>> {
        reqwest::get(format!("http://{}/ready", self.admin)).await.ok()?.error_for_status().ok()?;
        let listeners: Value = serde_json::from_str(&self.ask("/listeners?format=json").await?).ok()?;
        let listeners = listeners["listener_statuses"].as_array()?.iter().map(|listener| {
            let port = listener["local_address"]["socket_address"]["port_value"].as_u64()?;
            Some((listener["name"].as_str()?.to_owned(), u16::try_from(port).ok().filter(|port| *port > 0)?))
        });
        Some(listeners.collect::<Option<BTreeMap<_, _>>>()?.into_values().collect())
    }

    /// What the admin page says.
    pub(crate) async fn ask(&self, path: &str) -> Option<String> {
        reqwest::get(format!("http://{}{path}", self.admin)).await.ok()?.text().await.ok()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.service.log).unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let id = self.service.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
        kill_process(id.unwrap(), signal).unwrap();
    }

    /// That no VM has trapped: Envoy would have said so, and begun to count. Returns the log with its end, which Envoy keeps
    /// back for a while.
    pub(crate) async fn stop(self) -> String {
        let crashes = self.ask("/stats?filter=vm_reload").await.unwrap();
        assert!(crashes.lines().all(|line| line.ends_with(": 0")), "{crashes}");
        let file = self.service.log.clone();
        self.service.stop().await.unwrap();
        let log = std::fs::read_to_string(file).unwrap();
        assert!(!log.contains("panicked") && !log.contains("RuntimeError"), "{log}");
        log
    }
}
