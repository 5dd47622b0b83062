//! One child process: its log goes to a file and, prefixed, to the terminal; it never outlives us.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How long a service may take to stop by itself.
const PATIENCE: Duration = Duration::from_secs(5);

/// A running child, killed when it is dropped.
#[derive(Debug)]
pub struct Service {
    pub name: &'static str,
    pub log: PathBuf,
    child: Child,
    /// What copies its output to the log.
    copies: JoinSet<()>,
}

/// The program, tied to our life: the kernel ends it even when we are killed and cannot.
pub fn command(program: &Path) -> Command {
    let setpriv = Path::new("/usr/bin/setpriv");
    let mut command = if setpriv.exists() {
        let mut command = Command::new(setpriv);
        command.args(["--pdeathsig", "KILL", "--"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    // Its own group: Ctrl-C reaches us alone, and we stop the services in order.
    command.process_group(0).kill_on_drop(true).stdin(Stdio::null());
    command
}

impl Service {
    /// Starts the command with its output in `folder/name.log`, and on the terminal if `echo`.
    pub fn start(name: &'static str, command: &mut Command, folder: &Path, echo: bool) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let file = Arc::new(File::create(&log).with_context(|| format!("cannot write {}", log.display()))?);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let prefix = echo.then_some(name);
        let mut copies = JoinSet::new();
        if let Some(output) = child.stdout.take() {
            copies.spawn(copy_lines(output, file.clone(), prefix));
        }
        if let Some(output) = child.stderr.take() {
            copies.spawn(copy_lines(output, file, prefix));
        }
        Ok(Self { name, log, child, copies })
    }

    /// Its process id, unless it was seen to end.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits until the process ends by itself. Can be dropped and called again.
    pub async fn ended(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Whether it has ended already.
    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// The end of what it said: why it ended. To be asked once it has ended.
    pub async fn last_words(&mut self) -> String {
        self.finish_log().await;
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(5)..].join("\n")
    }

    /// Waits for what it said last, which may still be on its way to the file.
    async fn finish_log(&mut self) {
        // A child of its own could hold the pipe open.
        let _ = timeout(PATIENCE, async { while self.copies.join_next().await.is_some() {} }).await;
    }

    /// Asks it to stop, and makes it if it does not.
    pub async fn stop(mut self) -> Result<()> {
        if let Some(pid) = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) {
            // It may have ended in this moment; waiting tells.
            let _ = kill_process(pid, Signal::TERM);
        }
        if timeout(PATIENCE, self.child.wait()).await.is_err() {
            self.child.kill().await.with_context(|| format!("cannot stop {}", self.name))?;
        }
        self.finish_log().await;
        Ok(())
    }
}

async fn copy_lines(output: impl AsyncRead + Unpin, log: Arc<File>, prefix: Option<&'static str>) {
    let mut lines = BufReader::new(output).split(b'\n');
    while let Ok(Some(mut line)) = lines.next_segment().await {
        line.push(b'\n');
        // A full disk must not stop the service whose log it is.
        let _ = (&*log).write_all(&line);
        if let Some(name) = prefix {
            let _ = write!(io::stdout().lock(), "{name:>8} | {}", String::from_utf8_lossy(&line));
        }
    }
}
