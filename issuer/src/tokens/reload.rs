//! Taking up changed keys while the issuer runs: at SIGHUP, and when the configuration, a key file or a file of the
//! internal listener's certificate changes. Of the configuration, only `[[keys]]` takes effect; one with an error is refused
//! as a whole and the one in force stays.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, Event, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use sha2::{Digest as _, Sha256};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use super::{KeySet, Lifetimes, LiveKeys};
use crate::ambient::Clock;
use crate::config::{self, Finding, Loaded, Settings};
use crate::web::Tls;

/// An editor or a deployment touches a file several times within this.
const DEBOUNCE: Duration = Duration::from_millis(200);

/// Knows how the running configuration was loaded, to load it again.
#[derive(Debug, Clone)]
pub struct Reloader {
    pub running: Settings,
    pub env: Vec<(String, String)>,
    pub keys: Arc<LiveKeys>,
    pub clock: Clock,
    /// Decides how long a key stays published after its last signature.
    pub lifetimes: Lifetimes,
    /// The certificate of the internal listener, which is read again as well.
    pub tls: Option<Arc<Tls>>,
}

/// A configuration that was taken up.
#[derive(Debug, PartialEq, Eq)]
pub struct Reloaded {
    pub warnings: Vec<Finding>,
    /// Sections that differ from those in force and need a restart.
    pub needs_restart: Vec<&'static str>,
    /// Whether the keys are others than before.
    pub changed: bool,
}

impl Reloader {
    /// Loads the configuration and puts its keys in force.
    ///
    /// # Errors
    /// Everything that is wrong with it; the keys in force are then unchanged, and the refusal is counted.
    pub fn reload(&self) -> Result<Reloaded, Vec<Finding>> {
        self.take_up(self.load())
    }

    fn load(&self) -> Loaded {
        config::load(&self.running.file, self.env.iter().cloned())
    }

    fn take_up(&self, Loaded { settings, mut findings }: Loaded) -> Result<Reloaded, Vec<Finding>> {
        let now = self.clock.now().seconds();
        let Some(settings) = settings else { return self.refuse(findings) };
        let needs_restart = self.running.sections_changed(&settings);
        // Everything but the keys stays as it is in force, also where it decides about them.
        let settings = Settings { keys: settings.keys, ..self.running.clone() };
        let (set, more) = KeySet::load(&settings, self.lifetimes.longest() + settings.tokens.clock_skew, now);
        findings.extend(more);
        let Some(set) = set else { return self.refuse(findings) };
        let current = self.keys.current();
        let dropped = set.dropped(&current, now);
        if !dropped.is_empty() {
            let finding = |kid| {
                let message = format!(
                    "key {kid:?} is in force and would be gone with its tokens; `revoked = true` says that this is meant"
                );
                Finding::error(settings.file.display(), "keys", message)
            };
            findings.extend(dropped.into_iter().map(finding));
            return self.refuse(findings);
        }
        for kid in set.hasty(&current, now, settings.jwks.max_age) {
            let message = format!("key {kid:?} signs before verifiers have fetched it (jwks.max_age)");
            findings.push(Finding::warning(settings.file.display(), "keys.sign_from", message));
        }
        let changed = !set.is_same_as(&current);
        self.keys.replace(set);
        Ok(Reloaded { warnings: findings, needs_restart, changed })
    }

    /// Puts the internal listener's certificate in force as it is now, and logs what came of it.
    fn renew_certificate(&self) {
        match self.tls.as_ref().map(|tls| tls.renew()) {
            None | Some(Ok(false)) => {}
            Some(Ok(true)) => {
                tracing::info!(
                    event = "certificate_reloaded",
                    "the internal listener's certificate was read again"
                );
            }
            Some(Err(error)) => {
                self.keys.count_refusal();
                tracing::error!(event = "certificate_refused", error = %error, "the certificate in force stays");
            }
        }
    }

    fn refuse(&self, mut findings: Vec<Finding>) -> Result<Reloaded, Vec<Finding>> {
        self.keys.count_refusal();
        findings.retain(Finding::is_error);
        Err(findings)
    }
}

/// How often the contents are looked at: no notice comes of a folder that was swapped for another, nor from most
/// network disks.
const LOOK: Duration = Duration::from_secs(10);

/// Reloads whenever told to, or when a file changes.
#[derive(Debug)]
pub struct Watch {
    reloader: Reloader,
    files: Files,
    changes: mpsc::Receiver<()>,
    hangups: Option<Signal>,
}

impl Watch {
    /// Listens from now on; [`Watch::run`] acts on what was heard. Must be called within a runtime.
    pub fn start(reloader: Reloader) -> Self {
        let (changed, changes) = mpsc::channel(1);
        let mut files = Files::watch(changed);
        files.follow(&reloader.running, reloader.tls.as_deref());
        let hangups = signal(SignalKind::hangup())
            .inspect_err(|error| tracing::warn!(event = "no_sighup", error = %error, "SIGHUP is not heard"))
            .ok();
        Self { reloader, files, changes, hangups }
    }

    /// Reloads again and again, and logs what came of it. Never returns.
    pub async fn run(mut self) {
        let mut looks = tokio::time::interval_at(tokio::time::Instant::now() + LOOK, LOOK);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut seen = self.files.contents().await;
        // Whatever changed between reading the configuration and listening for changes.
        self.reload(|reloaded| reloaded.changed || !reloaded.needs_restart.is_empty());
        loop {
            let hangup = async {
                match &mut self.hangups {
                    Some(hangups) => hangups.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = hangup => {}
                Some(()) = self.changes.recv() => {
                    tokio::time::sleep(DEBOUNCE).await;
                    let _ = self.changes.try_recv();
                }
                _ = looks.tick() => {
                    if self.files.contents().await == seen {
                        continue;
                    }
                }
            }
            // Before reloading: what changes meanwhile is then seen the next time.
            seen = self.files.contents().await;
            self.reload(|_| true);
        }
    }

    /// Takes up the configuration as it is now, and logs what came of it.
    fn reload(&mut self, worth_a_line: impl FnOnce(&Reloaded) -> bool) {
        self.reloader.renew_certificate();
        let loaded = self.reloader.load();
        if let Some(settings) = &loaded.settings {
            // Also if its keys are refused: a key file that is still missing may come.
            self.files.follow(settings, self.reloader.tls.as_deref());
        }
        match self.reloader.take_up(loaded) {
            Ok(reloaded) if worth_a_line(&reloaded) => note(&reloaded),
            Ok(_) => {}
            Err(findings) => {
                for finding in findings {
                    let finding = finding.to_string();
                    tracing::error!(event = "config_refused", finding, "the configuration in force stays");
                }
            }
        }
    }
}

fn note(reloaded: &Reloaded) {
    for warning in &reloaded.warnings {
        tracing::warn!(event = "config_warning", finding = warning.to_string(), "configuration");
    }
    if !reloaded.needs_restart.is_empty() {
        let sections = reloaded.needs_restart.join(", ");
        tracing::warn!(event = "restart_needed", sections, "changed settings take effect at the next start");
    }
    tracing::info!(event = "keys_reloaded", "the keys were read again");
}

/// The files whose change means a reload. Their folders are watched, because editors and deployments replace
/// files rather than write them.
#[derive(Debug)]
struct Files {
    watcher: Option<RecommendedWatcher>,
    interesting: Arc<RwLock<BTreeSet<PathBuf>>>,
}

impl Files {
    fn watch(changed: mpsc::Sender<()>) -> Self {
        let interesting = Arc::new(RwLock::new(BTreeSet::new()));
        let files = Arc::clone(&interesting);
        let notice = move |event: notify::Result<Event>| {
            let matters = event.is_ok_and(|event| {
                let files = files.read().unwrap_or_else(PoisonError::into_inner);
                may_change(event.kind) && event.paths.iter().any(|path| concerns(path, &files))
            });
            if matters {
                // A full channel means that a reload is due anyway.
                let _ = changed.try_send(());
            }
        };
        let watcher = notify::recommended_watcher(notice)
            .inspect_err(|error| tracing::warn!(event = "no_watch", error = %error, "files are not watched"))
            .ok();
        Self { watcher, interesting }
    }

    /// Follows the configuration, its keys and the certificate from now on, and what links among them lead to.
    fn follow(&mut self, settings: &Settings, tls: Option<&Tls>) {
        let mut files = BTreeSet::new();
        let keys = settings.keys.iter().map(|line| line.file.as_path());
        let certificate = tls.into_iter().flat_map(Tls::files);
        for file in std::iter::once(settings.file.as_path()).chain(keys).chain(certificate) {
            files.extend(std::path::absolute(file));
            files.extend(file.canonicalize());
        }
        let folders: BTreeSet<PathBuf> =
            files.iter().filter_map(|file| file.parent()).map(Path::to_owned).collect();
        *self.interesting.write().unwrap_or_else(PoisonError::into_inner) = files;
        let Some(watcher) = &mut self.watcher else { return };
        for folder in folders {
            // Each time, because another folder may be in its place by now.
            if let Err(error) = watcher.watch(&folder, RecursiveMode::NonRecursive) {
                let folder = folder.display();
                tracing::warn!(event = "no_watch", %folder, error = %error, "a folder is not watched");
            }
        }
    }

    /// A digest of each file that is followed; `None` for one that cannot be read.
    async fn contents(&self) -> BTreeMap<PathBuf, Option<[u8; 32]>> {
        let files = self.interesting.read().unwrap_or_else(PoisonError::into_inner).clone();
        let digest = |file: &PathBuf| {
            let bytes = std::fs::read(file).ok().map(Zeroizing::new)?;
            Some(Sha256::digest(&*bytes).into())
        };
        // A network disk that is slow or gone must not hold up requests.
        let reading = tokio::task::spawn_blocking(move || {
            files.into_iter().map(|file| (file.clone(), digest(&file))).collect()
        });
        reading.await.unwrap_or_default()
    }
}

/// Whether an event can mean new contents; our own reading must not cause the next reload.
fn may_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        _ => true,
    }
}

/// Whether an event is about one of the files, or about the link that Kubernetes swaps under all of them.
fn concerns(path: &Path, files: &BTreeSet<PathBuf>) -> bool {
    files.contains(path) || path.file_name().is_some_and(|name| name == "..data")
}
