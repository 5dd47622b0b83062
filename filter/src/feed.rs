//! The issuer's feed of revocations: what an answer says, and how much of it is believed.
//!
//! What is revoked stays so until its time is over, or until a whole new set has come in that does not have it. An answer
//! that contradicts what was heard before changes nothing; the next question is for everything.

use std::fmt;

use countersign_claims::{Handle, MAX_REVOCATIONS, Revocation, Revocations, TooMany};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

pub mod lease;
pub mod record;

/// How many seconds the issuer may wait with an answer that has nothing new.
pub const WAIT_SECONDS: u64 = 20;

/// Names one history of the feed: after a restored backup the issuer begins another.
const LONGEST_EPOCH: usize = 64;

/// How far in the feed somebody has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    pub epoch: Box<str>,
    pub sequence: u64,
}

/// The reader's side of the feed.
#[derive(Debug, Default)]
pub struct Feed {
    /// How far that goes which is in force.
    position: Option<Position>,
    /// A whole set that is coming in by parts, and how far it goes.
    aside: Option<(Position, Revocations)>,
    /// The issuer has contradicted itself: everything is to be asked for.
    start_over: bool,
    /// Entries that have come since the feed was last complete.
    received: usize,
}

/// What an answer brought.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub news: News,
    /// There is more, to be asked for at once.
    pub again: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub enum News {
    /// These as well.
    More(Vec<Revocation>),
    /// These and no others.
    All(Revocations),
    /// Part of a whole set, not in force yet.
    Aside,
}

/// Why an answer is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    NotAPage,
    EpochJumped,
    WentBackwards,
    DoesNotAdvance,
    BeganTwice,
    TooMany,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAPage => "the answer is not a page of the feed",
            Self::EpochJumped => "the feed has another epoch and does not begin anew",
            Self::WentBackwards => "the feed goes backwards",
            Self::DoesNotAdvance => "the feed says that there is more, and has nothing",
            Self::BeganTwice => "the feed begins anew before it has come to its end",
            Self::TooMany => return TooMany.fmt(f),
        })
    }
}

impl Feed {
    /// The query of the next question.
    pub fn question(&self) -> String {
        match (&self.aside, &self.position) {
            (Some((Position { epoch, sequence }, _)), _) => format!("since={sequence}&epoch={epoch}&wait=0"),
            (None, Some(Position { epoch, sequence })) if !self.start_over => {
                format!("since={sequence}&epoch={epoch}&wait={WAIT_SECONDS}")
            }
            _ => "wait=0".into(),
        }
    }

    pub fn position(&self) -> Option<&Position> {
        self.position.as_ref()
    }

    /// Takes notice that another worker has come this far.
    pub fn has_come_to(&mut self, position: Position) {
        self.position = Some(position);
        self.forget_parts();
    }

    /// Gives up what has come in by parts: somebody else asks from now on.
    pub fn forget_parts(&mut self) {
        self.aside = None;
        self.received = 0;
    }

    /// What came cannot be put into force: the next question is for everything.
    pub fn distrust(&mut self) {
        self.forget_parts();
        self.start_over = true;
    }

    /// Takes an answer. `skew`: how many seconds longer than their issuer we take tokens.
    ///
    /// # Errors
    /// [`Broken`]; what is in force stays.
    pub fn take(&mut self, json: &[u8], now: i64, skew: i64) -> Result<Answer, Broken> {
        let page = serde_json::from_slice(json).map_err(|_| Broken::NotAPage);
        page.and_then(|page| self.believe(page, now, skew)).inspect_err(|_| self.distrust())
    }

    fn believe(&mut self, page: Page, now: i64, skew: i64) -> Result<Answer, Broken> {
        self.received = self.received.saturating_add(page.entries.len());
        if self.received > MAX_REVOCATIONS {
            return Err(Broken::TooMany);
        }
        if page.entries.is_empty() && !page.complete {
            // Who believes it asks at once, and again at once.
            return Err(Broken::DoesNotAdvance);
        }
        let entries = page.live(now, skew);
        let Page { epoch: Epoch(epoch), sequence, complete, .. } = page;
        let position = Position { epoch, sequence };
        let aside = self.aside.take();
        let began = if page.reset {
            match aside {
                Some(_) => return Err(Broken::BeganTwice),
                None => Some(Revocations::default()),
            }
        } else {
            let known = aside.as_ref().map(|(known, _)| known).or(self.position.as_ref());
            let known = known.filter(|_| aside.is_some() || !self.start_over).ok_or(Broken::EpochJumped)?;
            match () {
                () if position.epoch != known.epoch => return Err(Broken::EpochJumped),
                () if sequence < known.sequence => return Err(Broken::WentBackwards),
                () if sequence == known.sequence && !complete => return Err(Broken::DoesNotAdvance),
                () => aside.map(|(_, set)| set),
            }
        };
        if complete {
            self.received = 0;
        }
        let Some(mut whole) = began else {
            self.position = Some(position);
            return Ok(Answer { news: News::More(entries), again: !complete });
        };
        whole.extend(&entries).map_err(|TooMany| Broken::TooMany)?;
        if !complete {
            self.aside = Some((position, whole));
            return Ok(Answer { news: News::Aside, again: true });
        }
        self.position = Some(position);
        self.start_over = false;
        Ok(Answer { news: News::All(whole), again: false })
    }
}

/// An answer of the issuer. Members that a later issuer adds are ignored.
#[derive(Debug, Deserialize)]
struct Page {
    epoch: Epoch,
    sequence: u64,
    entries: Vec<Entry>,
    reset: bool,
    complete: bool,
}

#[derive(Debug, Deserialize)]
struct Entry {
    session_id: SessionId,
    exp: i64,
}

impl Page {
    fn live(&self, now: i64, skew: i64) -> Vec<Revocation> {
        let entries = self.entries.iter().map(|Entry { session_id: SessionId(handle), exp }| Revocation {
            handle: *handle,
            until: exp.saturating_add(skew),
        });
        entries.filter(|revocation| now < revocation.until).collect()
    }
}

/// Goes back to the issuer in a query, and so may have only what needs no encoding there.
#[derive(Debug)]
struct Epoch(Box<str>);

impl<'de> Deserialize<'de> for Epoch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let epoch = Box::<str>::deserialize(deserializer)?;
        let plain = epoch.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        match epoch.len() {
            1..=LONGEST_EPOCH if plain => Ok(Self(epoch)),
            _ => Err(D::Error::custom("an epoch has 1 to 64 letters, digits and \"-_.\"")),
        }
    }
}

/// Only its handle is kept, so that a page with thousands makes no text of each.
#[derive(Debug)]
struct SessionId(Handle);

impl<'de> Deserialize<'de> for SessionId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = SessionId;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a session id")
            }

            fn visit_str<E: Error>(self, id: &str) -> Result<SessionId, E> {
                Ok(SessionId(Handle::of(id.as_bytes())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests;
