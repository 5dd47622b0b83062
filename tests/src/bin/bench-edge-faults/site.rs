//! A platform of a part's own: issuers on one database, Envoys with the bootstrap and the plugin configuration that people
//! copy, and a stand-in behind them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use countersign_stack::process::{self, Service};
use countersign_stack::stack::{Ports, State, Times, free_port, issuer_config};
use countersign_tests::bench::edge::{Counters, Edge, Processor};
use countersign_tests::bench::wire::{self, Connection};
use sqlx::AssertSqlSafe;
use sqlx::any::{AnyPoolOptions, install_default_drivers};
use tokio::time::{Instant, sleep};

use crate::Bench;
use crate::report::Finding;
use crate::upstream::Upstream;

/// How long a part of it may take until it works.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is not as `cargo up` has it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan<'a> {
    pub(crate) name: &'a str,
    /// PostgreSQL; SQLite otherwise.
    pub(crate) database: Option<&'a str>,
    pub(crate) issuers: usize,
    /// All of them read from the first issuer.
    pub(crate) edges: usize,
    pub(crate) workers: u32,
    pub(crate) processor: Processor,
    pub(crate) times: Times,
    /// Sessions that have ended before the issuer starts.
    pub(crate) revocations: u64,
    /// Makes the bootstrap another one.
    pub(crate) bootstrap: fn(&str) -> Result<String>,
}

impl Plan<'static> {
    pub(crate) const PLAIN: Self = Self {
        name: "",
        database: None,
        issuers: 1,
        edges: 1,
        workers: 2,
        processor: Processor::Any,
        times: Times::DEFAULT,
        revocations: 0,
        bootstrap: |bootstrap| Ok(bootstrap.to_owned()),
    };
}

/// Dropped, all of it is killed; [`stop`](Self::stop) stops it in order.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) state: State,
    pub(crate) edges: Vec<Edge>,
    pub(crate) issuers: Vec<Issuer>,
    /// Of the first issuer.
    internal: u16,
    _upstream: Upstream,
}

impl Site {
    pub(crate) async fn start(bench: &Bench, plan: Plan<'_>) -> Result<Self> {
        bench.say(&format!("{}: a platform", plan.name));
        let ports = Ports::free()?;
        let state = State::open(bench.folder.join(plan.name))?;
        state.empty()?;
        if let Some(url) = plan.database {
            write_config(&state.issuer_config(), ports, plan.times, url)?;
        }
        state.prepare(&bench.artifacts, ports, plan.times)?;
        if plan.revocations > 0 {
            fill_in_revocations(&state, plan.revocations).await?;
        }
        let upstream = Upstream::start([ports.backend, ports.ticker])?;
        let mut issuers = Vec::new();
        let first = Issuer::new(&bench.artifacts.issuer, state.issuer_config(), ports.issuer);
        issuers.push(first.start(&state.logs()).await?);
        for number in 1..plan.issuers {
            let port = free_port()?;
            let config = fs::read_to_string(state.issuer_config())?;
            let config = replace(&config, &address(ports.issuer), &address(port))?;
            let config = replace(&config, &address(ports.internal), &address(free_port()?))?;
            let file = state.issuer_config().with_file_name(format!("issuer-{number}.toml"));
            fs::write(&file, config)?;
            issuers.push(Issuer::new(&bench.artifacts.issuer, file, port).start(&state.logs()).await?);
        }
        let mut site =
            Self { state, edges: Vec::new(), issuers, internal: ports.internal, _upstream: upstream };
        for number in 0..plan.edges {
            site.add_edge(bench, plan, ports, number).await?;
        }
        Ok(site)
    }

    async fn add_edge(&mut self, bench: &Bench, plan: Plan<'_>, ports: Ports, number: usize) -> Result<()> {
        let mut bootstrap = (plan.bootstrap)(&fs::read_to_string(self.state.bootstrap())?)?;
        if number > 0 {
            for port in [ports.edge, ports.admin] {
                let value = |port: u16| format!("port_value: {port} ");
                bootstrap = replace(&bootstrap, &value(port), &value(free_port()?))?;
            }
        }
        let folder = self.state.logs().join(format!("edge-{number}"));
        let token = fs::read_to_string(self.state.service_token())?;
        let (envoy, workers) = (&bench.artifacts.envoy, plan.workers);
        let edge =
            Edge::start(envoy, &bootstrap, &folder, workers, plan.processor, Some(token.trim())).await?;
        self.edges.push(edge);
        if !bootstrap.contains("name: countersign\n") {
            return Ok(());
        }
        self.wait_for(number, "the filter has keys and revocations", |counters| {
            let has = |name: &str| counters.get(name).is_some_and(|value| *value > 0);
            has("wasmcustom.countersign_keys")
                && has("wasmcustom.countersign_revocation_fetches.result.ok")
                && counters.get("wasmcustom.countersign_revocations").copied().unwrap_or_default()
                    >= plan.revocations
        })
        .await
    }

    /// Waits until what an Envoy counts is as wanted.
    pub(crate) async fn wait_for(
        &self,
        edge: usize,
        what: &str,
        wanted: impl Fn(&Counters) -> bool,
    ) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !wanted(&self.edges[edge].counters_now("wasmcustom|extension_config_discovery").await?) {
            ensure!(Instant::now() < deadline, "waited {} s until {what}", PATIENCE.as_secs());
            sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Where clients come.
    pub(crate) fn port(&self) -> u16 {
        self.edges[0].port()
    }

    /// Runs the operator's command on the issuer's configuration.
    pub(crate) async fn operate(&self, arguments: &[&str]) -> Result<()> {
        let issuer = &self.issuers[0];
        let mut command = process::command(&issuer.program);
        let output = command.arg("--config").arg(&issuer.config).args(arguments).output().await?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{}: {}", arguments.join(" "), said.trim());
        Ok(())
    }

    /// What the first issuer counts of something: all its series together.
    pub(crate) async fn issuer_counts(&self, name: &str) -> Result<f64> {
        let mut connection = Connection::open(self.internal).await?;
        let answer = connection.exchange(&wire::get("/metrics", None)).await?;
        let text = String::from_utf8_lossy(answer.body);
        let series = text.lines().filter(|line| line.starts_with(name));
        Ok(series.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum())
    }

    /// That no VM has trapped.
    pub(crate) async fn traps(&self) -> Result<Finding> {
        let (mut count, mut notes) = (0, Vec::new());
        for (number, edge) in self.edges.iter().enumerate() {
            // `wasm.countersign.vm_reload` and what else Envoy counts of VMs that have failed.
            let failed = |name: &str| {
                name.starts_with("wasm.")
                    && ["reload", "fail", "crash"].iter().any(|word| name.contains(word))
            };
            for (name, value) in edge.counters_now("wasm").await? {
                if failed(&name) && value > 0 {
                    count += usize::try_from(value)?;
                    notes.push(format!("edge {number}: {name} {value}"));
                }
            }
            let log = edge.log()?;
            for line in log.lines().filter(|line| line.contains("panicked") || line.contains("RuntimeError"))
            {
                count += 1;
                notes.push(format!("edge {number}: {line}"));
            }
        }
        Ok(Finding::never("VMs that trapped", count, &notes))
    }

    pub(crate) async fn stop(mut self) -> Result<()> {
        for edge in self.edges.drain(..) {
            edge.stop().await?;
        }
        for issuer in &mut self.issuers {
            issuer.stop().await?;
        }
        Ok(())
    }
}

/// One issuer, which may be away.
#[derive(Debug)]
pub(crate) struct Issuer {
    program: PathBuf,
    config: PathBuf,
    logs: PathBuf,
    pub(crate) port: u16,
    service: Option<Service>,
}

impl Issuer {
    fn new(program: &Path, config: PathBuf, port: u16) -> Self {
        Self { program: program.into(), config, logs: PathBuf::new(), port, service: None }
    }

    async fn start(mut self, logs: &Path) -> Result<Self> {
        self.logs = logs.join(self.port.to_string());
        fs::create_dir_all(&self.logs)?;
        self.come().await?;
        Ok(self)
    }

    /// Starts it, and waits until it answers.
    pub(crate) async fn come(&mut self) -> Result<()> {
        let mut command = process::command(&self.program);
        command.arg("--config").arg(&self.config).arg("serve");
        let service = self.service.insert(Service::start("issuer", &mut command, &self.logs, false)?);
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = service.has_ended() {
                bail!("the issuer ended while starting: {status}\n{}", service.last_words().await);
            }
            if let Ok(mut connection) = Connection::open(self.port).await
                && let Ok(answer) = connection.exchange(&wire::get("/readyz", None)).await
                && answer.status == 200
            {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "the issuer is not ready");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Asks it to stop.
    pub(crate) async fn stop(&mut self) -> Result<()> {
        match self.service.take() {
            Some(service) => service.stop().await,
            None => Ok(()),
        }
    }

    /// Ends it without a word, and waits until it is gone.
    pub(crate) async fn kill(&mut self) {
        drop(self.service.take());
        while Connection::open(self.port).await.is_ok() {
            sleep(Duration::from_millis(5)).await;
        }
    }
}

/// The issuer's configuration on PostgreSQL, where it is kept: what is there is not written again.
fn write_config(file: &Path, ports: Ports, times: Times, url: &str) -> Result<()> {
    fs::create_dir_all(file.parent().context("a configuration without a folder")?)?;
    fs::write(file, replace(&issuer_config(ports, times)?, "sqlite:issuer.db", url)?)?;
    Ok(())
}

fn address(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

/// Every occurrence, and there must be one.
pub(crate) fn replace(text: &str, from: &str, to: &str) -> Result<String> {
    ensure!(text.contains(from), "there is no {from:?} to replace");
    Ok(text.replace(from, to))
}

/// Rows as the issuer writes them when a session ends, alive for longer than any run.
async fn fill_in_revocations(state: &State, count: u64) -> Result<()> {
    install_default_drivers();
    let url = format!("sqlite:{}", state.issuer_config().with_file_name("issuer.db").display());
    let pool = AnyPoolOptions::new().max_connections(1).connect(&url).await.context("no database")?;
    let rows = format!(
        "INSERT INTO revocations (sequence, session_id, expires_at)
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})
         SELECT i, '01900000-0009-7000-8000-' || (100000000000 + i), 4102444800 FROM n"
    );
    let counter = format!("UPDATE counters SET value = {count} WHERE name = 'revocations'");
    for statement in [rows, counter] {
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&pool).await?;
    }
    pool.close().await;
    Ok(())
}
