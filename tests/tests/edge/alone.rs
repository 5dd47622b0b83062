//! An Envoy without a platform: a bootstrap of the test's own, and Envoy's ports.

use std::time::Duration;

use countersign_stack::process::{self, Service};
use countersign_stack::tools;
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Alone {
    service: Service,
    admin: String,
    pub(crate) port: u16,
    folder: TempDir,
}

impl Alone {
    /// Waits until it listens. The bootstrap leaves its ports to Envoy.
    pub(crate) async fn start(bootstrap: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        std::fs::write(file("envoy.yaml"), bootstrap).unwrap();
        let mut command = process::command(&tools::envoy().unwrap());
        command.arg("--config-path").arg(file("envoy.yaml")).arg("--admin-address-path").arg(file("admin"));
        command.args(["--disable-hot-restart", "--log-level", "warning", "--concurrency", "1"]);
        let service = Service::start("envoy", &mut command, folder.path(), false).unwrap();
        let mut envoy = Self { service, admin: String::new(), port: 0, folder };
        let deadline = Instant::now() + PATIENCE;
        while envoy.port == 0 {
            assert_eq!(envoy.service.has_ended(), None, "{}", envoy.service.last_words().await);
            assert!(Instant::now() < deadline, "Envoy does not listen");
            sleep(Duration::from_millis(20)).await;
            envoy.admin = std::fs::read_to_string(envoy.folder.path().join("admin")).unwrap_or_default();
            envoy.port = envoy.listening().await.unwrap_or_default();
        }
        envoy
    }

    async fn listening(&self) -> Option<u16> {
        reqwest::get(format!("http://{}/ready", self.admin)).await.ok()?.error_for_status().ok()?;
        let listeners: Value = serde_json::from_str(&self.ask("/listeners?format=json").await?).ok()?;
        listeners["listener_statuses"][0]["local_address"]["socket_address"]["port_value"]
            .as_u64()
            .and_then(|port| port.try_into().ok())
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

    /// That no VM has trapped.
    pub(crate) async fn stop(self) {
        let log = self.log();
        assert!(!log.contains("panicked") && !log.contains("RuntimeError"), "{log}");
        self.service.stop().await.unwrap();
    }
}
