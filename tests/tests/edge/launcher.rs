//! The launcher as a careless operator meets it.

use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::Duration;

use countersign_stack::stack::{Ports, Stack, State, Times, free_port, http_client};
use rustix::process::{Pid, Signal, kill_process};

use super::{ARTIFACTS, platform};

fn up(arguments: &[&str]) -> Command {
    let mut command = Command::new(&ARTIFACTS.stack);
    command.arg("up").args(arguments);
    command
}

/// The launcher at work, with what it has printed so far.
struct Launcher {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Launcher {
    fn start(command: &mut Command) -> Self {
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, lines }
    }

    fn wait_for(&mut self, needle: &str) -> String {
        let line = self.lines.by_ref().map(Result::unwrap).find(|line| line.contains(needle));
        line.unwrap_or_else(|| panic!("it ended without {needle:?}: {}", self.errors()))
    }

    /// What it started: process ids and their arguments.
    fn children(&self) -> Vec<(String, String)> {
        let id = self.process.id();
        let ids = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        let arguments = |id: &str| std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        let readable = |id: &str| String::from_utf8_lossy(&arguments(id)).replace('\0', " ");
        ids.split_whitespace().map(|id| (id.to_owned(), readable(id))).collect()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }

    /// What it said on standard error until its end.
    fn errors(&mut self) -> String {
        // It may have more to print before it ends.
        self.lines.by_ref().for_each(drop);
        let mut said = String::new();
        self.process.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        said
    }
}

/// Ports one after the other, free now, and no other test's.
fn free_base() -> u16 {
    loop {
        let base = free_port().unwrap();
        if (1..7).all(|next| free_port().unwrap() == base + next) {
            return base;
        }
    }
}

/// One line that says what is wrong, at the end, and a failure.
fn assert_one_clear_line(output: &Output, needle: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    let errors: Vec<_> = said.lines().skip_while(|line| !line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "{said}");
    assert!(errors[0].contains(needle), "{said}");
}

#[test]
fn an_occupied_port_is_one_clear_line() {
    let (base, folder) = (free_base(), tempfile::tempdir().unwrap());
    let _held = TcpListener::bind(("127.0.0.1", Ports::from_base(base).alerts)).unwrap();
    let output = up(&["--port-base", &base.to_string(), "--folder"]).arg(folder.path()).output().unwrap();
    assert_one_clear_line(&output, &format!("127.0.0.1:{} (alerts)", base + 5));
}

#[test]
fn a_missing_tool_is_one_clear_line() {
    let empty = tempfile::tempdir().unwrap();
    let path = empty.path().to_str().unwrap();
    let once = |environment: &[(&str, &str)]| {
        let mut command = up(&["--once", "--folder", path]);
        command.envs(environment.iter().copied()).output().unwrap()
    };
    assert_one_clear_line(&once(&[("PATH", path)]), "rustup is not installed");
    assert_one_clear_line(&once(&[("ENVOY_BIN", "/nowhere/envoy")]), "ENVOY_BIN names /nowhere/envoy");
    assert_one_clear_line(&once(&[("PATH", path), ("CARGO_TARGET_DIR", path)]), "python3 is not installed");
}

#[tokio::test]
async fn a_port_base_moves_every_port_and_a_proxy_of_the_environment_does_not_matter() {
    let (base, folder) = (free_base(), tempfile::tempdir().unwrap());
    let nobody = format!("http://127.0.0.1:{}", free_port().unwrap());
    let mut command = up(&["--port-base", &base.to_string(), "--folder"]);
    for variable in ["http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"] {
        command.env(variable, &nobody);
    }
    command.arg(folder.path()).env_remove("no_proxy").env_remove("NO_PROXY");
    let mut launcher = Launcher::start(&mut command);
    launcher.wait_for("The platform is up");
    launcher.wait_for("export no_proxy=localhost");
    for port in base..base + 7 {
        TcpStream::connect(("127.0.0.1", port)).unwrap_or_else(|error| panic!("{port}: {error}"));
    }
    let edge = format!("http://127.0.0.1:{base}/api/health");
    assert_eq!(http_client().get(edge).send().await.unwrap().status(), 200);
    launcher.signal(Signal::TERM);
    let errors = launcher.errors();
    assert!(launcher.process.wait().unwrap().success(), "{errors}");
}

#[tokio::test]
async fn the_edge_is_given_a_service_token_that_the_issuer_knows_and_no_log_has() {
    let (stack, _folder) = platform().await;
    let token = std::fs::read_to_string(stack.state.service_token()).unwrap();
    let feed = format!("http://127.0.0.1:{}/v1/internal/revocations", stack.ports.internal);
    let ask = || http_client().get(&feed);
    assert_eq!(ask().send().await.unwrap().status(), 401);
    assert_eq!(ask().header("x-service-token", &token).send().await.unwrap().status(), 200);
    for (file, log) in stack.logs().unwrap() {
        assert!(!log.contains(&token), "{}", file.display());
    }
    stack.stop().await.unwrap();
}

#[tokio::test]
async fn what_the_launcher_keeps_passes_our_own_check() {
    let (stack, _folder) = platform().await;
    let found = stack.operate(&["check"]).unwrap();
    assert!(found.ends_with("errors: 0, warnings: 0\n"), "{found}");
    stack.stop().await.unwrap();
}

#[test]
fn a_service_that_dies_has_the_last_word() {
    let (base, folder) = (free_base(), tempfile::tempdir().unwrap());
    let mut launcher =
        Launcher::start(up(&["--port-base", &base.to_string(), "--folder"]).arg(folder.path()));
    launcher.wait_for("The platform is up");
    let backend = Ports::from_base(base).backend;
    let mut asked = TcpStream::connect(("127.0.0.1", backend)).unwrap();
    write!(asked, "GET /api/last-words HTTP/1.1\r\nhost: backend\r\n\r\n").unwrap();
    launcher.wait_for("/api/last-words");
    let children = launcher.children();
    let (id, _) = children.iter().find(|(_, arguments)| arguments.contains("standin backend")).unwrap();
    kill_process(Pid::from_raw(id.parse().unwrap()).unwrap(), Signal::KILL).unwrap();

    let errors = launcher.errors();
    assert!(!launcher.process.wait().unwrap().success());
    let last: Vec<_> = errors.lines().skip_while(|line| !line.starts_with("error: ")).collect();
    assert!(last[0].starts_with("error: backend ended: signal: 9"), "{errors}");
    assert_eq!(last[1..], ["GET /api/last-words 404 as nobody"]);
}

#[tokio::test]
async fn edits_of_envoys_files_are_kept() {
    let (stack, folder) = platform().await;
    let state = stack.state.clone();
    let files = [state.bootstrap(), state.plugin()];
    let written = files.each_ref().map(|file| std::fs::read_to_string(file).unwrap());
    let ports = stack.ports;
    stack.stop().await.unwrap();
    drop(state);
    let restart = async || {
        let state = State::open(folder.path().join("up")).unwrap();
        let artifacts = ARTIFACTS.clone();
        let stack = Stack::start(artifacts, state, ports, Times::DEFAULT, false).await.unwrap();
        stack.stop().await.unwrap();
        files.each_ref().map(|file| std::fs::read_to_string(file).unwrap())
    };

    // As an older launcher wrote them, and nobody edited them: they follow.
    for file in &files {
        std::fs::write(file, "# older").unwrap();
        let original = folder.path().join("up/envoy/original").join(file.file_name().unwrap());
        std::fs::write(original, "# older").unwrap();
    }
    assert_eq!(restart().await, written);

    let edited = written.map(|text| format!("# by hand\n{text}"));
    for (file, text) in files.iter().zip(&edited) {
        std::fs::write(file, text).unwrap();
    }
    for start in ["the first", "every other"] {
        assert_eq!(restart().await, edited, "{start} start");
    }
}

#[tokio::test]
async fn stopping_cuts_no_request_under_way() {
    let (stack, _folder) = platform().await;
    let edge = ("127.0.0.1", stack.ports.edge);
    let body = r#"{"email":"ada@example.com","password":"not the one"}"#;
    let (first, rest) = body.split_at(10);
    let mut client = TcpStream::connect(edge).unwrap();
    let head = "POST /v1/auth/login HTTP/1.1\r\nhost: edge\r\ncontent-type: application/json\r\n";
    write!(client, "{head}content-length: {}\r\n\r\n{first}", body.len()).unwrap();
    let under_way = stack.admin_url("/stats?filter=^http.edge.downstream_rq_active$");
    let stats = async || http_client().get(&under_way).send().await.unwrap().text().await.unwrap();
    while !stats().await.trim().ends_with(": 1") {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    let stopping = tokio::spawn(stack.stop());
    while TcpStream::connect(edge).is_ok() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    client.write_all(rest.as_bytes()).unwrap();
    // The edge closes the connection after its answer.
    let answer = tokio::task::spawn_blocking(move || {
        let mut answer = String::new();
        client.read_to_string(&mut answer).map(|_| answer)
    });
    let answer = answer.await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    stopping.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_broken_issuer_config_stops_the_start_with_its_reason() {
    let (stack, folder) = platform().await;
    let (config, ports) = (stack.state.issuer_config(), stack.ports);
    stack.stop().await.unwrap();
    let good = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, good.replace("access_lifetime", "acess_lifetime")).unwrap();
    let error = start(folder.path(), ports).await.expect_err("the issuer took an unknown key");
    assert!(error.contains("acess_lifetime") && error.contains("access_lifetime"), "{error}");
}

#[tokio::test]
async fn a_folder_of_other_ports_or_without_its_database_is_refused_with_what_would_be_right() {
    let (stack, folder) = platform().await;
    let (ports, database) = (stack.ports, stack.state.issuer_config().with_file_name("issuer.db"));
    stack.stop().await.unwrap();
    let others = start(folder.path(), Ports::free().unwrap()).await.expect_err("it listens elsewhere");
    assert!(others.contains("countersign.toml") && others.contains("--port-base"), "{others}");
    std::fs::remove_file(&database).unwrap();
    let gone = start(folder.path(), ports).await.expect_err("the administrator is gone");
    assert!(gone.contains("issuer.db is gone") && gone.contains("--fresh"), "{gone}");
}

async fn start(folder: &Path, ports: Ports) -> Result<Stack, String> {
    let (artifacts, state) = (ARTIFACTS.clone(), State::open(folder.join("up")).unwrap());
    Stack::start(artifacts, state, ports, Times::DEFAULT, false).await.map_err(|error| format!("{error:#}"))
}

#[tokio::test]
async fn accounts_and_keys_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (artifacts, state) = (ARTIFACTS.clone(), State::open(folder.path().join("up")).unwrap());
    let ports = Ports::free().unwrap();
    let stack = Stack::start(artifacts.clone(), state.clone(), ports, Times::DEFAULT, false).await.unwrap();
    let token = super::token(&stack, "ada@example.com").await;
    stack.stop().await.unwrap();

    let stack = Stack::start(artifacts, state, ports, Times::DEFAULT, false).await.unwrap();
    let answer =
        reqwest::Client::new().get(stack.edge_url("/v1/users/me")).bearer_auth(token).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    stack.stop().await.unwrap();
}

#[tokio::test]
async fn a_second_stack_does_not_touch_the_state_of_the_first() {
    let (stack, folder) = platform().await;
    let refused = State::open(folder.path().join("up")).expect_err("two stacks share a folder").to_string();
    assert!(refused.contains("in use by another cargo up"), "{refused}");
    stack.stop().await.unwrap();
    State::open(folder.path().join("up")).unwrap();
}

#[tokio::test]
async fn what_is_there_is_kept_when_the_admin_password_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let (artifacts, state) = (ARTIFACTS.clone(), State::open(folder.path().join("up")).unwrap());
    let ports = Ports::free().unwrap();
    let stack = Stack::start(artifacts.clone(), state.clone(), ports, Times::DEFAULT, false).await.unwrap();
    let config = std::fs::read_to_string(state.issuer_config()).unwrap();
    let token = super::token(&stack, "ada@example.com").await;
    stack.stop().await.unwrap();

    let password = state.admin_password();
    // Lost for good, and as a start that was killed between account and file leaves it.
    for left in [None, Some(password.with_extension("pending"))] {
        match left {
            None => std::fs::remove_file(&password).unwrap(),
            Some(pending) => std::fs::write(pending, "kept from the start that was killed").unwrap(),
        }
        let stack =
            Stack::start(artifacts.clone(), state.clone(), ports, Times::DEFAULT, false).await.unwrap();
        assert_eq!(std::fs::read_to_string(state.issuer_config()).unwrap(), config);
        let answer = reqwest::Client::new()
            .get(stack.edge_url("/v1/users/me"))
            .bearer_auth(&token)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
        stack.stop().await.unwrap();
    }
    assert!(password.exists());
}

#[tokio::test]
async fn stopping_leaves_no_port_taken() {
    let (stack, _folder) = platform().await;
    let ports = stack.ports;
    stack.stop().await.unwrap();
    for (name, port) in ports.named() {
        TcpListener::bind(("127.0.0.1", port)).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[test]
fn the_tour_tells_each_line_when_it_is_reached_and_a_killed_launcher_leaves_no_process_behind() {
    let folder = tempfile::tempdir().unwrap();
    let mut launcher = Launcher::start(up(&["--once", "--folder"]).arg(folder.path()));
    launcher.wait_for("ok    register ");
    assert_eq!(launcher.process.try_wait().unwrap(), None, "the first line came with the last");
    let started = launcher.children();
    assert!(started.len() >= 5, "{started:?}");
    launcher.process.kill().unwrap();
    launcher.process.wait().unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while let Some((id, _)) = started.iter().find(|(id, _)| is_running(id)) {
        assert!(std::time::Instant::now() < deadline, "process {id} is still there");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A process that has ended and waits to be reaped by init runs no more.
fn is_running(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}
