//! One child process: its log goes to a file and, prefixed, to the terminal; it never outlives us.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How long a service may take to stop by itself.
const PATIENCE: Duration = Duration::from_secs(5);

/// How many lines are shown of a service that ended: a panic with its backtrace has more than a few.
const LAST_WORDS: usize = 20;

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
    command_that_dies_by("KILL", program)
}

/// The same, for a program that has something to put away: the signal that it gets when we are gone.
pub(crate) fn command_that_dies_by(signal: &str, program: &Path) -> Command {
    let setpriv = Path::new("/usr/bin/setpriv");
    let mut command = if setpriv.exists() {
        let mut command = Command::new(setpriv);
        command.args(["--pdeathsig", signal, "--"]).arg(program);
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

    /// The end of what it said, with words before it: why it ended. To be asked once it has ended.
    pub async fn last_words(&mut self) -> String {
        self.finish_log().await;
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        if lines.is_empty() {
            return "it said nothing".to_owned();
        }
        format!("it said last:\n{}", lines[lines.len().saturating_sub(LAST_WORDS)..].join("\n"))
    }

    /// Waits for what it said last, which may still be on its way to the file.
    async fn finish_log(&mut self) {
        // A child of its own could hold the pipe open.
        let _ = timeout(PATIENCE, async { while self.copies.join_next().await.is_some() {} }).await;
    }

    /// Asks it to stop, and makes it if it does not.
    pub async fn stop(self) -> Result<()> {
        self.stop_by(Signal::TERM).await
    }

    /// The same, for a program that takes another signal for the wish.
    pub(crate) async fn stop_by(mut self, signal: Signal) -> Result<()> {
        stop(&mut self.child, signal).await.with_context(|| format!("cannot stop {}", self.name))?;
        self.finish_log().await;
        Ok(())
    }
}

/// Ctrl-C, or the wish of another process that we stop. From the moment it listens, neither ends us by itself.
#[derive(Debug)]
pub struct Interrupt {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Interrupt {
    pub fn listen() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for it. Can be dropped and called again.
    pub async fn came(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Runs a command on our terminal to its end; an interrupt is passed on and is an error.
pub(crate) async fn run_to_end(command: &mut Command, interrupt: &mut Interrupt) -> Result<()> {
    let name = command.as_std().get_program().to_string_lossy().into_owned();
    let mut child = command.kill_on_drop(true).spawn().with_context(|| format!("cannot run {name}"))?;
    tokio::select! {
        status = child.wait() => {
            let status = status?;
            ensure!(status.success(), "{name} failed: {status}");
            Ok(())
        }
        () = interrupt.came() => {
            stop(&mut child, Signal::TERM).await.with_context(|| format!("cannot stop {name}"))?;
            bail!("interrupted")
        }
    }
}

/// Asks a process to stop, and makes it if it does not.
async fn stop(child: &mut Child, signal: Signal) -> io::Result<()> {
    if let Some(pid) = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) {
        // It may have ended in this moment; waiting tells.
        let _ = kill_process(pid, signal);
    }
    match timeout(PATIENCE, child.wait()).await {
        Ok(ended) => ended.map(drop),
        Err(_) => child.kill().await,
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
