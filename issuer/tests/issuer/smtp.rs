//! Mail over SMTP, with a real server (aiosmtpd): one that takes it, and one that refuses, hangs, or takes it and dies.
//! Whatever it does, no request waits for it.

use std::process::Stdio;

use countersign_issuer::config::{MailTransport, Settings};
use countersign_stack::tools;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::letters::Letter;
use crate::stage::{Folder, PASSWORD, TestApp};

/// The server, until this is dropped.
struct Server {
    _child: Child,
    events: Lines<BufReader<ChildStdout>>,
    port: u64,
}

impl Server {
    async fn start(arguments: &[&str]) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/issuer/smtp_server.py");
        let mut command = Command::new("python3");
        command.arg(script).args(arguments).env("PYTHONPATH", tools::aiosmtpd().unwrap());
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true).spawn().unwrap();
        let events = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut server = Self { _child: child, events, port: 0 };
        server.port = server.event("listening").await["port"].as_u64().unwrap();
        server
    }

    /// The next event of this name.
    async fn event(&mut self, name: &str) -> Value {
        loop {
            let line = self.events.next_line().await.unwrap().unwrap_or_else(|| panic!("no event {name}"));
            let event: Value = serde_json::from_str(&line).unwrap();
            if event["event"] == name {
                return event;
            }
        }
    }

    async fn letter(&mut self) -> Letter {
        let event = self.event("data").await;
        Letter(event["message"].as_str().unwrap().to_owned())
    }

    /// The lines of a configuration that send mail here, unencrypted.
    fn plain(&self) -> String {
        format!(
            "[mail]\ntransport = \"smtp\"\nfrom = \"Trade <no-reply@trade.example>\"\nhost = \"127.0.0.1\"\nport = {}\n\
             tls = \"none\"\n",
            self.port
        )
    }
}

/// With so many seconds for a message.
fn patience(seconds: i64) -> impl FnOnce(&mut Settings) {
    move |settings| {
        if let MailTransport::Smtp { server, .. } = &mut settings.mail.transport {
            server.timeout = seconds;
        }
    }
}

/// Someone with an account who has forgotten the password.
async fn forgetful(app: &TestApp, email: &str) {
    app.registered(email).await;
    let asked = app.post("/v1/auth/password/forgot", json!({"email": email}));
    asked.await.expect(StatusCode::ACCEPTED);
}

/// Attempts, state and error of the one message that there is; `None` once it is sent.
async fn row(app: &TestApp) -> Option<(i64, String, String)> {
    let row = "SELECT attempts, status, COALESCE(last_error, '') FROM mail_outbox";
    sqlx::query_as(row).fetch_optional(app.app.db.reads()).await.unwrap()
}

async fn metrics(app: &TestApp) -> String {
    let answer = app.internally(Method::GET, "/metrics").await.expect(StatusCode::OK);
    String::from_utf8(answer.body.to_vec()).unwrap()
}

#[tokio::test]
async fn a_message_reaches_the_server_whole() {
    let mut server = Server::start(&[]).await;
    let app = TestApp::with(&server.plain(), |_| ()).await;
    forgetful(&app, "ada@example.com").await;
    assert_eq!(app.sender.send_due().await.unwrap(), 1);
    let letter = server.letter().await;
    assert!(letter.is_for("ada@example.com") && letter.html().contains(&letter.token()));
    assert_eq!(row(&app).await, None);
    let body = json!({"token": letter.token(), "password": "velvet-tundra-adagio-31"});
    app.post("/v1/auth/password/reset", body).await.expect(StatusCode::NO_CONTENT);
    assert!(
        metrics(&app)
            .await
            .contains("countersign_mail_attempts_total{kind=\"reset_password\",outcome=\"sent\"} 1")
    );
}

#[tokio::test]
async fn a_server_that_cannot_now_is_asked_again_until_it_is_of_no_use() {
    let server = Server::start(&[]).await;
    let app = TestApp::with(&server.plain(), |_| ()).await;
    forgetful(&app, "busy@example.com").await;
    for (attempt, wait) in [10, 30, 60, 300, 600].into_iter().enumerate() {
        assert_eq!(app.sender.send_due().await.unwrap(), 1);
        let (attempts, status, error) = row(&app).await.unwrap();
        assert_eq!((attempts, status.as_str()), (i64::try_from(attempt).unwrap() + 1, "waiting"));
        assert!(error.contains("421"), "{error}");
        app.pass(wait - 1);
        assert_eq!(app.sender.send_due().await.unwrap(), 0);
        app.pass(1);
    }
    // The next time would be after the link has expired.
    assert_eq!(app.sender.send_due().await.unwrap(), 1);
    assert_eq!(row(&app).await.unwrap().1, "given_up");
    assert_eq!(app.value::<i64>("SELECT COUNT(*) FROM mail_outbox WHERE token IS NULL").await, 1);
    app.pass(86_400);
    assert_eq!(app.sender.send_due().await.unwrap(), 0);
    let figures = metrics(&app).await;
    for line in [
        "countersign_mail_attempts_total{kind=\"reset_password\",outcome=\"delayed\"} 5",
        "countersign_mail_attempts_total{kind=\"reset_password\",outcome=\"given_up\"} 1",
        "countersign_mail_waiting 0",
    ] {
        assert!(figures.contains(line), "no {line} in {figures}");
    }
}

#[tokio::test]
async fn a_message_that_is_refused_for_good_is_given_up_at_once() {
    let server = Server::start(&[]).await;
    let app = TestApp::with(&server.plain(), |_| ()).await;
    forgetful(&app, "unknown@example.com").await;
    assert_eq!(app.sender.send_due().await.unwrap(), 1);
    let (attempts, status, error) = row(&app).await.unwrap();
    assert_eq!((attempts, status.as_str()), (1, "given_up"));
    assert!(error.contains("550"), "{error}");
}

#[tokio::test]
async fn without_a_server_messages_wait() {
    let server = Server::start(&[]).await;
    let plain = server.plain();
    drop(server);
    let app = TestApp::with(&plain, |_| ()).await;
    forgetful(&app, "ada@example.com").await;
    assert_eq!(app.sender.send_due().await.unwrap(), 1);
    assert_eq!(row(&app).await.unwrap().1, "waiting");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_delays_no_request() {
    let mut server = Server::start(&[]).await;
    let app = TestApp::with(&server.plain(), |_| ()).await;
    forgetful(&app, "hang@example.com").await;
    let sender = app.sender.clone();
    let sending = tokio::spawn(async move { sender.send_due().await });
    assert_eq!(server.event("rcpt").await["to"], "hang@example.com");
    forgetful(&app, "ada@example.com").await;
    let login = json!({"email": "ada@example.com", "password": PASSWORD});
    app.post("/v1/auth/login", login).await.expect(StatusCode::OK);
    assert!(!sending.is_finished());
    sending.abort();
}

#[tokio::test]
async fn a_server_that_hangs_is_given_up_on_in_time_and_asked_again() {
    let server = Server::start(&[]).await;
    let app = TestApp::with(&server.plain(), patience(1)).await;
    forgetful(&app, "hang@example.com").await;
    assert_eq!(app.sender.send_due().await.unwrap(), 1);
    let (attempts, status, error) = row(&app).await.unwrap();
    assert_eq!((attempts, status.as_str()), (1, "waiting"));
    assert!(error.contains("1s"), "{error}");
}

#[tokio::test]
async fn a_server_that_dies_before_it_says_that_it_took_the_message_gets_it_again() {
    let mut server = Server::start(&[]).await;
    let app = TestApp::with(&server.plain(), |_| ()).await;
    forgetful(&app, "dies@example.com").await;
    assert_eq!(app.sender.send_due().await.unwrap(), 1);
    let first = server.letter().await;
    assert_eq!(row(&app).await.unwrap().1, "waiting");
    app.pass(10);
    assert_eq!(app.sender.send_due().await.unwrap(), 1);
    let second = server.letter().await;
    // The same one, by which a mailbox may tell; both links are good.
    assert_eq!(first.header("Message-ID"), second.header("Message-ID"));
    assert_eq!(first.token(), second.token());
    assert_eq!(row(&app).await, None);
}

#[tokio::test]
async fn a_message_that_was_taken_counts_as_sent_whatever_follows() {
    let mut server = Server::start(&[]).await;
    let app = TestApp::with(&server.plain(), |_| ()).await;
    forgetful(&app, "quit@example.com").await;
    assert_eq!(app.sender.send_due().await.unwrap(), 1);
    assert!(server.letter().await.is_for("quit@example.com"));
    assert_eq!(row(&app).await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_issuers_one_sends_each_message() {
    let mut server = Server::start(&[]).await;
    let one = TestApp::with(&server.plain(), |_| ()).await;
    let two = one.beside().await;
    for n in 0..12 {
        forgetful(&one, &format!("{n}@example.com")).await;
    }
    for _ in 0..4 {
        let (one, two) = tokio::join!(one.sender.send_due(), two.sender.send_due());
        assert!(one.unwrap() + two.unwrap() <= 8);
    }
    assert_eq!(row(&one).await, None);
    let mut addressees = std::collections::BTreeSet::new();
    for _ in 0..12 {
        assert!(addressees.insert(server.letter().await.header("To").to_owned()));
    }
}

/// A certificate for `localhost`, its key, and a password, beside the configuration of an issuer.
fn encrypted(server: &Server, tls: &str, folder: &Folder) -> String {
    format!(
        "[mail]\ntransport = \"smtp\"\nfrom = \"no-reply@trade.example\"\nhost = \"localhost\"\nport = {}\ntls = \"{tls}\"\n\
         username = \"issuer\"\npassword_file = \"{}\"\nca_file = \"{}\"\n",
        server.port,
        folder.path("mail.password").display(),
        folder.path("certificate.pem").display(),
    )
}

#[tokio::test]
async fn messages_and_password_go_encrypted_and_only_to_the_right_server() {
    let folder = Folder::on_a_file();
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    folder.write("certificate.pem", &cert.pem());
    folder.write("key.pem", &signing_key.serialize_pem());
    folder.write("mail.password", "a mail password\n");
    let (certificate, key) = (folder.path("certificate.pem"), folder.path("key.pem"));
    let files = ["--certificate", certificate.to_str().unwrap(), "--key", key.to_str().unwrap()];
    for (tls, more) in [("starttls", &[][..]), ("implicit", &["--implicit"][..])] {
        let mut server = Server::start(&[&files[..], more].concat()).await;
        let app = TestApp::with(&encrypted(&server, tls, &folder), |_| ()).await;
        forgetful(&app, "ada@example.com").await;
        assert_eq!(app.sender.send_due().await.unwrap(), 1);
        assert_eq!(server.event("login").await["good"], true, "{tls}");
        assert!(server.letter().await.is_for("ada@example.com"), "{tls}");
        assert_eq!(row(&app).await, None, "{tls}");
        // A wrong password is the operator's to mend, and no message is lost by it.
        folder.write("mail.password", "another");
        let app = TestApp::with(&encrypted(&server, tls, &folder), |_| ()).await;
        forgetful(&app, "ada@example.com").await;
        assert_eq!(app.sender.send_due().await.unwrap(), 1);
        assert_eq!(server.event("login").await["good"], false, "{tls}");
        let (_, status, error) = row(&app).await.unwrap();
        assert!(status == "waiting" && error.contains("535"), "{tls}: {status} {error}");
        folder.write("mail.password", "a mail password\n");
        // A certificate that nobody vouches for is no proof, and what does not encrypt gets nothing.
        let unknown = encrypted(&server, tls, &folder).replace("ca_file", "# ca_file");
        let other = Server::start(&[]).await;
        for configuration in [unknown, encrypted(&other, tls, &folder)] {
            let app = TestApp::with(&configuration, patience(2)).await;
            forgetful(&app, "ada@example.com").await;
            assert_eq!(app.sender.send_due().await.unwrap(), 1);
            assert_eq!(row(&app).await.unwrap().1, "waiting", "{tls}");
        }
    }
}
