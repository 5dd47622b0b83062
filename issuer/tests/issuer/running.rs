//! `countersign serve` as a process: start, live reload, stop. The only tests that wait for real time, and then
//! only until what they wait for is there.

mod credentials;
mod memory;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::command::countersign;
use crate::stage::{Folder, ON_A_FILE, PASSWORD, key_lines};

const PATIENCE: Duration = Duration::from_secs(20);

/// Of registrations from one address.
const ANY_NUMBER: &str = "[limits]\nregistrations_per_address = 1000000\n";

struct Running {
    child: Child,
    log: Receiver<Value>,
    address: SocketAddr,
    /// Where it talks to services.
    internal: SocketAddr,
    folder: Folder,
}

impl Running {
    fn start() -> Self {
        Self::start_as(Folder::new(""), |command| command)
    }

    /// `prepare` may wrap the command in another.
    fn start_as(folder: Folder, prepare: impl FnOnce(Command) -> Command) -> Self {
        let folder = folder.for_a_process();
        let (child, log) = spawn(prepare(serving(&folder)));
        let nowhere = ([127, 0, 0, 1], 0).into();
        let mut running = Self { child, log, address: nowhere, internal: nowhere, folder };
        running.wait_until_it_listens();
        running
    }

    /// Stops it, and starts another where it was.
    fn restart(&mut self) {
        self.signal("TERM");
        self.event("stopped");
        assert!(self.child.wait().unwrap().success());
        (self.child, self.log) = spawn(serving(&self.folder));
        self.wait_until_it_listens();
    }

    fn wait_until_it_listens(&mut self) {
        let listening = |event| self.event(event)["address"].as_str().unwrap().parse().unwrap();
        (self.internal, self.address) = (listening("listening_internally"), listening("listening"));
    }

    /// The next log line about this event.
    fn event(&self, name: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.log.recv_timeout(left).unwrap_or_else(|_| panic!("no event {name}"));
            if line["event"] == name {
                return line;
            }
        }
    }

    fn send(&self, request: &str) -> String {
        send_to(self.address, request).unwrap()
    }

    fn get(&self, path: &str) -> String {
        self.send(&format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"))
    }

    fn post(&self, path: &str, body: &Value) -> String {
        post_to(self.address, path, body).unwrap()
    }

    fn signal(&self, name: &str) {
        let sent =
            Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }
}

fn serving(folder: &Folder) -> Command {
    let mut command = countersign(&folder.config());
    command.arg("serve");
    command
}

/// The process, and the lines of its log.
fn spawn(mut command: Command) -> (Child, Receiver<Value>) {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let (sender, log) = channel();
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            let _ = sender.send(serde_json::from_str(&line).unwrap_or(Value::String(line)));
        }
    });
    (child, log)
}

/// The whole answer; `None` if there is none.
fn send_to(address: SocketAddr, request: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

fn post_to(address: SocketAddr, path: &str, body: &Value) -> Option<String> {
    let body = body.to_string();
    let length = body.len();
    let head =
        format!("POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json");
    send_to(address, &format!("{head}\r\ncontent-length: {length}\r\n\r\n{body}"))
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn it_serves_and_stops_when_told_to() {
    let mut issuer = Running::start();
    assert!(issuer.get("/readyz").contains("\"status\":\"ready\""));
    // A client that says nothing does not keep it from stopping.
    let _idle = TcpStream::connect(issuer.address).unwrap();
    issuer.signal("TERM");
    issuer.event("stopped");
    assert!(issuer.child.wait().unwrap().success());
    assert!(TcpStream::connect(issuer.address).is_err());
}

#[test]
fn a_certificate_is_replaced_without_a_restart() {
    use crate::tls::{Authority, connect, install};

    let authority = Authority::new();
    let folder = Folder::new("");
    install(&folder, &authority.server(), &authority);
    let files = "\n[internal.tls]\ncert_file = \"server.pem\"\nkey_file = \"server.key\"\nclient_ca_file = \"clients.pem\"\n";
    folder.append("countersign.toml", files);
    let issuer = Running::start_as(folder, |command| command);
    let connected = |authority: &Authority| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(connect(issuer.internal, authority, Some(&authority.client()))).is_some()
    };
    let next = Authority::new();
    assert!(connected(&authority) && !connected(&next));
    install(&issuer.folder, &next.server(), &next);
    issuer.signal("HUP");
    issuer.event("certificate_reloaded");
    assert!(connected(&next) && !connected(&authority));
    issuer.folder.write("server.key", "no key");
    issuer.event("certificate_refused");
    assert!(connected(&next));
}

#[test]
fn what_happens_is_sealed_by_itself_and_the_log_has_the_head() {
    let issuer = Running::start();
    let body = json!({"email": "ada@example.com", "password": PASSWORD, "name": "Ada"});
    assert!(issuer.post("/v1/auth/register", &body).contains("201"));
    let sealed = issuer.event("audit_sealed");
    assert_eq!(sealed["sequence"], 1);
    let head = sealed["head"].as_str().unwrap();
    let proved =
        countersign(&issuer.folder.config()).args(["audit", "verify", "--head", head]).output().unwrap();
    assert!(proved.status.success(), "{}", String::from_utf8_lossy(&proved.stderr));
}

#[test]
fn whoever_takes_the_place_of_one_that_was_stopped_seals_at_once() {
    let mut issuer = Running::start();
    for name in ["ada", "bob"] {
        let body = json!({"email": format!("{name}@example.com"), "password": PASSWORD, "name": name});
        assert!(issuer.post("/v1/auth/register", &body).contains("201"));
        // Within less than the minute for which one that was killed keeps others from it.
        issuer.event("audit_sealed");
        issuer.restart();
    }
}

#[test]
fn a_limit_on_file_sizes_is_a_503_and_does_not_kill() {
    // In blocks of 512 bytes.
    let folder = Folder::new(&format!("{ON_A_FILE}{ANY_NUMBER}"));
    let issuer = Running::start_as(folder, |serve| {
        let mut limited = Command::new("sh");
        limited
            .args(["-c", "ulimit -f 2000 && exec \"$0\" \"$@\""])
            .arg(serve.get_program())
            .args(serve.get_args());
        let variables = serve.get_envs().filter_map(|(name, value)| Some((name, value?)));
        limited.env_clear().envs(variables).env("PATH", "/usr/bin:/bin").stdin(Stdio::null());
        limited
    });
    let register = |n| {
        let email = format!("{n}@example.com");
        issuer.post("/v1/auth/register", &json!({"email": email, "password": PASSWORD, "name": "Ada"}))
    };
    let refused = (0..200).map(register).find(|answer| !answer.starts_with("HTTP/1.1 201")).unwrap();
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
    assert!(issuer.get("/healthz").contains("200 OK"));
}

#[test]
fn the_log_has_the_path_and_no_secret() {
    let issuer = Running::start();
    let body = json!({"email": "ada@example.com", "password": PASSWORD, "name": "Ada"});
    let answer = issuer.post("/v1/auth/register?token=in-the-query", &body);
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    let body: Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    issuer.post("/v1/auth/login", &json!({"email": "ada@example.com", "password": "a wrong password"}));
    issuer.post("/v1/auth/refresh", &json!({"refresh_token": body["refresh_token"]}));
    issuer.signal("TERM");
    let mut events = Vec::new();
    while let Ok(line) = issuer.log.recv_timeout(PATIENCE) {
        let text = line.to_string();
        for secret in [PASSWORD, "a wrong password", "in-the-query", "eyJ", "v1.", "PRIVATE KEY", "$argon2id"]
        {
            assert!(!text.contains(secret), "{text} has {secret}");
        }
        events.push(line["event"].as_str().unwrap_or_default().to_owned());
        if line["event"] == "request" {
            assert!(line["path"].as_str().unwrap().starts_with("/v1/auth/"), "{text}");
            assert!(line["status"].is_u64() && line["micros"].is_u64() && line["method"] == "POST", "{text}");
            assert!(line["span"]["request_id"].is_string(), "{text}");
        }
    }
    for event in ["registered", "login_failed", "request", "stopping", "stopped"] {
        assert!(events.iter().any(|e| e == event), "{events:?} has no {event}");
    }
}

#[test]
fn a_proxy_that_nobody_named_is_told_of_once() {
    let folder = Folder::new("");
    let text = std::fs::read_to_string(folder.config()).unwrap();
    folder.write("countersign.toml", &text.replace("trusted_proxies", "# trusted_proxies"));
    let issuer = Running::start_as(folder, |command| command);
    let login = |headers: &str| {
        let body = r#"{"email":"ada@example.com","password":"wrong wrong wrong"}"#;
        let length = body.len();
        let request = format!(
            "POST /v1/auth/login HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n\
             {headers}content-length: {length}\r\n\r\n{body}"
        );
        assert!(issuer.send(&request).starts_with("HTTP/1.1 401"));
    };
    for headers in ["", "x-forwarded-for: 203.0.113.9\r\n", "x-forwarded-for: 203.0.113.10\r\n"] {
        login(headers);
    }
    issuer.signal("TERM");
    let mut told = Vec::new();
    while let Ok(line) = issuer.log.recv_timeout(PATIENCE) {
        told.extend(line["event"].as_str().map(str::to_owned));
    }
    let count = |event: &str| told.iter().filter(|told| *told == event).count();
    assert_eq!((count("proxy_not_trusted"), count("login_failed")), (1, 3), "{told:?}");
}

#[test]
fn changed_files_take_effect_while_it_runs() {
    let issuer = Running::start();
    assert!(!issuer.get("/.well-known/jwks.json").contains("\"two\""));
    issuer.folder.append("countersign.toml", &key_lines("two", 4_000_000_000));
    issuer.event("keys_reloaded");
    assert!(issuer.get("/.well-known/jwks.json").contains("\"two\""));

    issuer.folder.append("countersign.toml", "no such line\n");
    let refused = issuer.event("config_refused");
    assert!(refused["finding"].as_str().unwrap().contains("countersign.toml: line "), "{refused}");
    assert!(issuer.get("/.well-known/jwks.json").contains("\"two\""));
    // On a busy machine one change may be noticed twice.
    assert!(!issuer.get("/readyz").contains("\"refused_reloads\":0"));
}

#[test]
fn a_rotation_by_command_takes_effect_while_it_runs() {
    let issuer = Running::start();
    let mut rotate = countersign(&issuer.folder.config());
    assert!(
        rotate.args(["keys", "rotate", "--kid", "next"]).stdout(Stdio::null()).status().unwrap().success()
    );
    issuer.event("keys_reloaded");
    assert!(issuer.get("/.well-known/jwks.json").contains("\"next\""));
}

#[test]
fn a_key_file_that_comes_late_is_noticed() {
    let issuer = Running::start();
    issuer.folder.append("countersign.toml", &key_lines("late", 4_000_000_000));
    issuer.event("config_refused");
    issuer.folder.write("late.pem", &crate::stage::pem(5));
    issuer.event("keys_reloaded");
    assert!(issuer.get("/.well-known/jwks.json").contains("\"late\""));
}

#[test]
fn sighup_reloads() {
    let issuer = Running::start();
    issuer.signal("HUP");
    issuer.event("keys_reloaded");
    assert!(issuer.get("/healthz").contains("200 OK"));
}

#[test]
fn what_is_no_http_does_not_stop_it() {
    let issuer = Running::start();
    for garbage in [
        "\0\0\0\0\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "POST /v1/auth/login HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
    ] {
        let answer = issuer.send(garbage);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    assert!(issuer.get("/healthz").contains("200 OK"));
}

#[test]
fn a_log_that_nobody_reads_blocks_nobody() {
    let folder = Folder::new("").for_a_process();
    let mut command = countersign(&folder.config());
    let mut child = command.arg("serve").stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    // Read until it listens, and never again: the pipe takes 64 KiB.
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let listening =
        lines.by_ref().map_while(Result::ok).find(|line| line.contains("\"event\":\"listening\""));
    let listening: Value = serde_json::from_str(&listening.unwrap()).unwrap();
    let address: SocketAddr = listening["address"].as_str().unwrap().parse().unwrap();
    let issuer = Running { child, log: channel().1, address, internal: address, folder };
    for _ in 0..2_000 {
        assert!(issuer.get("/healthz").starts_with("HTTP/1.1 200"));
    }
    drop(lines);
}

#[test]
fn what_was_answered_is_there_after_a_kill_under_load() {
    let mut issuer = Running::start_as(Folder::new(ANY_NUMBER), |command| command);
    let (answered, registered) = channel();
    std::thread::scope(|threads| {
        for thread in 0..4 {
            let (answered, address) = (answered.clone(), issuer.address);
            threads.spawn(move || {
                for n in 0.. {
                    let email = format!("{thread}-{n}@example.com");
                    let body = json!({"email": email, "password": PASSWORD, "name": "Ada"});
                    match post_to(address, "/v1/auth/register", &body) {
                        Some(answer) if answer.starts_with("HTTP/1.1 201") => answered.send(email).unwrap(),
                        // Killed meanwhile.
                        _ => return,
                    }
                }
            });
        }
        for _ in 0..20 {
            registered.recv_timeout(PATIENCE).unwrap();
        }
        issuer.child.kill().unwrap();
    });
    drop(answered);
    let mut after: Vec<String> = registered.iter().collect();
    issuer.child.wait().unwrap();
    let list = countersign(&issuer.folder.config()).args(["users", "list"]).output().unwrap();
    let list = String::from_utf8(list.stdout).unwrap();
    // The first twenty were taken out while it ran.
    assert!(list.lines().count() > 20, "{list}");
    after.retain(|email| !list.contains(&format!(" {email} ")));
    assert_eq!(after, Vec::<String>::new());
}

/// What the edge reads of the feed; `None` if there was no answer.
fn read_feed(internal: SocketAddr, token: &str, query: &str) -> Option<Value> {
    let path = format!("/v1/internal/revocations?{query}");
    let head =
        format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-service-token: {token}\r\n\r\n");
    let answer = send_to(internal, &head)?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
    Some(serde_json::from_str(body).unwrap())
}

fn edge_token(issuer: &Running) -> String {
    let add = ["services", "add", "edge", "--scope", "revocations:read", "--scope", "api-keys:exchange"];
    let added = countersign(&issuer.folder.config()).args(add).output().unwrap();
    assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
    String::from_utf8(added.stdout).unwrap().trim_end().to_owned()
}

fn known(page: &Value) -> String {
    format!("since={}&epoch={}&wait=30", page["sequence"], page["epoch"].as_str().unwrap())
}

#[test]
fn an_operators_command_wakes_the_edge_and_a_stop_ends_its_wait() {
    let issuer = Running::start();
    let token = edge_token(&issuer);
    let body = json!({"email": "ada@example.com", "password": PASSWORD, "name": "Ada"});
    assert!(issuer.post("/v1/auth/register", &body).contains("201"));
    let internal = issuer.internal;
    let first = read_feed(internal, &token, "").unwrap();
    let page = std::thread::scope(|threads| {
        let waits = threads.spawn(|| read_feed(internal, &token, &known(&first)).unwrap());
        let deactivate = ["users", "deactivate", "ada@example.com"];
        assert!(
            countersign(&issuer.folder.config())
                .args(deactivate)
                .stdout(Stdio::null())
                .status()
                .unwrap()
                .success()
        );
        waits.join().unwrap()
    });
    assert_eq!(page["entries"].as_array().unwrap().len(), 1, "{page}");
    let last = std::thread::scope(|threads| {
        let waits = threads.spawn(|| read_feed(internal, &token, &known(&page)));
        while !send_to(issuer.internal, "GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            .unwrap()
            .contains("countersign_feed_waiting 1\n")
        {
            std::thread::sleep(Duration::from_millis(10));
        }
        issuer.signal("TERM");
        waits.join().unwrap()
    });
    // Answered, and not cut off.
    assert_eq!(last.unwrap()["entries"], json!([]));
    issuer.event("stopped");
}

#[test]
fn what_was_ended_is_in_the_feed_after_a_kill() {
    let mut issuer = Running::start();
    let token = edge_token(&issuer);
    let register = |n: u32| {
        let email = format!("{n}@example.com");
        let answer =
            issuer.post("/v1/auth/register", &json!({"email": email, "password": PASSWORD, "name": "Ada"}));
        let body: Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
        body["refresh_token"].as_str().unwrap().to_owned()
    };
    let people: Vec<String> = (0..8).map(register).collect();
    let ended: Vec<&str> = people.iter().map(|token| token.split('.').nth(1).unwrap()).collect();
    let before = read_feed(issuer.internal, &token, "").unwrap();
    for token in &people {
        assert!(issuer.post("/v1/auth/logout", &json!({"refresh_token": token})).starts_with("HTTP/1.1 204"));
    }
    issuer.child.kill().unwrap();
    issuer.child.wait().unwrap();
    let mut serve = countersign(&issuer.folder.config());
    let mut child = serve.arg("serve").stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let mut listening = |event: &str| -> SocketAddr {
        let line = lines.find(|line| line.contains(&format!("\"event\":\"{event}\""))).unwrap();
        serde_json::from_str::<Value>(&line).unwrap()["address"].as_str().unwrap().parse().unwrap()
    };
    (issuer.internal, issuer.address) = (listening("listening_internally"), listening("listening"));
    issuer.child = child;
    // The token is good still; what the edge knew is of another history, and it gets all of it.
    let page = read_feed(issuer.internal, &token, &known(&before)).unwrap();
    assert_eq!((&page["reset"], page["epoch"] == before["epoch"]), (&json!(true), false));
    let told: Vec<&str> = page["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["session_id"].as_str().unwrap())
        .collect();
    assert_eq!(told, ended);
}
