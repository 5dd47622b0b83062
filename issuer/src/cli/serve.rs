//! `countersign serve`: everything is checked before the port opens.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::ambient::Ids;
use crate::app::App;
use crate::audit::chain::Flaw;
use crate::audit::sealer::Outcome;
use crate::config::{self, Finding, Hashing, Internal, Settings, readable_by_others};
use crate::db::{self, Db, Schema};
use crate::jobs::{Lease, Stop, Supervisor};
use crate::passwords::{BreachedError, BreachedList, available_memory_kib};
use crate::tokens::reload::{Reloader, Watch};
use crate::tokens::{KeySet, Lifetimes, LiveKeys, NOTED_EVERY, oversize};
use crate::web::{self, Connections, Listening, Tls};
use crate::{api_keys, audit, limits, log, login, mail, router, sessions, trading_accounts, verification};

/// More threads than this only wait: hashing has its own, and a request needs little else.
const MAX_WORKERS: usize = 4;

/// How often audit events are sealed.
const SEAL_EVERY: Duration = Duration::from_secs(1);

/// How long nothing is sealed after the audit was found not to be whole.
const SEAL_REFUSED: Duration = Duration::from_secs(60);

/// Longer than sealing takes, in seconds.
const SEALING_TAKES: i64 = 60;

/// How often ended sessions are swept out, in seconds.
const SWEEP_EVERY: u64 = 3600;

/// Longer than a sweep takes, in seconds, and short enough that one cut off by a restart is soon begun again.
const SWEEP_TAKES: i64 = 600;

pub(super) fn run(config: &Path) -> anyhow::Result<()> {
    let env = super::environment();
    let loaded = config::load(config, env.iter().cloned());
    let mut findings = loaded.findings;
    let ids = Ids::system();
    let started = loaded.settings.and_then(|settings| {
        let (keys, more) = examine(&settings, ids.clock.now().seconds());
        findings.extend(more);
        Some((settings, keys?))
    });
    let sound = !findings.iter().any(Finding::is_error);
    let Some((settings, keys)) = started.filter(|_| sound) else {
        super::report(&findings)?;
        return Err(anyhow!("{}: cannot be used", config.display()));
    };
    // Lines that are still to be written when the process ends are written when this is dropped.
    let _lines = log::install(&settings.log);
    web::install_panic_hook();
    for finding in &findings {
        tracing::warn!(event = "config_warning", finding = finding.to_string(), "configuration");
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores.min(MAX_WORKERS))
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(serve(settings, env, keys, ids))
}

async fn serve(settings: Settings, env: Vec<(String, String)>, keys: KeySet, ids: Ids) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot hear SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot hear SIGINT")?;
    // Heard only so that it does not kill: past `ulimit -f`, a write then fails as on a full disk.
    let _file_too_large =
        signal(SignalKind::from_raw(Signal::XFSZ.as_raw())).context("cannot hear SIGXFSZ")?;
    let public = web::bind("server.listen", settings.server.listen).await?;
    let internal = match &settings.internal {
        Internal { shared: true, .. } => None,
        Internal { listen, .. } => Some(web::bind("internal.listen", *listen).await?),
    };
    let tls = settings.internal.tls.as_ref().map(Tls::load).transpose()?.map(Arc::new);
    let db = db::open(&settings, Schema::Migrate, &ids).await?;
    let keys = Arc::new(LiveKeys::new(keys));
    let reloader = Reloader {
        running: settings.clone(),
        env,
        keys: Arc::clone(&keys),
        clock: ids.clock.clone(),
        lifetimes: Lifetimes::new(settings.longest_lifetime()),
        tls: tls.clone(),
    };
    let mut tasks = Supervisor::default();
    let app = App::new(&settings, ids.clone(), db.clone(), keys, tasks.restarts())?;
    app.feed.begin().await?;
    // Before anything is signed, so that a key of longer tokens is published again at once.
    note_lifetime(&reloader, &db).await?;
    // Begun here, so that no change and no SIGHUP is missed between now and the task's turn.
    let mut begun = Some(Watch::start(reloader.clone()));
    let (watched, noted, swept) =
        (reloader.clone(), (reloader, db.clone()), (app.clone(), settings.audit.retention));
    let sealed = (db.clone(), Lease::new("audit", SEALING_TAKES, &ids), app.audit.clone());
    tasks.keep("reload", move |stop| {
        watch(begun.take().unwrap_or_else(|| Watch::start(watched.clone())), stop)
    });
    tasks.keep("lifetimes", move |stop| note_lifetimes(noted.clone(), stop));
    tasks.keep("audit", move |stop| seal(sealed.clone(), stop));
    let sender = mail::Sender::new(&settings, &ids, db.clone(), app.outbox.clone(), app.mails.clone());
    // What could be wrong has been examined.
    let sender = sender.map_err(|findings| anyhow!("{findings:?}"))?;
    tasks.keep("mail", move |stop| sender.clone().run(stop));
    tasks.keep("sweep", move |stop| sweep(swept.clone(), stop));
    let version = env!("CARGO_PKG_VERSION");
    if let Some(internal) = &internal {
        let address = internal.local_addr().context("cannot tell the address")?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        tracing::info!(event = "listening_internally", %address, version, "listening on {scheme}://{address}");
    }
    let address = public.local_addr().context("cannot tell the address")?;
    tracing::info!(event = "listening", %address, version, "listening on http://{address}");
    let (stopping, stopped) = watch::channel(false);
    let stop = || {
        let mut stopped = stopped.clone();
        async move { drop(stopped.wait_for(|stop| *stop).await) }
    };
    let feed = app.feed.clone();
    let hear = async {
        let signal = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
            () = db.ended() => {
                tracing::error!(event = "writer_ended", "nothing can be written any more");
                feed.stop();
                let _ = stopping.send(true);
                return Err(anyhow!("the thread that writes to the database ended"));
            }
        };
        tracing::info!(event = "stopping", signal, "finishing requests under way");
        feed.stop();
        let _ = stopping.send(true);
        Ok(())
    };
    let shown = if internal.is_some() { router::public(app.clone()) } else { router::both(app.clone()) };
    let to_services = async {
        if let Some(internal) = internal {
            let listening = Listening::new(internal, tls);
            web::serve(listening, router::internal(app), Connections::default(), stop()).await;
        }
    };
    let (outcome, (), ()) =
        tokio::join!(hear, web::serve(public, shown, Connections::default(), stop()), to_services);
    tasks.stop().await;
    db.close().await;
    tracing::info!(event = "stopped", "stopped");
    outcome
}

/// Takes up changed keys until told to stop.
async fn watch(watch: Watch, mut stop: Stop) {
    tokio::select! {
        () = watch.run() => {}
        () = stop.requested() => {}
    }
}

/// Says now and then which lifetime our tokens have.
async fn note_lifetimes((reloader, db): (Reloader, Db), mut stop: Stop) {
    while stop.pause(Duration::from_secs(NOTED_EVERY.unsigned_abs())).await {
        if let Err(error) = note_lifetime(&reloader, &db).await {
            tracing::warn!(event = "lifetimes_not_noted", error = %error, "token lifetimes were not noted");
        }
    }
}

/// Says which lifetime our tokens have; if others are longer, the keys stay published for as long as those.
async fn note_lifetime(reloader: &Reloader, db: &Db) -> Result<(), db::Error> {
    if reloader.lifetimes.exchange(db, reloader.clock.now()).await? {
        // What may be wrong with the configuration is told by who watches it.
        let _ = reloader.reload();
    }
    Ok(())
}

/// Seals what happened, if no other issuer does.
async fn seal((db, lease, metrics): (Db, Lease, audit::Metrics), mut stop: Stop) {
    loop {
        let sealed = async {
            let waiting = audit::sealer::look(&db, &metrics).await?;
            if waiting && lease.take(&db).await? {
                let outcome = audit::sealer::seal(&db).await?;
                audit::sealer::look(&db, &metrics).await?;
                return Ok::<_, db::Error>(outcome);
            }
            Ok(Outcome::Done(0))
        };
        let pause = match sealed.await {
            Ok(Outcome::Done(_)) => SEAL_EVERY,
            Ok(Outcome::Refused(flaw)) => {
                audit_broken(&flaw);
                SEAL_REFUSED
            }
            Err(error) => {
                tracing::warn!(event = "sealing_failed", error = %error, "audit events were not sealed");
                SEAL_EVERY
            }
        };
        if !stop.pause(pause).await {
            return lease.release(&db).await;
        }
    }
}

fn audit_broken(flaw: &Flaw) {
    let flaw = flaw.to_string();
    tracing::error!(
        event = "audit_broken",
        flaw,
        "the audit is not whole; `countersign audit verify` says more"
    );
}

/// Forgets what is over, and seals anew what an earlier secret sealed, now and every hour, if no other issuer does.
async fn sweep((app, retention): (App, Option<i64>), mut stop: Stop) {
    let lease = Lease::new("sweep", SWEEP_TAKES, &app.ids);
    loop {
        match sweep_once(&app, retention, &lease).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(event = "sessions_purged", count, "ended sessions forgotten"),
            Err(error) => tracing::warn!(event = "purge_failed", error = %error, "ended sessions kept"),
        }
        if !stop.pause(Duration::from_secs(SWEEP_EVERY)).await {
            return lease.release(&app.db).await;
        }
    }
}

/// Answers how many sessions were forgotten.
async fn sweep_once(app: &App, retention: Option<i64>, lease: &Lease) -> Result<u64, db::Error> {
    if !lease.take(&app.db).await? {
        return Ok(0);
    }
    if let Some(retention) = retention
        && let Outcome::Refused(flaw) =
            audit::sealer::retire(&app.db, app.clock.now().minus(retention)).await?
    {
        audit_broken(&flaw);
    }
    let forgotten = sessions::sweep(&app.db, app.clock.now()).await?;
    login::sweep(&app.db).await?;
    limits::sweep(&app.db).await?;
    api_keys::sweep(&app.db, app.clock.now()).await?;
    verification::sweep(&app.db).await?;
    mail::sweep(&app.db).await?;
    trading_accounts::note_due(&app.trading_accounts).await?;
    let resealed = app.mfa.reseal(&app.db).await?;
    if resealed > 0 {
        let hint = "second factors are sealed with the current secret";
        tracing::info!(event = "totp_resealed", count = resealed, "{hint}");
    }
    Ok(forgotten)
}

/// The keys, and all that is wrong with them and with settings that fit each other and this machine badly.
pub(super) fn examine(settings: &Settings, now: i64) -> (Option<KeySet>, Vec<Finding>) {
    let (keys, mut findings) = KeySet::load(settings, settings.overlap(), now);
    findings.extend(oversize(settings));
    findings.extend(mail::examine(settings));
    findings.extend(certificate(settings));
    findings.extend(memory_shortage(settings, available_memory_kib()));
    let breached = BreachedList::configured(&settings.passwords).err();
    findings.extend(breached.map(|error| breached_finding(settings, &error)));
    (keys, findings)
}

/// What is wrong with the certificate of the internal listener.
fn certificate(settings: &Settings) -> Vec<Finding> {
    let Some(files) = &settings.internal.tls else { return Vec::new() };
    let source = settings.file.display();
    let invalid = Tls::load(files).err();
    let open = readable_by_others(&files.key_file);
    let open = open.map(|text| Finding::warning(&source, "internal.tls.key_file", text));
    invalid
        .map(|error| Finding::error(&source, error.key, error.to_string()))
        .into_iter()
        .chain(open)
        .collect()
}

pub(super) fn breached_finding(settings: &Settings, error: &BreachedError) -> Finding {
    Finding::error(settings.file.display(), "passwords.breached_file", error.to_string())
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
