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
use countersign_stack::tools;
use tokio::time::{Instant, sleep};

use crate::people;
use crate::wire::{self, Connection};

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
        let package = ["build", "--quiet", "--release", "--package", "countersign-issuer"];
        let targets = ["--bin", "countersign", "--example", "argon2id_limit"];
        tools::run(tools::cargo().args(package).args(targets)).context("cannot build the issuer")?;
        let folder = tools::target().join("release");
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
        let log = log.unwrap_or_else(|| PathBuf::from("/dev/null"));
        Ok(Self { folder, port, log })
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

    pub(crate) async fn start(&self, programs: &Programs) -> Result<Issuer> {
        let begin = Instant::now();
        let mut command = process::command(Path::new("/bin/sh"));
        // Through a pipe, reading the log would be work of ours.
        command.args(["-c", r#"log=$1; shift; exec "$@" 2>>"$log""#, "sh"]).arg(&self.log);
        command.arg(&programs.issuer).arg("--config").arg(self.config()).arg("serve");
        let service = Service::start("issuer", &mut command, &self.folder, false)?;
        let pid = service.id().context("the issuer has no process id")?;
        let mut issuer = Issuer { service, pid, port: self.port };
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

    /// Resident memory.
    pub(crate) fn resident_mb(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        Ok(parse_resident(&status).context("the kernel tells no VmRSS")? as f64 / 1e6)
    }

    pub(crate) async fn stop(self) -> Result<()> {
        self.service.stop().await
    }
}

/// The time that all threads of a process (`self`, or a number) have spent on a processor.
pub(crate) fn cpu_time(process: &str) -> Result<Duration> {
    let mut total = Duration::ZERO;
    for task in fs::read_dir(format!("/proc/{process}/task"))? {
        // A thread may end meanwhile.
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
        total += parse_schedstat(&text).with_context(|| format!("schedstat of {process}"))?;
    }
    Ok(total)
}

/// Nanoseconds on a processor are the first of three numbers.
fn parse_schedstat(text: &str) -> Option<Duration> {
    text.split_ascii_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

fn parse_resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kernel_tells() {
        assert_eq!(parse_schedstat("32085329 3196857 122\n"), Some(Duration::from_nanos(32_085_329)));
        assert_eq!(parse_resident("Name:\tcountersign\nVmRSS:\t   1024 kB\n"), Some(1 << 20));
    }
}
