//! Where messages are brought. What the link of one carries is sealed until it is sent: who reads the database can
//! follow no link.

use base64ct::{Base64, Encoding as _};

use super::Kind;
use crate::accounts::Email;
use crate::ambient::Ids;
use crate::config::{MailTransport, Settings};
use crate::secrets::{Place, Ring, Unsealed};
use crate::web::{Problem, Reason};

/// Takes messages; cheap to clone.
#[derive(Debug, Clone)]
pub struct Outbox {
    ring: Ring,
    ids: Ids,
    is_on: bool,
    /// Whether people are told of logins from new devices.
    tells_of_devices: bool,
}

/// A message about to be brought.
#[derive(Debug, Clone)]
pub struct Letter {
    pub(super) id: String,
    pub(super) kind: Kind,
    pub(super) recipient: Email,
    /// Sealed.
    pub(super) token: Option<String>,
}

fn place(id: &str) -> Place<'_> {
    Place { table: "mail_outbox", column: "token", row: id }
}

impl Outbox {
    pub fn new(settings: &Settings, ids: Ids) -> Self {
        let is_on = settings.mail.transport != MailTransport::Off;
        let tells_of_devices = settings.mail.new_device;
        Self { ring: Ring::from(&settings.secrets), ids, is_on, tells_of_devices }
    }

    /// That there is a way for mail to leave.
    ///
    /// # Errors
    /// 501.
    pub fn require(&self) -> Result<(), Problem> {
        if self.is_on { Ok(()) } else { Err(Problem::new(Reason::MailOff)) }
    }

    /// A message whose link carries `token`.
    ///
    /// # Errors
    /// 501 if no mail is sent.
    pub fn letter(&self, kind: Kind, recipient: Email, token: &str) -> Result<Letter, Problem> {
        self.require()?;
        let id = self.ids.uuid().to_string();
        let sealed = self.ring.seal(place(&id), token.as_bytes(), &self.ids.entropy);
        let sealed = sealed.map_err(|error| Problem::internal(&error))?;
        Ok(Letter { id, kind, recipient, token: Some(Base64::encode_string(&sealed)) })
    }

    /// A message without a link; `None` if no mail is sent.
    pub fn notice(&self, kind: Kind, recipient: Email) -> Option<Letter> {
        self.is_on.then(|| Letter { id: self.ids.uuid().to_string(), kind, recipient, token: None })
    }

    /// A message about a login from a new device; `None` if people are not told of these.
    pub fn new_device(&self, recipient: &str) -> Option<Letter> {
        let recipient = Email::parse(recipient).ok().filter(|_| self.tells_of_devices)?;
        self.notice(Kind::NewDevice, recipient)
    }

    /// What the link of a message carries.
    pub(super) fn open(&self, id: &str, sealed: &str) -> Result<String, Unsealed> {
        let sealed = Base64::decode_vec(sealed).map_err(|_| Unsealed::Forged)?;
        let token = self.ring.open(place(id), &sealed)?;
        String::from_utf8(token.to_vec()).map_err(|_| Unsealed::Forged)
    }
}
