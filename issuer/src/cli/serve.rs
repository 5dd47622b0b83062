//! `countersign serve`: everything is checked before the port opens.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};

use crate::ambient::{Clock, Entropy};
use crate::app::App;
use crate::config::{self, Finding, Hashing, Settings};
use crate::passwords::available_memory_kib;
use crate::tokens::reload::{Reloader, Watch};
use crate::tokens::{KeySet, LiveKeys, oversize};
use crate::{db, http, log, sessions};

/// More threads than this only wait: hashing has its own, and a request needs little else.
const MAX_WORKERS: usize = 4;

/// How often ended sessions are swept out.
const SWEEP: Duration = Duration::from_secs(3600);

pub(super) fn run(config: &Path) -> anyhow::Result<()> {
    let env = super::environment();
    let loaded = config::load(config, env.iter().cloned());
    let mut findings = loaded.findings;
    let clock = Clock::system();
    let started = loaded.settings.and_then(|settings| {
        let (keys, more) = examine(&settings, clock.now());
        findings.extend(more);
        Some((settings, keys?))
    });
    let sound = !findings.iter().any(Finding::is_error);
    let Some((settings, keys)) = started.filter(|_| sound) else {
        super::report(&findings)?;
        return Err(anyhow!("{}: cannot be used", config.display()));
    };
    log::install(&settings.log);
    http::install_panic_hook();
    for finding in &findings {
        tracing::warn!(event = "config_warning", finding = finding.to_string(), "configuration");
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores.min(MAX_WORKERS))
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(serve(settings, env, keys, clock))
}

async fn serve(
    settings: Settings,
    env: Vec<(String, String)>,
    keys: KeySet,
    clock: Clock,
) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot hear SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot hear SIGINT")?;
    // Heard only so that it does not kill: past `ulimit -f`, a write then fails as on a full disk.
    let _file_too_large =
        signal(SignalKind::from_raw(Signal::XFSZ.as_raw())).context("cannot hear SIGXFSZ")?;
    let listener = http::bind(settings.server.listen).await?;
    let db = db::open(&settings.database).await?;
    let keys = Arc::new(LiveKeys::new(keys));
    let reloader = Reloader {
        running: settings.clone(),
        env,
        keys: Arc::clone(&keys),
        overlap: settings.tokens.overlap(),
        clock: clock.clone(),
    };
    let watch = Watch::start(reloader);
    let app = App::new(settings, clock, Entropy::system(), db.clone(), keys)?;
    tokio::spawn(watch.run());
    tokio::spawn(sweep(app.clone()));
    let address = listener.local_addr().context("cannot tell the address")?;
    let version = env!("CARGO_PKG_VERSION");
    tracing::info!(event = "listening", %address, version, "listening on http://{address}");
    let stop = async move {
        let signal = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        tracing::info!(event = "stopping", signal, "finishing requests under way");
    };
    http::serve(listener, app, http::Limits::default(), stop).await;
    db.close().await;
    tracing::info!(event = "stopped", "stopped");
    Ok(())
}

/// Forgets ended sessions, now and every hour.
async fn sweep(app: App) {
    let mut ticks = tokio::time::interval(SWEEP);
    loop {
        ticks.tick().await;
        match sessions::store::purge(&app.db, app.clock.now()).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(event = "sessions_purged", count, "ended sessions forgotten"),
            Err(error) => tracing::warn!(event = "purge_failed", error = %error, "ended sessions kept"),
        }
    }
}

/// The keys, and all that is wrong with them and with settings that fit each other and this machine badly.
pub(super) fn examine(settings: &Settings, now: i64) -> (Option<KeySet>, Vec<Finding>) {
    let (keys, mut findings) = KeySet::load(settings, settings.tokens.overlap(), now);
    findings.extend(oversize(settings));
    findings.extend(memory_shortage(settings, available_memory_kib()));
    (keys, findings)
}

/// What is wrong if the hashing threads would not fit into memory when all of them work.
fn memory_shortage(settings: &Settings, available_kib: Option<u64>) -> Option<Finding> {
    let Hashing { memory_kib, threads, max_memory_kib, .. } = settings.hashing;
    let needed = u64::from(memory_kib) * u64::from(threads);
    let limit = max_memory_kib.map(u64::from).or(available_kib).filter(|limit| needed > *limit)?;
    let message =
        format!("{threads} threads of {memory_kib} KiB need {needed} KiB, and {limit} KiB are available");
    Some(Finding::error(settings.file.display(), "hashing.threads", message))
}
