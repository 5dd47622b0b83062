//! Sends what waits in the outbox. Of several issuers on one database one does it at a time; should two, each message
//! is still one's alone, because an attempt is counted before it begins.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;

use super::compose::compose;
use super::metrics::{Metrics, Word};
use super::store::{self, Waiting};
use super::templates::{Facts, Templates};
use super::transport::{Failure, Transport};
use super::{Kind, Outbox};
use crate::accounts::{self, Email, User, is_invisible};
use crate::ambient::{Clock, Ids, UnixTime};
use crate::config::{Finding, Settings};
use crate::db::{Db, Error};
use crate::jobs::{Lease, Stop};

/// How often the outbox is looked into.
const PAUSE: Duration = Duration::from_secs(1);

/// Messages that are sent at the same time.
const TOGETHER: i64 = 8;

/// Longer than these take, in seconds: no message is given more than a minute.
const LEASE: i64 = 120;

/// Seconds from an attempt to the next; the last one counts for all that follow.
const DELAYS: [i64; 7] = [10, 30, 60, 300, 600, 1800, LONGEST_DELAY];

pub(super) const LONGEST_DELAY: i64 = 3600;

/// Waiting messages are counted no further.
const COUNTED: i64 = 1000;

/// The most characters that are kept of what a server says.
const LONGEST_ERROR: usize = 300;

/// Sends messages; cheap to clone.
#[derive(Debug, Clone)]
pub struct Sender {
    db: Db,
    clock: Clock,
    outbox: Outbox,
    metrics: Metrics,
    lease: Lease,
    /// `None` if no mail is sent.
    transport: Arc<Option<Transport>>,
    templates: Arc<Templates>,
    service: Arc<str>,
    public_url: Arc<str>,
}

/// What came of an attempt that did not fail.
enum Attempt {
    Sent,
    /// There is nobody to be told.
    Dropped,
}

impl Sender {
    /// # Errors
    /// What [`super::examine`] finds.
    pub fn new(
        settings: &Settings,
        ids: &Ids,
        db: Db,
        outbox: Outbox,
        metrics: Metrics,
    ) -> Result<Self, Vec<Finding>> {
        Ok(Self {
            db,
            clock: ids.clock.clone(),
            outbox,
            metrics,
            lease: Lease::new("mail", LEASE, ids),
            transport: Arc::new(Transport::new(settings).map_err(|finding| vec![finding])?),
            templates: Arc::new(Templates::load(&settings.mail)?),
            service: settings.mail.service_name.as_str().into(),
            public_url: settings.server.public_url.as_str().into(),
        })
    }

    /// Sends messages until told to stop.
    pub async fn run(self, mut stop: Stop) {
        loop {
            match self.send_due().await {
                // There may be more.
                Ok(sent) if sent >= TOGETHER => {}
                outcome => {
                    if let Err(error) = outcome {
                        tracing::warn!(event = "mail_stalled", error = %error, "the outbox cannot be read");
                    }
                    if !stop.pause(PAUSE).await {
                        return self.lease.release(&self.db).await;
                    }
                }
            }
        }
    }

    /// Tries the messages whose time has come, some at a time, unless another issuer does; answers how many.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn send_due(&self) -> Result<i64, Error> {
        let Some(transport) = self.transport.as_ref() else { return Ok(0) };
        self.metrics.waiting.set(store::waiting(self.db.reads(), COUNTED).await?);
        let due = store::due(self.db.reads(), self.clock.now(), TOGETHER).await?;
        if due.is_empty() || !self.lease.take(&self.db).await? {
            return Ok(0);
        }
        let tried = try_join_all(due.into_iter().map(|waiting| self.process(transport, waiting))).await?;
        Ok(i64::try_from(tried.len()).unwrap_or(TOGETHER))
    }

    async fn process(&self, transport: &Transport, waiting: Waiting) -> Result<(), Error> {
        let attempt = waiting.attempts.saturating_add(1);
        let next = self.clock.now().plus(delay(attempt));
        let claimed = waiting.clone();
        if !self.db.write(async move |tx| store::claim(tx, &claimed, next).await).await? {
            return Ok(());
        }
        let (id, kind) = (waiting.id.clone(), waiting.kind());
        let name = kind.map(Kind::as_str);
        match self.attempt(transport, &waiting).await {
            Ok(outcome) => {
                self.db.write(async move |tx| store::remove(tx, &id).await).await?;
                match outcome {
                    Attempt::Sent => {
                        tracing::info!(
                            event = "mail_sent",
                            mail_id = waiting.id,
                            kind = name,
                            attempt,
                            "a message was sent"
                        );
                        self.metrics.count(kind, Word::sent);
                    }
                    Attempt::Dropped => self.metrics.count(kind, Word::dropped),
                }
            }
            Err(Failure { permanent, why, code, detail }) => {
                let last = permanent || next >= waiting.expires_at;
                self.db.write(async move |tx| store::failed(tx, &id, &detail, last).await).await?;
                let mail_id = waiting.id;
                if last {
                    tracing::error!(
                        event = "mail_given_up",
                        mail_id,
                        kind = name,
                        attempt,
                        why,
                        code,
                        "a message was not sent and is given up"
                    );
                    self.metrics.count(kind, Word::given_up);
                } else {
                    let seconds = delay(attempt);
                    tracing::warn!(
                        event = "mail_delayed",
                        mail_id,
                        kind = name,
                        attempt,
                        why,
                        code,
                        seconds,
                        "a message was not sent and is tried again"
                    );
                    self.metrics.count(kind, Word::delayed);
                }
            }
        }
        Ok(())
    }

    async fn attempt(&self, transport: &Transport, waiting: &Waiting) -> Result<Attempt, Failure> {
        let Some(kind) = waiting.kind() else {
            return Err(Failure::permanent("unknown kind of message", "another version has written it"));
        };
        if self.clock.now() >= waiting.expires_at {
            return Err(Failure::permanent("too late", "it is of no use any more"));
        }
        let Some(user) = self.addressee(&waiting.recipient).await?.filter(|user| kind.concerns(user)) else {
            return Ok(Attempt::Dropped);
        };
        let sealed = waiting.token.as_deref();
        let token = sealed.map(|sealed| self.outbox.open(&waiting.id, sealed)).transpose();
        let token =
            token.map_err(|error| Failure::permanent("its link cannot be read", error))?.unwrap_or_default();
        let facts = self.facts(kind, &user, &token, waiting.created_at);
        let rendered = self.templates.render(kind, &facts);
        let rendered = rendered.map_err(|error| Failure::permanent("its template does not work", error))?;
        let (envelope, message) =
            compose(&waiting.id, transport.from(), &waiting.recipient, waiting.created_at, rendered)?;
        let name = format!("{}-{}", waiting.id, kind.as_str());
        let sent = transport.send(&name, &envelope, message).await;
        sent.map(|()| Attempt::Sent)
            .map_err(|failure| Failure { detail: kept(&failure.detail, &token), ..failure })
    }

    async fn addressee(&self, recipient: &str) -> Result<Option<User>, Failure> {
        let email = Email::parse(recipient).map_err(|error| Failure::permanent("no such address", error))?;
        let found = accounts::store::find_for_login(self.db.reads(), &email).await;
        let found = found.map_err(|error| Failure::passing("the database cannot be read", error))?;
        Ok(found.map(|(user, _)| user))
    }

    fn facts(&self, kind: Kind, user: &User, token: &str, at: UnixTime) -> Facts {
        let page = kind.page().map(|page| format!("{}{page}?token={token}", self.public_url));
        let name = user.name.chars().filter(|c| !is_invisible(*c));
        Facts {
            service: self.service.to_string(),
            name: if user.email_verified { name.collect() } else { String::new() },
            email: user.email.clone(),
            link: page.unwrap_or_default(),
            token: token.to_owned(),
            lifetime: spoken(kind.lifetime()),
            at: at.to_string(),
        }
    }
}

/// Seconds from this attempt, counted from one, to the next.
fn delay(attempt: i64) -> i64 {
    let at = usize::try_from(attempt.saturating_sub(1)).unwrap_or(0);
    DELAYS.get(at).or(DELAYS.last()).copied().unwrap_or_default()
}

/// A span as people say it.
fn spoken(seconds: i64) -> String {
    match seconds {
        3600.. if seconds % 3600 == 0 => format!("{} hours", seconds / 3600),
        _ => format!("{} minutes", seconds / 60),
    }
}

/// What a server has said, short and without the token, which it may quote from the message.
fn kept(said: &str, token: &str) -> String {
    let said = if token.is_empty() { said.to_owned() } else { said.replace(token, "…") };
    said.chars().filter(|c| !c.is_control()).take(LONGEST_ERROR).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_grow_apart() {
        let delays: Vec<i64> = (1..=9).map(delay).collect();
        assert_eq!(delays, [10, 30, 60, 300, 600, 1800, 3600, 3600, 3600]);
        assert_eq!((delay(0), delay(i64::MAX)), (10, 3600));
    }

    #[test]
    fn a_server_that_quotes_the_message_gives_no_token_away() {
        let said = format!("550 blocked: https://x/?token=abc {}", "x".repeat(1000));
        let kept = kept(&said, "abc");
        assert!(!kept.contains("abc") && kept.chars().count() == LONGEST_ERROR, "{kept}");
    }

    #[test]
    fn spans_are_told_as_people_say_them() {
        assert_eq!((spoken(86_400), spoken(1800)), ("24 hours".into(), "30 minutes".into()));
    }
}
