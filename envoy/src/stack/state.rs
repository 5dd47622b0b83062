//! The files of one stack: configuration, keys, database and logs, all under one folder. What is there is kept.

use std::fs::{self, File, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};

use super::Ports;
use crate::artifacts::Artifacts;

pub const ADMIN_EMAIL: &str = "admin@platform.example";

const ISSUER_CONFIG: &str = include_str!("../../countersign.toml");
const BOOTSTRAP: &str = include_str!("../../envoy.yaml");
const PLUGIN: &str = include_str!("../../plugin/countersign.yaml");

/// The times that a test shortens, so that a rotation takes seconds.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    pub access_lifetime: Duration,
    /// Of the groups `token`, `auth` and `api_auth`: a key outlives the longest of all.
    pub compat_lifetimes: [Duration; 3],
    /// Of the tokens of services.
    pub service_lifetime: Duration,
    pub clock_skew: Duration,
    /// How long the JWKS may be cached.
    pub jwks_max_age: Duration,
    /// How often the edge fetches it.
    pub jwks_refresh: Duration,
}

impl Times {
    /// As in the files that people copy.
    pub const DEFAULT: Self = Self {
        access_lifetime: Duration::from_secs(15 * 60),
        compat_lifetimes: [
            Duration::from_secs(30 * 60),
            Duration::from_secs(60 * 60),
            Duration::from_secs(30 * 60),
        ],
        service_lifetime: Duration::from_secs(5 * 60),
        clock_skew: Duration::from_secs(30),
        jwks_max_age: Duration::from_secs(5 * 60),
        jwks_refresh: Duration::from_secs(60),
    };
}

/// The folder of one stack, ours alone as long as this lives.
#[derive(Debug, Clone)]
pub struct State {
    root: PathBuf,
    _lock: Arc<Lock>,
}

/// A file that is locked until this is dropped, also when a process that another thread has just started still holds it: it
/// does until it has become the other program.
#[derive(Debug)]
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file comes next, and unlocks it, too.
        let _ = self.0.unlock();
    }
}

/// What a stack keeps in its folder.
const FOLDERS: [&str; 3] = ["issuer", "envoy", "logs"];

/// Envoy's files as we wrote them last.
const ORIGINALS: &str = "envoy/original";

impl State {
    /// Takes the folder; two stacks in one would destroy each other.
    pub fn open(root: PathBuf) -> Result<Self> {
        fs::create_dir_all(&root).with_context(|| format!("cannot create {}", root.display()))?;
        let lock = root.join("lock");
        let file = File::create(&lock).with_context(|| format!("cannot write {}", lock.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { root, _lock: Arc::new(Lock(file)) }),
            Err(TryLockError::WouldBlock) => {
                bail!("{} is in use by another cargo up; stop that one first", root.display())
            }
            Err(TryLockError::Error(error)) => Err(error).context(format!("cannot lock {}", lock.display())),
        }
    }

    pub fn issuer_config(&self) -> PathBuf {
        self.root.join("issuer/countersign.toml")
    }

    pub fn bootstrap(&self) -> PathBuf {
        self.root.join("envoy/envoy.yaml")
    }

    pub fn plugin(&self) -> PathBuf {
        self.root.join("envoy/plugin/countersign.yaml")
    }

    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// Where the password of [`ADMIN_EMAIL`] is kept, readable by its owner alone.
    pub fn admin_password(&self) -> PathBuf {
        self.root.join("issuer/admin.password")
    }

    /// Where the secret is kept by which the issuer knows the edge.
    pub fn service_token(&self) -> PathBuf {
        self.root.join("issuer/edge.token")
    }

    /// Where the secret is kept by which the issuer knows the ticker.
    pub fn ticker_token(&self) -> PathBuf {
        self.root.join("issuer/ticker.token")
    }

    /// Where the issuer's messages are, a file each.
    pub fn mail(&self) -> PathBuf {
        self.root.join("issuer/mail")
    }

    /// Forgets everything.
    pub fn empty(&self) -> Result<()> {
        for folder in FOLDERS.map(|folder| self.root.join(folder)).iter().filter(|folder| folder.exists()) {
            fs::remove_dir_all(folder).with_context(|| format!("cannot empty {}", folder.display()))?;
        }
        Ok(())
    }

    /// Writes what is missing. Envoy's files are written anew as long as nobody edits them; the issuer's belong to the
    /// operator.
    pub fn prepare(&self, artifacts: &Artifacts, ports: Ports, times: Times) -> Result<()> {
        for folder in ["issuer/keys", "envoy/plugin", ORIGINALS, "logs"] {
            let folder = self.root.join(folder);
            fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        }
        self.prepare_envoy(artifacts, ports, times)?;
        self.prepare_issuer(artifacts, ports, times)
    }

    fn prepare_envoy(&self, artifacts: &Artifacts, ports: Ports, times: Times) -> Result<()> {
        let home = self.root.join("envoy");
        let home = home.to_str().ok_or_else(|| anyhow!("{} is not UTF-8", home.display()))?;
        let bootstrap = with_ports(&replace(BOOTSTRAP, "/etc/countersign", home)?, ports)?;
        let refresh = format!("\"refresh\": \"{}s\"", times.jwks_refresh.as_secs());
        let plugin = replace(PLUGIN, "\"refresh\": \"60s\"", &refresh)?;
        let plugin = replace(
            &plugin,
            "\"clock_skew\": \"30s\"",
            &format!("\"clock_skew\": \"{}s\"", times.clock_skew.as_secs()),
        )?;
        let plugin = replace(&plugin, "/etc/countersign", home)?;
        // The tour shows a rule that is tried. Whoever copies the file has none that lets strangers through.
        let plugin = replace(&plugin, "\"mode\": \"enforce\"", "\"mode\": \"observe\"")?;
        fs::copy(&artifacts.filter, self.root.join("envoy/filter.wasm")).context("cannot copy the filter")?;
        self.lay_down(&self.bootstrap(), &bootstrap, |text| write(&self.bootstrap(), text))?;
        self.lay_down(&self.plugin(), &plugin, |text| self.install_plugin(text))
    }

    /// Puts the text into the file, unless the file is no longer as we wrote it: what was edited is kept. What we would
    /// have written is beside it, to compare.
    fn lay_down(&self, file: &Path, text: &str, put: impl FnOnce(&str) -> Result<()>) -> Result<()> {
        let original = self.root.join(ORIGINALS).join(file.file_name().unwrap_or_default());
        let edited = match (fs::read_to_string(file), fs::read_to_string(&original)) {
            (Ok(found), Ok(written)) => found != written && found != text,
            _ => false,
        };
        if edited {
            eprintln!("note: {} was edited and is kept; ours is {}", file.display(), original.display());
        } else {
            put(text)?;
        }
        // Last: a start that is cut short before it must not take our own file for an edited one.
        write(&original, text)
    }

    /// Moves a plugin config into the folder that Envoy watches.
    pub fn install_plugin(&self, plugin: &str) -> Result<()> {
        let next = self.root.join("envoy/countersign.yaml.next");
        write(&next, plugin)?;
        fs::rename(&next, self.plugin()).context("cannot move the plugin config into place")
    }

    fn prepare_issuer(&self, artifacts: &Artifacts, ports: Ports, times: Times) -> Result<()> {
        let config = self.issuer_config();
        if !config.exists() {
            write(&config, &issuer_config(ports, times)?)?;
        }
        for name in ["current.secret", "credentials.key"] {
            let secret = config.with_file_name(name);
            if !secret.exists() {
                write_secret(&secret, &random_hex::<32>()?)?;
            }
        }
        let operate = |arguments: &[&str], input: &str| {
            let mut command = Command::new(&artifacts.issuer);
            run_quietly(command.arg("--config").arg(&config).args(arguments), input)
        };
        let text =
            fs::read_to_string(&config).with_context(|| format!("cannot read {}", config.display()))?;
        ensure!(
            text.contains(&format!(":{}\"", ports.issuer)),
            "{} does not listen on port {}: it is of other ports; choose those by --port-base, or another --folder, or \
             begin anew with --fresh",
            config.display(),
            ports.issuer
        );
        let database = config.with_file_name("issuer.db");
        ensure!(
            database.exists() || !self.admin_password().exists() || !text.contains("\"sqlite:issuer.db\""),
            "{} is gone, and with it the accounts and services whose secrets are beside it; bring it back, or begin anew \
             with --fresh",
            database.display()
        );
        if let Some(text) = with_encryption(&text) {
            eprintln!("note: [encryption] is added to {}", config.display());
            write(&config, &text)?;
        }
        if !text.contains("[[keys]]") {
            operate(&["keys", "rotate"], "")?;
        }
        if !self.admin_password().exists() {
            operate(&["migrate"], "")?;
            self.create_admin(operate)?;
        }
        let (edge, ticker) = (self.service_token(), self.ticker_token());
        if !edge.exists() || !ticker.exists() {
            operate(&["migrate"], "")?;
        }
        add_service("edge", &edge, ["revocations:read", "api-keys:exchange"], operate)?;
        add_service("ticker", &ticker, ["trading-accounts:read", "credentials:read"], operate)
    }

    /// The password is kept under another name until the account is there, so that a start that was cut short is
    /// taken up where it ended.
    fn create_admin(&self, operate: impl Fn(&[&str], &str) -> Result<String>) -> Result<()> {
        let pending = self.admin_password().with_extension("pending");
        let taken_up = pending.exists();
        if !taken_up {
            write_secret(&pending, &random_hex::<12>()?)?;
        }
        let password = fs::read_to_string(&pending)?;
        let create = [
            "users",
            "create",
            "--email",
            ADMIN_EMAIL,
            "--name",
            "Platform Admin",
            "--role",
            "admin",
            "--password-stdin",
        ];
        match operate(&create, &password) {
            Ok(_) => {}
            Err(error) if !error.to_string().contains("exists already") => return Err(error),
            Err(_) if taken_up => {}
            // The account is an earlier one, whose password only its owner knows now.
            Err(_) => return fs::remove_file(&pending).context("cannot remove an unused password"),
        }
        fs::rename(&pending, self.admin_password()).context("cannot keep the administrator's password")
    }
}

/// Has the issuer know a service, unless its token is there already. The token, too, is kept under another name until it
/// does.
fn add_service(
    name: &str,
    file: &Path,
    scopes: [&str; 2],
    operate: impl Fn(&[&str], &str) -> Result<String>,
) -> Result<()> {
    if file.exists() {
        return Ok(());
    }
    let pending = file.with_extension("pending");
    if !pending.exists() {
        write_secret(&pending, &random_hex::<32>()?)?;
    }
    let [one, two] = scopes;
    let add = ["services", "add", name, "--secret-stdin", "--scope", one, "--scope", two];
    match operate(&add, &fs::read_to_string(&pending)?) {
        // An earlier start, cut short, has added it.
        Err(error) if !error.to_string().contains("in use already") => Err(error),
        _ => fs::rename(&pending, file).with_context(|| format!("cannot keep {}", file.display())),
    }
}

/// The bootstrap with these ports. Each is taken out before any is put in, or one could be taken for another.
fn with_ports(bootstrap: &str, ports: Ports) -> Result<String> {
    let ports = || Ports::LOCAL.named().into_iter().zip(ports.named());
    let value = |port: &str| format!("port_value: {port} ");
    let mut text = bootstrap.to_owned();
    for ((name, standard), _) in ports() {
        text = replace(&text, &value(&standard.to_string()), &value(name))?;
    }
    Ok(ports()
        .fold(text, |text, ((name, _), (_, port))| text.replace(&value(name), &value(&port.to_string()))))
}

/// The issuer's configuration on these ports, with a database of SQLite.
pub fn issuer_config(ports: Ports, times: Times) -> Result<String> {
    let seconds = |key: &str, duration: Duration| format!("{key} = \"{}s\"", duration.as_secs());
    let [token, auth, api_auth] = times.compat_lifetimes;
    let mut config = ISSUER_CONFIG.to_owned();
    for (standard, actual) in [
        ("127.0.0.1:8001", format!("127.0.0.1:{}", ports.issuer)),
        ("127.0.0.1:8002", format!("127.0.0.1:{}", ports.internal)),
        ("localhost:8080", format!("localhost:{}", ports.edge)),
        ("access_lifetime = \"15m\"", seconds("access_lifetime", times.access_lifetime)),
        ("token_access_lifetime = \"30m\"", seconds("token_access_lifetime", token)),
        ("auth_access_lifetime = \"60m\"", seconds("auth_access_lifetime", auth)),
        ("api_auth_access_lifetime = \"30m\"", seconds("api_auth_access_lifetime", api_auth)),
        ("token_lifetime = \"5m\"", seconds("token_lifetime", times.service_lifetime)),
        ("clock_skew = \"30s\"", seconds("clock_skew", times.clock_skew)),
        ("max_age = \"5m\"", seconds("max_age", times.jwks_max_age)),
    ] {
        config = replace(&config, standard, &actual)?;
    }
    Ok(config)
}

/// A configuration from before there was such a section, with it: without, nobody links a trading account.
fn with_encryption(config: &str) -> Option<String> {
    let lines = "[encryption]\ncurrent_file = \"credentials.key\"\n";
    (!config.contains("[encryption]")).then(|| format!("{config}\n{lines}"))
}

/// Every occurrence; that there is none means that the file and this code have drifted apart.
fn replace(text: &str, from: &str, to: &str) -> Result<String> {
    ensure!(text.contains(from), "the template has no {from:?}");
    Ok(text.replace(from, to))
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

pub(crate) fn write_secret(path: &Path, secret: &str) -> Result<()> {
    let mut options = File::options();
    options.write(true).create(true).truncate(true).mode(0o600);
    let written = options.open(path).and_then(|mut file| file.write_all(secret.as_bytes()));
    written.with_context(|| format!("cannot write {}", path.display()))
}

pub(crate) fn random_hex<const N: usize>() -> Result<String> {
    let mut bytes = [0; N];
    File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .context("cannot read /dev/urandom")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Runs to the end with `input` on standard input; what it says is shown only when it fails.
pub(crate) fn run_quietly(command: &mut Command, input: &str) -> Result<String> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {}", command.get_program().display()))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that fails early, or asks for nothing, reads nothing: what it says tells more than a broken pipe.
        let _ = writeln!(stdin, "{input}");
    }
    let output = child.wait_with_output()?;
    let arguments: Vec<_> = command.get_args().map(|a| a.to_string_lossy()).collect();
    ensure!(
        output.status.success(),
        "{} {}: {}",
        command.get_program().display(),
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_free_again_although_a_process_that_is_being_started_holds_its_lock() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let file = File::create(&path).unwrap();
        file.lock().unwrap();
        let inherited = file.try_clone().unwrap();
        drop(Lock(file));
        File::open(&path).unwrap().try_lock().unwrap();
        drop(inherited);
    }

    #[test]
    fn a_folder_from_before_there_was_encryption_is_given_it_once() {
        assert_eq!(with_encryption(ISSUER_CONFIG), None);
        let before = "[secrets]\ncurrent_file = \"current.secret\"\n\n[[keys]]\nkid = \"one\"\n";
        let after = with_encryption(before).unwrap();
        assert!(after.starts_with(before) && after.ends_with("current_file = \"credentials.key\"\n"));
        assert_eq!(with_encryption(&after), None);
    }

    #[test]
    fn no_port_is_taken_for_another() {
        // From 8081 on, each of our ports is another service's standard one.
        for base in [8000, 8001, 8075, 8079, 8081, 9895, Ports::HIGHEST_BASE] {
            let ports = Ports::from_base(base);
            let text = with_ports(BOOTSTRAP, ports).unwrap();
            let order = |text: &str, ports: Ports| -> Vec<&str> {
                let port = |value: &str| value.split(' ').next().unwrap().parse::<u16>().unwrap();
                let name = |port| ports.named().into_iter().find(|named| named.1 == port).unwrap().0;
                text.split("port_value: ").skip(1).map(|value| name(port(value))).collect()
            };
            assert_eq!(order(&text, ports), order(BOOTSTRAP, Ports::LOCAL), "base {base}");
        }
    }
}
