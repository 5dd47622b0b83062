//! Services behind the edge that know it as little as may be: some verify tokens themselves, with PyJWT, others believe the
//! identity headers.

use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use countersign_stack::process::{self, Service};
use countersign_stack::stack::{Ports, Stack, State, Times};
use countersign_stack::tools;
use reqwest::header::AUTHORIZATION;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::super::ARTIFACTS;

/// How long the keys may be cached. A key signs at the earliest twice that after it was published.
const MAX_AGE: Duration = Duration::from_secs(2);

const PATIENCE: Duration = Duration::from_secs(30);

/// A platform whose backend is the services of `services.py`, and on which a rotation of keys takes seconds.
struct Platform {
    stack: Stack,
    services: Service,
    client: Client,
    _folder: TempDir,
}

impl Platform {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path().join("up")).unwrap();
        let times = Times { jwks_max_age: MAX_AGE, jwks_refresh: Duration::from_secs(1), ..Times::DEFAULT };
        let (artifacts, ports) = (ARTIFACTS.clone(), Ports::free().unwrap());
        let mut stack = Stack::start(artifacts, state, ports, times, false).await.unwrap();
        stack.stop_service("backend").await.unwrap();
        let mut uvicorn = process::command("python3".as_ref());
        uvicorn
            .args([
                "-m",
                "uvicorn",
                "services:app",
                "--host",
                "127.0.0.1",
                "--port",
                &ports.backend.to_string(),
            ])
            .current_dir(tools::workspace().join("tests/clients"))
            .env("PYTHONPATH", tools::python_clients().unwrap())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("NO_PROXY", "127.0.0.1")
            .env("LIFESPAN", MAX_AGE.as_secs().to_string())
            .env("JWKS_URL", stack.issuer_url("/.well-known/jwks.json"));
        let services = Service::start("services", &mut uvicorn, &stack.state.logs(), false).unwrap();
        let mut platform = Self { stack, services, client: Client::new(), _folder: folder };
        platform.wait_for_the_services().await;
        platform
    }

    async fn wait_for_the_services(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while self.client.get(self.direct("/fetches")).send().await.is_err() {
            let ended = self.services.has_ended();
            assert!(ended.is_none() && Instant::now() < deadline, "{}", self.services.last_words().await);
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Past the edge.
    fn direct(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.stack.ports.backend)
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let answer = self.client.post(self.stack.edge_url(path)).json(&body).send().await.unwrap();
        let status = answer.status();
        let body = answer.json().await.unwrap();
        assert!(status.is_success(), "{path}: {status} {body}");
        body
    }

    async fn get(&self, url: String, token: &str) -> (StatusCode, Value) {
        let request = self.client.get(url).header(AUTHORIZATION, format!("Bearer {token}"));
        let answer = request.send().await.unwrap();
        (answer.status(), answer.json().await.unwrap())
    }

    /// What a service answers through the edge; it must be content with the token.
    async fn asked(&self, path: &str, token: &str) -> Value {
        let (status, body) = self.get(self.stack.edge_url(path), token).await;
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        body
    }

    /// How often the services have fetched the issuer's keys.
    async fn fetches(&self) -> Value {
        self.client.get(self.direct("/fetches")).send().await.unwrap().json().await.unwrap()
    }

    async fn stop(self) {
        self.services.stop().await.unwrap();
        self.stack.stop().await.unwrap();
    }
}

fn text(body: &Value, pointer: &str) -> String {
    body.pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_else(|| panic!("no {pointer} in {body}"))
        .to_owned()
}

fn kid(token: &str) -> String {
    let header = Base64UrlUnpadded::decode_vec(token.split('.').next().unwrap()).unwrap();
    text(&serde_json::from_slice(&header).unwrap(), "/kid")
}

const SERVICES: [&str; 3] = ["/api/verified/regularly", "/api/verified/on-demand", "/api/told"];

#[tokio::test]
async fn a_service_that_verifies_tokens_itself_refuses_nobody_while_the_key_rotates() {
    let platform = Platform::start().await;
    let account = json!({"email": "ada@example.com", "password": "a calm orange lighthouse", "name": "Ada"});
    let mut login = platform.post("/v1/auth/register", account).await;
    let first = text(&login, "/access_token");
    assert_eq!(platform.asked(SERVICES[1], &first).await["sub"], login["user"]["id"]);

    platform.stack.operate(&["keys", "rotate"]).unwrap();
    let deadline = Instant::now() + PATIENCE;
    let latest = loop {
        login = platform.post("/v1/auth/refresh", json!({"refresh_token": login["refresh_token"]})).await;
        let token = text(&login, "/access_token");
        for path in SERVICES {
            platform.asked(path, &token).await;
            platform.asked(path, &first).await;
        }
        if kid(&token) != kid(&first) {
            break token;
        }
        assert!(Instant::now() < deadline, "the new key never signed");
        sleep(Duration::from_millis(50)).await;
    };
    // On demand: once at the first token, and once more at the first of the new key.
    assert_eq!(platform.fetches().await, 2);

    // It is the service that verifies, and not the edge for it.
    let (signed, _) = latest.rsplit_once('.').unwrap();
    let (_, of_another) = first.rsplit_once('.').unwrap();
    let forged = format!("{signed}.{of_another}");
    let (status, body) = platform.get(platform.direct(SERVICES[1]), &forged).await;
    assert_eq!((status, &body["detail"]), (StatusCode::UNAUTHORIZED, &json!("InvalidSignatureError")));
    platform.stop().await;
}

#[tokio::test]
async fn a_service_that_believes_headers_is_told_the_truth_and_nothing_else() {
    let platform = Platform::start().await;
    let account = json!({"email": "ada@example.com", "password": "a calm orange lighthouse", "name": "Ada"});
    let login = platform.post("/v1/auth/register", account).await;
    let token = text(&login, "/access_token");
    let session = platform.asked(SERVICES[1], &token).await["session_id"].clone();
    let truth = json!([login["user"]["id"], "ada@example.com", "user", session, "jwt"]);
    let nothing = json!([null, null, null, null, null]);

    let forging = |path: &str| {
        let names = ["x-user-id", "x-user-email", "x-user-roles", "x-session-id", "x-auth-method"];
        let spellings = names.into_iter().flat_map(|name| [name.to_owned(), name.replace('-', "_")]);
        let request = platform.client.get(platform.stack.edge_url(path));
        spellings.fold(request, |request, name| request.header(name, "mallory").header("X-User-Id", "eve"))
    };
    let told = forging("/api/told").header(AUTHORIZATION, format!("Bearer {token}")).send().await.unwrap();
    assert_eq!(told.json::<Value>().await.unwrap(), truth);
    let told = forging("/api/health").send().await.unwrap();
    assert_eq!(told.json::<Value>().await.unwrap(), nothing, "where anyone may come in");
    let refused = forging("/api/told").send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    platform.stop().await;
}
