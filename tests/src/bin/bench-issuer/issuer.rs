//! The issuer that is measured: built as it is shipped, on a port and a database of its own.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use base64ct::{Base64, Encoding};
use countersign_stack::process::{self, Service};
use countersign_stack::stack::Ports;
use countersign_tests::bench::process::{cpu_time, resident_bytes};
use countersign_tests::bench::release_issuer;
use countersign_tests::bench::wire::{self, Connection};
use tokio::time::{Instant, sleep};

use crate::people;

const CONFIG: &str = include_str!("../../../bench/issuer.toml");

/// How long it may take until it is ready.
const PATIENCE: Duration = Duration::from_secs(60);

/// What argon2id is asked for, here and of the bare computation.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub(crate) struct Hashing {
    pub(crate) memory_kib: u32,
    pub(crate) passes: u32,
    pub(crate) threads: u32,
}

/// Programs in the release profile.
#[derive(Debug)]
pub(crate) struct Programs {
    issuer: PathBuf,
    limit: PathBuf,
}

impl Programs {
    pub(crate) fn build() -> Result<Self> {
        let folder = release_issuer()?;
        Ok(Self { issuer: folder.join("countersign"), limit: folder.join("examples/argon2id_limit") })
    }

    /// Hashes per second that this machine can do at all.
    pub(crate) async fn limit(&self, hashing: Hashing, seconds: u64) -> Result<f64> {
        let Hashing { memory_kib, passes, threads } = hashing;
        let mut limit = process::command(&self.limit);
        limit.args([u64::from(threads), memory_kib.into(), passes.into(), seconds].map(|n| n.to_string()));
        let output = limit.output().await?;
        let said = String::from_utf8_lossy(&output.stdout);
        said.trim().parse().with_context(|| format!("argon2id_limit said {said:?}"))
    }
}

/// Where an issuer lives: its configuration, key and secret.
#[derive(Debug)]
pub(crate) struct Home {
    folder: PathBuf,
    port: u16,
    internal_port: u16,
    log: PathBuf,
}

impl Home {
    /// All that an issuer on this database needs, in an empty folder. Without a file for it, its log is thrown away: what
    /// it costs is to make it, not to keep it.
    pub(crate) fn prepare(
        folder: PathBuf,
        database_url: &str,
        hashing: Hashing,
        log: Option<PathBuf>,
    ) -> Result<Self> {
        let Ports { issuer: port, internal: internal_port, .. } = Ports::free()?;
        let config = CONFIG
            .replace("{port}", &port.to_string())
            .replace("{internal_port}", &internal_port.to_string())
            .replace("{database_url}", database_url)
            .replace("{memory_kib}", &hashing.memory_kib.to_string())
            .replace("{passes}", &hashing.passes.to_string())
            .replace("{threads}", &hashing.threads.to_string())
            .replace("{kid}", people::KID);
        write(&folder.join("countersign.toml"), &config)?;
        write(&folder.join("key.pem"), &pem(people::KEY_SEED))?;
        write(&folder.join("secret"), "the secret of this bench and of nothing else")?;
        for (name, key) in [("current.key", "one"), ("previous.key", "another")] {
            write(&folder.join(name), &format!("{key} key of this bench and of nothing else"))?;
        }
        let log = log.unwrap_or_else(|| PathBuf::from("/dev/null"));
        Ok(Self { folder, port, internal_port, log })
    }

    fn config(&self) -> PathBuf {
        self.folder.join("countersign.toml")
    }

    /// Makes the account that all others are copied from.
    pub(crate) fn create_first(&self, programs: &Programs) -> Result<()> {
        let mut command = Command::new(&programs.issuer);
        command.arg("--config").arg(self.config());
        command.args(["users", "create", "--password-stdin", "--name", "Bench", "--email", people::FIRST]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        let mut input = child.stdin.take().context("no input")?;
        input.write_all(people::PASSWORD.as_bytes())?;
        drop(input);
        ensure!(child.wait()?.success(), "cannot create the first account");
        Ok(())
    }

    /// Has the issuer know a service with this scope; answers its token.
    pub(crate) fn add_service(&self, programs: &Programs, scope: &str) -> Result<String> {
        let mut command = Command::new(&programs.issuer);
        command.arg("--config").arg(self.config()).args(["services", "add", "bench", "--scope", scope]);
        let output = command.stderr(Stdio::inherit()).output()?;
        ensure!(output.status.success(), "cannot add a service");
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }

    /// Puts the previous key that protects credentials in the place of the current one.
    pub(crate) fn replace_key(&self) -> Result<()> {
        let [current, previous, other] =
            ["current.key", "previous.key", "other.key"].map(|name| self.folder.join(name));
        for (from, to) in [(&current, &other), (&previous, &current), (&other, &previous)] {
            fs::rename(from, to).with_context(|| format!("cannot move {}", from.display()))?;
        }
        Ok(())
    }

    pub(crate) fn rewrap(&self, programs: &Programs) -> Result<tokio::process::Child> {
        let mut command = process::command(&programs.issuer);
        command.arg("--config").arg(self.config()).args(["keys", "rewrap"]).stdout(Stdio::null());
        Ok(command.spawn()?)
    }

    pub(crate) async fn start(&self, programs: &Programs) -> Result<Issuer> {
        let begin = Instant::now();
        let mut command = process::command(Path::new("/bin/sh"));
        // Through a pipe, reading the log would be work of ours.
        command.args(["-c", r#"log=$1; shift; exec "$@" 2>>"$log""#, "sh"]).arg(&self.log);
        command.arg(&programs.issuer).arg("--config").arg(self.config()).arg("serve");
        let service = Service::start("issuer", &mut command, &self.folder, false)?;
        let pid = service.id().context("the issuer has no process id")?;
        let mut issuer = Issuer { service, pid, port: self.port, internal_port: self.internal_port };
        while !issuer.is_ready().await {
            if let Some(status) = issuer.service.has_ended() {
                let mut check = Command::new(&programs.issuer);
                let said = check.arg("--config").arg(self.config()).arg("check").output()?;
                bail!("the issuer ended while starting: {status}\n{}", String::from_utf8_lossy(&said.stderr));
            }
            ensure!(begin.elapsed() < PATIENCE, "the issuer is not ready; --log keeps what it says");
            sleep(Duration::from_millis(5)).await;
        }
        Ok(issuer)
    }
}

#[derive(Debug)]
pub(crate) struct Issuer {
    service: Service,
    pid: u32,
    pub(crate) port: u16,
    pub(crate) internal_port: u16,
}

impl Issuer {
    async fn is_ready(&self) -> bool {
        let Ok(mut connection) = Connection::open(self.port).await else { return false };
        let answer = connection.exchange(&wire::get("/.well-known/jwks.json", None)).await;
        answer.is_ok_and(|answer| answer.status == 200)
    }

    pub(crate) fn cpu_time(&self) -> Result<Duration> {
        cpu_time(&self.pid.to_string())
    }

    pub(crate) fn resident_mb(&self) -> Result<f64> {
        resident_mb(self.pid)
    }

    pub(crate) async fn stop(self) -> Result<()> {
        self.service.stop().await
    }
}

/// Resident memory of a process.
pub(crate) fn resident_mb(pid: u32) -> Result<f64> {
    Ok(resident_bytes(&pid.to_string())? as f64 / 1e6)
}

/// PKCS#8 around the 32 bytes of an Ed25519 key (RFC 8410 §7).
fn pem(seed: [u8; 32]) -> String {
    let head = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    let body = Base64::encode_string(&[&head[..], &seed].concat());
    format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n")
}

fn write(file: &Path, text: &str) -> Result<()> {
    let mut options = fs::OpenOptions::new();
    let mut out = options.write(true).create_new(true).mode(0o600).open(file)?;
    out.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", file.display()))
}
