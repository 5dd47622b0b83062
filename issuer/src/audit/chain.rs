//! The chain of events: how each is bound to what it says and to all before it. Rules only, no I/O.
//!
//! An event carries a MAC of what it says from the transaction that writes it. A [sealer](super::sealer) gives committed
//! events consecutive numbers, in batches and beside the requests, so that no login waits for another, and seals each:
//! a MAC of the seal before it, its number and its own MAC. One row, with a MAC of its own, says how far the chain is
//! sealed and up to where retention has removed it. All of these MACs are made with the ring of secrets, which is not in
//! the database.
//!
//! Who has the database, and none of the secrets, cannot hide from [`verify`](super::verify) that they changed, inserted,
//! removed, exchanged or renumbered a sealed event, nor that they changed or inserted one that is not sealed yet.
//!
//! It does not show by itself
//! - that an event was removed before it was sealed, a second or so after it was written;
//! - that the whole database was replaced by an older copy of itself, or the whole chain by none. A [`Head`] that was
//!   published shows that, if it was kept elsewhere: the log has every head, and `audit verify --head` asks for one.
//!
//! It proves nothing against someone who has a secret of the ring and the database.

use std::fmt;
use std::str::FromStr;

use super::Recorded;
use crate::secrets::Ring;

const EVENT: &str = "audit event";
const SEAL: &str = "audit seal";
const CHAIN: &str = "audit chain";

/// An event with what binds it.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Link {
    #[sqlx(flatten)]
    pub event: Recorded,
    /// Of the event; absent for those of versions that had no chain.
    pub mac: Option<Vec<u8>>,
    /// Absent until it is sealed.
    pub sequence: Option<i64>,
    pub seal: Option<Vec<u8>>,
}

/// The end of a chain: the number of the last sealed event, and its seal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    pub sequence: i64,
    pub seal: Vec<u8>,
}

/// How far the chain goes. Its first event is the one after `removed`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// The last event that retention has removed.
    pub removed: Head,
    /// The last event that is sealed.
    pub sealed: Head,
}

/// What does not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    #[error("event {0} is missing")]
    Missing(i64),
    #[error("event {sequence} ({id}) was changed, or is none of ours")]
    Changed { sequence: i64, id: String },
    #[error("event {sequence} ({id}) is not the one that was sealed there")]
    Misplaced { sequence: i64, id: String },
    #[error("event {sequence} ({id}) is outside of what was sealed")]
    Outside { sequence: i64, id: String },
    #[error("event {id}, which is not sealed yet, was changed, or is none of ours")]
    Unsealed { id: String },
    #[error("the row that says how far the events are sealed is gone")]
    NoChain,
    #[error(
        "the row that says how far the events are sealed was changed, or a secret is not listed that made it"
    )]
    ChainChanged,
    #[error("the chain ends at {end}, before {head}: events were cut off")]
    CutOff { end: Head, head: Head },
    #[error("{head} is older than what retention has left; give a newer one")]
    Older { head: Head },
    #[error("event {sequence} has another seal than {head}: the chain was replaced")]
    Replaced { sequence: i64, head: Head },
}

impl Head {
    /// Before the first event.
    pub fn start() -> Self {
        Self { sequence: 0, seal: Vec::new() }
    }

    /// The head after this one, with an event of this MAC.
    #[must_use]
    pub fn sealing(&self, mac: &[u8], ring: &Ring) -> Self {
        let sequence = self.sequence.saturating_add(1);
        Self { sequence, seal: ring.mac(SEAL, &sealed(self, sequence, mac)).to_vec() }
    }

    /// The head that `link` is, if it is ours and follows this one.
    ///
    /// # Errors
    /// [`Flaw`].
    pub fn follow(&self, link: &Link, ring: &Ring) -> Result<Self, Flaw> {
        let expected = self.sequence.saturating_add(1);
        let sequence = link.sequence.unwrap_or_default();
        let id = || link.event.id.clone();
        if sequence > expected {
            return Err(Flaw::Missing(expected));
        }
        if !link.is_ours(ring) {
            return Err(Flaw::Changed { sequence, id: id() });
        }
        let (mac, seal) = (link.mac.as_deref().unwrap_or_default(), link.seal.clone().unwrap_or_default());
        if sequence != expected || !ring.verify_mac(SEAL, &sealed(self, sequence, mac), &seal) {
            return Err(Flaw::Misplaced { sequence, id: id() });
        }
        Ok(Self { sequence, seal })
    }
}

/// `12:8f3a…`, the seal in hexadecimal.
impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.sequence, hex(&self.seal))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a number, a colon and 64 hexadecimal digits, as `audit verify` prints them")]
pub struct NoHead;

impl FromStr for Head {
    type Err = NoHead;

    fn from_str(text: &str) -> Result<Self, NoHead> {
        let (sequence, digits) = text.split_once(':').ok_or(NoHead)?;
        let sequence = sequence.parse().map_err(|_| NoHead)?;
        let digits = Some(digits).filter(|digits| digits.is_ascii() && digits.len() == 64).ok_or(NoHead)?;
        let bytes = (0..64).step_by(2).map(|at| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok());
        let seal = bytes.collect::<Option<Vec<u8>>>().ok_or(NoHead)?;
        Ok(Self { sequence, seal })
    }
}

impl Link {
    /// Whether a secret of the ring made the event's MAC for what it says now.
    pub fn is_ours(&self, ring: &Ring) -> bool {
        let mac = self.mac.as_deref().unwrap_or_default();
        ring.verify_mac(EVENT, &self.event.canonical(), mac)
    }
}

impl Recorded {
    /// The MAC that binds an event to what it says.
    pub fn mac(&self, ring: &Ring) -> [u8; 32] {
        ring.mac(EVENT, &self.canonical())
    }

    /// The event as bytes that no other event has: each field with its length, an absent one told from an empty one.
    fn canonical(&self) -> Vec<u8> {
        let at = self.at.seconds().to_string();
        let fields = [
            Some(&self.id),
            Some(&at),
            Some(&self.kind),
            Some(&self.outcome),
            self.actor.as_ref(),
            self.subject.as_ref(),
            self.ip.as_ref(),
            self.device.as_ref(),
            self.session_id.as_ref(),
            self.request_id.as_ref(),
        ];
        let mut bytes = Vec::new();
        for field in fields {
            match field {
                None => bytes.push(0),
                Some(text) => {
                    bytes.push(1);
                    put(&mut bytes, text.as_bytes());
                }
            }
        }
        bytes
    }
}

impl Chain {
    pub fn start() -> Self {
        Self { removed: Head::start(), sealed: Head::start() }
    }

    pub fn mac(&self, ring: &Ring) -> [u8; 32] {
        ring.mac(CHAIN, &self.canonical())
    }

    pub fn is_ours(&self, mac: &[u8], ring: &Ring) -> bool {
        ring.verify_mac(CHAIN, &self.canonical(), mac)
    }

    fn canonical(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for head in [&self.removed, &self.sealed] {
            bytes.extend(head.sequence.to_be_bytes());
            put(&mut bytes, &head.seal);
        }
        bytes
    }
}

/// What the seal of event `sequence` is a MAC of.
fn sealed(before: &Head, sequence: i64, mac: &[u8]) -> Vec<u8> {
    let mut bytes = sequence.to_be_bytes().to_vec();
    put(&mut bytes, &before.seal);
    put(&mut bytes, mac);
    bytes
}

fn put(bytes: &mut Vec<u8>, part: &[u8]) {
    bytes.extend((part.len() as u64).to_be_bytes());
    bytes.extend(part);
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ambient::UnixTime;

    fn event() -> Recorded {
        Recorded {
            id: "1".into(),
            at: UnixTime::from_seconds(1),
            kind: "login".into(),
            outcome: "success".into(),
            actor: Some("a".into()),
            subject: Some("b".into()),
            ip: None,
            device: Some(String::new()),
            session_id: None,
            request_id: None,
        }
    }

    #[test]
    fn no_two_events_are_the_same_bytes() {
        let others = [
            Recorded { at: UnixTime::from_seconds(2), ..event() },
            Recorded { actor: Some("ab".into()), subject: Some(String::new()), ..event() },
            Recorded { actor: None, ..event() },
            Recorded { device: None, ..event() },
            Recorded { device: None, ip: Some(String::new()), ..event() },
            Recorded { kind: "logi".into(), outcome: "nsuccess".into(), ..event() },
        ];
        for other in others {
            assert_ne!(other.canonical(), event().canonical(), "{other:?}");
        }
    }

    #[test]
    fn an_event_follows_only_what_it_was_sealed_after() {
        let ring = Ring::of(&["one".to_owned()]);
        let link = |before: &Head, id: &str| {
            let event = Recorded { id: id.into(), ..event() };
            let mac = event.mac(&ring).to_vec();
            let Head { sequence, seal } = before.sealing(&mac, &ring);
            Link { event, mac: Some(mac), sequence: Some(sequence), seal: Some(seal) }
        };
        let start = Head::start();
        let one = link(&start, "1");
        let first = start.follow(&one, &ring).unwrap();
        let two = link(&first, "2");
        let second = first.follow(&two, &ring).unwrap();
        assert_eq!(second.sequence, 2);
        assert_eq!(start.follow(&two, &ring), Err(Flaw::Missing(1)));
        let again = Flaw::Misplaced { sequence: 1, id: "1".into() };
        assert_eq!(first.follow(&one, &ring), Err(again));
        let elsewhere = Head { seal: vec![0; 32], ..start.clone() };
        assert!(matches!(elsewhere.follow(&one, &ring), Err(Flaw::Misplaced { .. })));
        let changed = Link { event: Recorded { ip: Some("::1".into()), ..one.event.clone() }, ..one.clone() };
        assert!(matches!(start.follow(&changed, &ring), Err(Flaw::Changed { .. })));
        let other = Ring::of(&["two".to_owned()]);
        assert!(matches!(start.follow(&one, &other), Err(Flaw::Changed { .. })));
        let both = Ring::of(&["two".to_owned(), "one".to_owned()]);
        assert_eq!(start.follow(&one, &both).unwrap(), first);
    }

    #[test]
    fn a_head_reads_as_it_is_written() {
        let head = Head { sequence: 12, seal: (0..32).collect() };
        assert_eq!(head.to_string().parse(), Ok(head));
        for text in ["", "12", "12:", "12:zz", "x:00", &format!("1:{}", "é".repeat(32)), &"0".repeat(66)] {
            assert_eq!(text.parse::<Head>(), Err(NoHead), "{text}");
        }
    }
}
