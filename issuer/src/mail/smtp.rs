//! Messages over SMTP (RFC 5321, 6409). A message counts as sent when the server has said so; if it goes away before,
//! the message is sent again, with the same `Message-ID`.

use std::fmt;
use std::time::Duration;

use lettre::address::Envelope;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use url::{Host, Url};

use super::transport::Failure;
use crate::config::{Finding, PublicUrl, Smtp, SmtpTls};

/// How long a server may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

/// What a server says when it does not know who we are (RFC 4954 §6): the fault is in the configuration, not in the
/// message.
const NOT_LET_IN: [u16; 4] = [530, 534, 535, 538];

/// The server that takes our mail.
pub(super) struct Relay {
    host: String,
    port: u16,
    tls: SmtpTls,
    encryption: TlsParameters,
    credentials: Option<Credentials>,
    /// What we call ourselves.
    hello: ClientId,
    timeout: Duration,
}

impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay").field("host", &self.host).field("port", &self.port).finish_non_exhaustive()
    }
}

impl Relay {
    pub(super) fn new(server: &Smtp, public_url: &PublicUrl) -> Result<Self, Finding> {
        let Smtp { host, port, tls, login, ca_file, timeout } = server;
        let credentials = login.as_ref().map(|(username, password)| {
            Credentials::new(username.clone(), String::from_utf8_lossy(password.bytes()).into_owned())
        });
        let mut encryption = TlsParameters::builder(host.clone());
        if let Some(file) = ca_file {
            let wrong = |error: &dyn fmt::Display| {
                let message = format!("{}: {error}; expected certificates in PEM", file.display());
                Finding::error("", "mail.ca_file", message)
            };
            let pem = std::fs::read(file).map_err(|error| wrong(&error))?;
            let certificate = Certificate::from_pem(&pem).map_err(|error| wrong(&error))?;
            encryption = encryption.add_root_certificate(certificate);
        }
        let encryption = encryption.build();
        Ok(Self {
            host: host.clone(),
            port: *port,
            tls: *tls,
            encryption: encryption.map_err(|error| {
                Finding::error("", "mail.host", format!("cannot be used with TLS: {error}"))
            })?,
            credentials,
            hello: hello(public_url),
            timeout: Duration::from_secs(timeout.unsigned_abs()),
        })
    }

    /// Sends one message over a connection of its own.
    pub(super) async fn send(&self, envelope: &Envelope, message: &[u8]) -> Result<(), Failure> {
        match tokio::time::timeout(self.timeout, self.converse(envelope, message)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Failure::passing("the server took too long", format!("after {:?}", self.timeout))),
        }
    }

    async fn converse(&self, envelope: &Envelope, message: &[u8]) -> Result<(), Failure> {
        // What goes wrong until then says nothing about this message.
        let connected = self.connect().await.map_err(|error| Failure { permanent: false, ..failure(&error) });
        let mut connection = connected?;
        connection.send(envelope, message).await.map_err(|error| failure(&error))?;
        // It has been taken, so nothing that follows may count against it, nor be waited for.
        tokio::spawn(async move {
            let _ = tokio::time::timeout(GOODBYE, connection.quit()).await;
        });
        Ok(())
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, Error> {
        let address = (self.host.as_str(), self.port);
        let at_once = (self.tls == SmtpTls::Implicit).then(|| self.encryption.clone());
        let limit = Some(self.timeout);
        let mut connection =
            AsyncSmtpConnection::connect_tokio1(address, limit, &self.hello, at_once, None).await?;
        if self.tls == SmtpTls::StartTls {
            connection.starttls(self.encryption.clone(), &self.hello).await?;
        }
        if let Some(credentials) = &self.credentials {
            connection.auth(DEFAULT_MECHANISMS, credentials).await?;
        }
        Ok(connection)
    }
}

fn failure(error: &Error) -> Failure {
    let code = error.status().map(u16::from);
    let refused = error.is_permanent() && !code.is_some_and(|code| NOT_LET_IN.contains(&code));
    let why = if code.is_some_and(|code| NOT_LET_IN.contains(&code)) {
        "the server does not let us in"
    } else if error.is_permanent() {
        "the server refuses the message"
    } else if error.is_transient() {
        "the server cannot take it now"
    } else if error.is_tls() {
        "no encryption with the server"
    } else {
        "the conversation broke off"
    };
    Failure { permanent: refused, why, code, detail: error.to_string() }
}

/// The name of the machine that clients know (RFC 5321 §4.1.4).
fn hello(public_url: &PublicUrl) -> ClientId {
    match Url::parse(public_url.origin()).ok().and_then(|url| url.host().map(|host| host.to_owned())) {
        Some(Host::Domain(name)) => ClientId::Domain(name),
        Some(Host::Ipv4(ip)) => ClientId::Ipv4(ip),
        Some(Host::Ipv6(ip)) => ClientId::Ipv6(ip),
        None => ClientId::default(),
    }
}
