//! Messages to people: what they say, and how they leave. A message is written to the outbox in the transaction of the
//! change that it tells of, and a job sends what waits there. So a mail server that refuses or hangs delays a message,
//! never a request.

mod compose;
mod folder;
mod metrics;
mod outbox;
mod sender;
mod smtp;
pub mod store;
mod sweep;
mod templates;
mod transport;

pub use metrics::Metrics;
pub use outbox::{Letter, Outbox};
pub use sender::Sender;
pub use sweep::sweep;

use crate::accounts::User;
use crate::config::{Finding, Settings};
use templates::Templates;
use transport::Transport;

/// What a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Show that you read what is sent here.
    VerifyEmail,
    /// Someone wanted to make an account with an address that has one.
    AlreadyRegistered,
    /// Choose a new password.
    ResetPassword,
    /// The password is another one now.
    PasswordChanged,
    /// Someone has logged in from where its user never has before.
    NewDevice,
}

const HOUR: i64 = 3600;

impl Kind {
    pub const ALL: &'static [Self] = &[
        Self::VerifyEmail,
        Self::AlreadyRegistered,
        Self::ResetPassword,
        Self::PasswordChanged,
        Self::NewDevice,
    ];

    /// As it is stored; the name of its templates.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::VerifyEmail => "verify_email",
            Self::AlreadyRegistered => "already_registered",
            Self::ResetPassword => "reset_password",
            Self::PasswordChanged => "password_changed",
            Self::NewDevice => "new_device",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == text)
    }

    /// For so many seconds the message is of use: as long as its link.
    pub const fn lifetime(self) -> i64 {
        match self {
            Self::VerifyEmail | Self::PasswordChanged | Self::NewDevice => 24 * HOUR,
            Self::AlreadyRegistered | Self::ResetPassword => HOUR / 2,
        }
    }

    /// The page of ours that its link opens.
    const fn page(self) -> Option<&'static str> {
        match self {
            Self::VerifyEmail => Some("/v1/auth/email/verify"),
            Self::AlreadyRegistered | Self::ResetPassword => Some("/v1/auth/password/reset"),
            Self::PasswordChanged | Self::NewDevice => None,
        }
    }

    /// Whether there is somebody to be told. Who asks for a message is not told whether there is.
    const fn concerns(self, user: &User) -> bool {
        match self {
            Self::VerifyEmail => user.is_active && !user.email_verified,
            Self::AlreadyRegistered | Self::ResetPassword => user.is_active,
            Self::PasswordChanged | Self::NewDevice => true,
        }
    }
}

/// What keeps mail from being sent: templates that do not work, certificates that cannot be read.
pub fn examine(settings: &Settings) -> Vec<Finding> {
    let mut findings = Templates::load(&settings.mail).err().unwrap_or_default();
    findings.extend(templates::strays(&settings.mail));
    findings.extend(Transport::new(settings).err());
    let source = settings.file.display().to_string();
    findings.into_iter().map(|finding| Finding { source: source.clone(), ..finding }).collect()
}
