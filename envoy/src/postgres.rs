//! PostgreSQL for tests: the server that `TEST_DATABASE_URL` names, or a private one, in a temporary folder, gone with us.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::process::{self, Interrupt, Service};
use crate::stack::{free_port, random_hex, run_quietly, write_secret};
use crate::tools;

/// The variable that names the database to the tests.
pub const URL_VARIABLE: &str = "TEST_DATABASE_URL";

const PATIENCE: Duration = Duration::from_secs(30);

/// Whether a commit waits for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// What a test writes need not survive the machine.
    Off,
    /// As a server in use has it. What is measured on any other proves nothing about writes.
    On,
}

impl Durability {
    fn settings(self) -> &'static [&'static str] {
        match self {
            Self::Off => &["fsync=off", "full_page_writes=off"],
            Self::On => &[],
        }
    }
}

/// Where tests find PostgreSQL.
#[derive(Debug)]
pub struct Postgres {
    url: String,
    /// Ours, unless the environment named one.
    server: Option<Server>,
}

#[derive(Debug)]
struct Server {
    service: Service,
    /// Data and log; they go with it.
    _folder: TempDir,
}

impl Postgres {
    /// The server that the environment names, or one of our own.
    pub async fn provide(durability: Durability) -> Result<Self> {
        match std::env::var(URL_VARIABLE) {
            Ok(url) => Ok(Self { url, server: None }),
            Err(_) => Self::start(durability).await,
        }
    }

    /// Starts a server of our own on a free port of 127.0.0.1, for whoever has its URL.
    pub async fn start(durability: Durability) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("countersign-postgres-")
            .tempdir()
            .context("cannot make a temporary folder for PostgreSQL")?;
        let account = Account::of_the_server()?;
        let programs = account.installation(folder.path())?.join("bin");
        let password = random_hex::<16>()?;
        let data = folder.path().join("data");
        let said_once = folder.path().join("password");
        write_secret(&said_once, &password)?;
        account.give(folder.path())?;

        let mut initdb = Command::new(programs.join("initdb"));
        initdb.args(["--username=postgres", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"]);
        initdb.arg("--no-sync").arg("--pwfile").arg(&said_once).arg("--pgdata").arg(&data);
        initdb.current_dir(folder.path());
        account.wear(&mut initdb);
        run_quietly(&mut initdb, "").context("cannot prepare a PostgreSQL database")?;
        fs::remove_file(&said_once)?;

        let port = free_port()?;
        // INT is what PostgreSQL calls a fast shutdown: sessions are ended, and it leaves nothing behind.
        let mut postgres = process::command_that_dies_by("INT", &programs.join("postgres"));
        postgres.arg("-D").arg(&data).args(["-p", &port.to_string()]).current_dir(folder.path());
        let settings = [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            // Each test has connections of its own, and they run side by side.
            "max_connections=300",
        ];
        for setting in settings.iter().chain(durability.settings()) {
            postgres.args(["-c", setting]);
        }
        account.wear(postgres.as_std_mut());
        let service = Service::start("postgres", &mut postgres, folder.path(), false)?;
        let mut server = Server { service, _folder: folder };
        server.wait_until_ready(&data).await?;
        Ok(Self {
            url: format!("postgres://postgres:{password}@127.0.0.1:{port}/postgres"),
            server: Some(server),
        })
    }

    /// Where it is, with the password.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Stops the server, if it is ours, and removes what it left.
    pub async fn stop(self) -> Result<()> {
        match self.server {
            Some(server) => server.service.stop_by(Signal::INT).await,
            None => Ok(()),
        }
    }
}

impl Server {
    /// PostgreSQL writes into a file how far it is.
    async fn wait_until_ready(&mut self, data: &Path) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let status = data.join("postmaster.pid");
        while !fs::read_to_string(&status).unwrap_or_default().lines().any(|line| line.trim() == "ready") {
            if let Some(status) = self.service.has_ended() {
                bail!("PostgreSQL ended while starting: {status}; {}", self.service.last_words().await);
            }
            ensure!(Instant::now() < deadline, "PostgreSQL is not ready after {} s", PATIENCE.as_secs());
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

/// As whom the server runs. PostgreSQL refuses to be root: root starts it as `nobody`.
#[derive(Debug)]
enum Account {
    Ours,
    Nobody { user: u32, group: u32 },
}

impl Account {
    fn of_the_server() -> Result<Self> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self::Ours);
        }
        let id = |option| -> Result<u32> {
            let id = run_quietly(Command::new("id").args([option, "nobody"]), "")?;
            id.trim().parse().with_context(|| format!("nobody's id is {id:?}"))
        };
        Ok(Self::Nobody { user: id("-u")?, group: id("-g")? })
    }

    /// PostgreSQL where the account can read it: `nobody` gets a copy in the folder, since the workspace may lie in one
    /// that is closed to him.
    fn installation(&self, folder: &Path) -> Result<PathBuf> {
        let (home, parts) = tools::postgres()?;
        let home = match self {
            Self::Ours => home,
            Self::Nobody { .. } => {
                let copy = folder.join("install");
                fs::create_dir(&copy)?;
                let mut cp = Command::new("cp");
                tools::run(cp.args(["-r", "--parents"]).args(parts).arg(&copy).current_dir(home))?;
                copy
            }
        };
        Ok(home.join(parts[0]))
    }

    /// Makes the folder and all that is in it the account's.
    fn give(&self, folder: &Path) -> Result<()> {
        match self {
            Self::Ours => Ok(()),
            Self::Nobody { user, group } => {
                tools::run(Command::new("chown").arg("-R").arg(format!("{user}:{group}")).arg(folder))
            }
        }
    }

    /// Lets the command run as the account.
    fn wear(&self, command: &mut Command) {
        if let Self::Nobody { user, group } = self {
            command.uid(*user).gid(*group);
        }
    }
}

/// Runs a command with [`URL_VARIABLE`] set, and stops the server when it has ended or is interrupted.
pub async fn run_with(durability: Durability, command: &[String]) -> Result<()> {
    let mut interrupt = Interrupt::listen()?;
    let (program, arguments) = command.split_first().context("no command was given")?;
    let postgres = Postgres::provide(durability).await?;
    let mut command = tokio::process::Command::new(program);
    command.args(arguments).env(URL_VARIABLE, postgres.url());
    tools::forget_our_package(command.as_std_mut());
    let outcome = process::run_to_end(&mut command, &mut interrupt).await;
    postgres.stop().await?;
    outcome
}
