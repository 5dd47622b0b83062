//! How messages leave this issuer.

use std::fmt;

use lettre::address::Envelope;
use lettre::message::Mailbox;

use super::folder::Folder;
use super::smtp::Relay;
use crate::config::{Finding, MailTransport, Settings};

/// A way for messages to leave.
#[derive(Debug)]
pub(super) enum Transport {
    Folder { from: Mailbox, folder: Folder },
    Relay { from: Mailbox, relay: Relay },
}

/// Why a message has not left.
#[derive(Debug)]
pub(super) struct Failure {
    /// Trying again does not help.
    pub(super) permanent: bool,
    /// For the log: words of ours, and no others.
    pub(super) why: &'static str,
    /// SMTP's, if the server answered.
    pub(super) code: Option<u16>,
    /// What was said, for the row of the message.
    pub(super) detail: String,
}

impl Failure {
    pub(super) fn passing(why: &'static str, detail: impl fmt::Display) -> Self {
        Self { permanent: false, why, code: None, detail: detail.to_string() }
    }

    pub(super) fn permanent(why: &'static str, detail: impl fmt::Display) -> Self {
        Self { permanent: true, ..Self::passing(why, detail) }
    }
}

impl Transport {
    /// `None` if no mail is sent.
    ///
    /// # Errors
    /// What is wrong with the configuration.
    pub(super) fn new(settings: &Settings) -> Result<Option<Self>, Finding> {
        match &settings.mail.transport {
            MailTransport::Off => Ok(None),
            MailTransport::File { from, folder } => {
                Ok(Some(Self::Folder { from: from.clone(), folder: Folder::new(folder) }))
            }
            MailTransport::Smtp { from, server } => {
                let relay = Relay::new(server, &settings.server.public_url)?;
                Ok(Some(Self::Relay { from: from.clone(), relay }))
            }
        }
    }

    pub(super) fn from(&self) -> &Mailbox {
        match self {
            Self::Folder { from, .. } | Self::Relay { from, .. } => from,
        }
    }

    /// Sends a message; `name` is what a file of it is called.
    pub(super) async fn send(
        &self,
        name: &str,
        envelope: &Envelope,
        message: Vec<u8>,
    ) -> Result<(), Failure> {
        match self {
            Self::Folder { folder, .. } => folder.put(name, message).await,
            Self::Relay { relay, .. } => relay.send(envelope, &message).await,
        }
    }
}
