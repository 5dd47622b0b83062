//! How mail leaves: not at all, into a folder, or by SMTP. Without encryption it goes to this machine only.

use std::path::{Path, PathBuf};

use lettre::message::Mailbox;
use url::Url;

use super::reader::{Reader, Section};
use super::secret::{Refused, Secret, inline_or_file};
use super::sections::span;
use super::value::{PublicUrl, Setting};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    pub transport: MailTransport,
    /// What the messages call this service.
    pub service_name: String,
    /// Where texts lie that replace our own.
    pub templates: Option<PathBuf>,
    /// Whether people are told of logins from where they never were before.
    pub new_device: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MailTransport {
    /// Nothing is sent, and what needs it is refused.
    Off,
    /// Each message becomes a file.
    File {
        from: Mailbox,
        folder: PathBuf,
    },
    Smtp {
        from: Mailbox,
        server: Smtp,
    },
}

/// The server that takes our mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Smtp {
    pub host: String,
    pub port: u16,
    pub tls: SmtpTls,
    /// Whom we log in as, and with which password.
    pub login: Option<(String, Secret)>,
    /// Certificates (PEM) that are trusted beside those of the system.
    pub ca_file: Option<PathBuf>,
    /// How many seconds one message may take.
    pub timeout: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpTls {
    /// Plain text at first, then encrypted; refused if the server does not offer it (RFC 3207).
    StartTls,
    /// Encrypted from the first byte (RFC 8314 §3.3).
    Implicit,
    /// To this machine only.
    None,
}

impl SmtpTls {
    const fn port(self) -> u16 {
        match self {
            Self::StartTls => 587,
            Self::Implicit => 465,
            Self::None => 25,
        }
    }
}

impl Setting for Mailbox {
    const EXPECTED: &'static str = r#"an address, such as "Example <no-reply@example.com>""#;

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok().filter(|_| !text.chars().any(char::is_control))
    }
}

pub(super) fn mail(reader: &mut Reader, folder: &Path, public_url: &PublicUrl) -> Mail {
    let mut section = reader.section("mail");
    let transport: String = section.or("transport", "off".into());
    let from: Option<Mailbox> = section.optional("from");
    let sink = folder.join(section.or("folder", PathBuf::from("mail")));
    let server = smtp(&mut section, folder);
    let service_name = section.or("service_name", host(public_url));
    let templates: Option<PathBuf> = section.optional("templates");
    let new_device = section.or("new_device", false);
    let from = |section: &mut Section<'_>| {
        if from.is_none() {
            section.error("from", "is required to send mail: the address that it comes from");
        }
        from
    };
    let transport = match transport.as_str() {
        "off" => MailTransport::Off,
        "file" => {
            from(&mut section).map_or(MailTransport::Off, |from| MailTransport::File { from, folder: sink })
        }
        "smtp" => match (from(&mut section), server.checked(&mut section)) {
            (Some(from), Some(server)) => MailTransport::Smtp { from, server },
            _ => MailTransport::Off,
        },
        _ => {
            section.error("transport", r#"expected "off", "file" or "smtp""#);
            MailTransport::Off
        }
    };
    if new_device && transport == MailTransport::Off {
        section.error("new_device", "needs mail: set mail.transport");
    }
    section.finish();
    let templates = templates.map(|templates| folder.join(templates));
    Mail { transport, service_name, templates, new_device }
}

fn host(public_url: &PublicUrl) -> String {
    let host = Url::parse(public_url.origin()).ok().and_then(|url| url.host_str().map(str::to_owned));
    host.unwrap_or_default()
}

/// What is written about the server, whether it is used or not.
struct Written {
    host: Option<String>,
    port: Option<u32>,
    tls: SmtpTls,
    username: Option<String>,
    /// Refused, there is a finding about it.
    password: Result<Option<Secret>, Refused>,
    ca_file: Option<PathBuf>,
    timeout: i64,
}

fn smtp(section: &mut Section<'_>, folder: &Path) -> Written {
    let tls: String = section.or("tls", "starttls".into());
    let tls = match tls.as_str() {
        "starttls" => SmtpTls::StartTls,
        "implicit" => SmtpTls::Implicit,
        "none" => SmtpTls::None,
        _ => {
            section.error("tls", r#"expected "starttls", "implicit" or "none""#);
            SmtpTls::StartTls
        }
    };
    let ca_file: Option<PathBuf> = section.optional("ca_file");
    Written {
        host: section.optional("host"),
        port: section.optional("port"),
        tls,
        username: section.optional("username"),
        password: inline_or_file(section, "password", "password_file", folder)
            .map(|given| given.map(|(_, password)| password)),
        ca_file: ca_file.map(|file| folder.join(file)),
        timeout: span(section, "timeout", "30s", ("1s", "60s")),
    }
}

impl Written {
    /// The server, if enough is said about it; otherwise there are findings.
    fn checked(self, section: &mut Section<'_>) -> Option<Smtp> {
        let Self { host, port, tls, username, password, ca_file, timeout } = self;
        let Some(host) = host else {
            section.error("host", "is required for smtp: the name of the server that takes the mail");
            return None;
        };
        if tls == SmtpTls::None && !["localhost", "127.0.0.1", "::1"].contains(&host.as_str()) {
            let message =
                "\"none\" is for a server on this machine; mail holds links that nobody else may read";
            section.error("tls", message);
        }
        let port = port.map_or(Some(tls.port()), |port| u16::try_from(port).ok().filter(|port| *port > 0));
        if port.is_none() {
            section.error("port", "expected 1 to 65535");
        }
        let login = match (username, password.ok()?) {
            (Some(username), Some(password)) => Some((username, password)),
            (None, None) => None,
            (Some(_), None) => {
                section.error("password_file", "is required beside mail.username");
                return None;
            }
            (None, Some(_)) => {
                section.error("username", "is required beside the password");
                return None;
            }
        };
        Some(Smtp { host, port: port?, tls, login, ca_file, timeout })
    }
}
