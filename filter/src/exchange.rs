//! API keys and the tokens that the issuer gives for them: each key is asked about at most once in a while, however many
//! requests bring it, and a flood of bad keys neither reaches the issuer nor takes the place of good ones. A key that was good
//! waits for nobody: while it is asked about again, it goes on with its token.
//!
//! Holds no key, only digests of keys, but for those that are being asked about. Whether a token is good is not decided
//! here: it is verified like any other. Times are Unix seconds.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::rc::Rc;

use countersign_claims::MAX_TOKEN_BYTES;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// No issuer gives out longer ones.
const LONGEST_KEY: usize = 512;
/// Memory for tokens of keys that are good.
const MOST_TOKEN_BYTES: usize = 4 << 20;
/// How many keys are remembered as bad, and for how long.
const MOST_REFUSED: usize = 4096;
const REFUSED_FOR: i64 = 10;
/// After the issuer could not be asked, or gave a token that is not good either, so long nobody asks about that key again.
const PAUSE: i64 = 1;
/// How often a key that was good is asked about again while the issuer cannot be asked.
const RETRY: i64 = 5;
/// Questions that are under way at once, and those that wait until they may be asked.
const MOST_ASKED: usize = 32;
const MOST_QUEUED: usize = 256;
/// Of keys that were never good, so many are asked about at once, and then so many each second, as long as they are bad or
/// nothing is heard of them.
const BAD_KEYS: u32 = 100;
const BAD_KEYS_PER_SECOND: u32 = 20;

/// What stands for a key here: SHA-256, so that no two keys are taken for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyDigest([u8; 32]);

/// A key as it was sent. Shows itself to nobody but the issuer.
pub struct ApiKey(Box<str>);

impl ApiKey {
    /// `None` if it cannot be a key.
    pub fn read(value: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(value.trim_ascii()).ok()?;
        let plain = text.bytes().all(|b| b.is_ascii_graphic());
        (plain && (1..=LONGEST_KEY).contains(&text.len())).then(|| Self(text.into()))
    }

    pub fn digest(&self) -> KeyDigest {
        KeyDigest(Sha256::digest(self.0.as_bytes()).into())
    }

    /// The question about it.
    pub fn question(&self) -> Vec<u8> {
        #[derive(Serialize)]
        struct Question<'k> {
            api_key: &'k str,
        }
        serde_json::to_vec(&Question { api_key: &self.0 }).unwrap_or_default()
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(…)")
    }
}

/// What is known of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    Good(Rc<[u8]>),
    /// Its token is to be used, and the issuer to be asked again.
    Due(Rc<[u8]>),
    Bad(Bad),
    /// The issuer has to be asked, or is being asked.
    Unknown,
    /// It was asked a moment ago, and nothing was heard.
    Unavailable,
    /// Too many keys are asked about that were never good.
    Limited,
}

/// Why a key is not good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bad {
    /// The issuer does not know it. It may be a key of another system.
    Unknown,
    /// It was one, and is no longer.
    Ended,
}

/// What the issuer says of a key.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    Good(Rc<[u8]>),
    Bad(Bad),
    /// Nothing about the key; the text is for the log.
    None(String),
    /// Nothing either: it looks up no more keys for now that it does not know.
    Limited(String),
}

/// One worker's side of the exchange.
#[derive(Debug)]
pub struct Exchange {
    /// For so many seconds a key is not asked about again.
    cache: i64,
    good: BTreeMap<KeyDigest, Good>,
    good_bytes: usize,
    bad: BadKeys,
    /// Keys that wait until they may be asked about.
    queued: VecDeque<(KeyDigest, ApiKey)>,
    /// Keys that are being asked about.
    asked: Vec<KeyDigest>,
    unheard: VecDeque<Unheard>,
    allowance: Allowance,
}

#[derive(Debug)]
struct Good {
    token: Rc<[u8]>,
    /// From then on it is asked about again.
    until: i64,
    /// Until then it is not, though its token is no longer good: that was the reason to ask a moment ago.
    pause: i64,
}

/// A key about which nothing could be heard.
#[derive(Debug)]
struct Unheard {
    key: KeyDigest,
    /// Until then nobody asks again.
    until: i64,
    /// How it stands meanwhile.
    standing: Standing,
}

/// Keys that are bad, the oldest first.
#[derive(Debug, Default)]
struct BadKeys {
    until: BTreeMap<KeyDigest, (i64, Bad)>,
    order: VecDeque<KeyDigest>,
}

/// How many questions about unknown keys may bring nothing good.
#[derive(Debug)]
struct Allowance {
    left: u32,
    as_of: i64,
}

impl Exchange {
    pub fn new(cache: i64) -> Self {
        Self {
            cache,
            good: BTreeMap::new(),
            good_bytes: 0,
            bad: BadKeys::default(),
            queued: VecDeque::new(),
            asked: Vec::new(),
            unheard: VecDeque::new(),
            allowance: Allowance { left: BAD_KEYS, as_of: i64::MIN },
        }
    }

    /// What is known of a key at `now`.
    pub fn standing(&mut self, key: KeyDigest, now: i64) -> Standing {
        if let Some(good) = self.good.get(&key) {
            let token = Rc::clone(&good.token);
            let good = is_to_come(good.until, now, self.cache.max(RETRY));
            return if good { Standing::Good(token) } else { Standing::Due(token) };
        }
        if let Some(why) = self.bad.find(key, now) {
            return Standing::Bad(why);
        }
        if self.is_asked(key) {
            return Standing::Unknown;
        }
        self.unheard.retain(|unheard| is_to_come(unheard.until, now, PAUSE));
        if let Some(unheard) = self.unheard.iter().find(|unheard| unheard.key == key) {
            return unheard.standing.clone();
        }
        let may_ask = self.queued.len() < MOST_QUEUED && self.allowance.has(now);
        if may_ask { Standing::Unknown } else { Standing::Limited }
    }

    /// The token of a key that is good.
    pub fn token_for(&self, key: KeyDigest) -> Option<&[u8]> {
        self.good.get(&key).map(|good| &*good.token)
    }

    /// Wants to know of a key that is unknown or due. Others may want the same already. Whether there will be an answer.
    pub fn want(&mut self, key: ApiKey) -> bool {
        let digest = key.digest();
        let asked = self.is_asked(digest);
        let room = self.queued.len() < MOST_QUEUED;
        if !asked && room {
            self.queued.push_back((digest, key));
        }
        asked || room
    }

    /// The next question, which is under way from then on.
    pub fn next_question(&mut self) -> Option<(KeyDigest, ApiKey)> {
        if self.asked.len() >= MOST_ASKED {
            return None;
        }
        let (digest, key) = self.queued.pop_front()?;
        self.asked.push(digest);
        Some((digest, key))
    }

    /// Takes an answer.
    pub fn answered(&mut self, key: KeyDigest, answer: &Answer, now: i64) {
        self.asked.retain(|asked| *asked != key);
        match answer {
            Answer::Good(token) => self.remember(key, Rc::clone(token), now),
            Answer::Bad(why) => {
                self.forget(key);
                self.allowance.take(now);
                self.bad.add(key, now.saturating_add(REFUSED_FOR), *why);
            }
            Answer::None(_) => self.unheard(key, Standing::Unavailable, now),
            Answer::Limited(_) => self.unheard(key, Standing::Limited, now),
        }
    }

    /// Takes notice that nothing was heard of a key.
    fn unheard(&mut self, key: KeyDigest, standing: Standing, now: i64) {
        if let Some(good) = self.good.get_mut(&key) {
            good.until = now.saturating_add(RETRY);
            return;
        }
        self.allowance.take(now);
        if self.unheard.len() >= MOST_QUEUED {
            self.unheard.pop_front();
        }
        self.unheard.push_back(Unheard { key, until: now.saturating_add(PAUSE), standing });
    }

    /// Takes notice that the token of a key is no longer good. Whether the key is due now.
    pub fn doubt(&mut self, key: KeyDigest, now: i64) -> bool {
        match self.good.get_mut(&key) {
            Some(good) if !is_to_come(good.pause, now, PAUSE) => {
                good.until = now;
                good.pause = now.saturating_add(PAUSE);
                true
            }
            _ => false,
        }
    }

    fn forget(&mut self, key: KeyDigest) {
        if let Some(good) = self.good.remove(&key) {
            self.good_bytes = self.good_bytes.saturating_sub(good.bytes());
        }
    }

    fn is_asked(&self, key: KeyDigest) -> bool {
        self.asked.contains(&key) || self.queued.iter().any(|(queued, _)| *queued == key)
    }

    fn remember(&mut self, key: KeyDigest, token: Rc<[u8]>, now: i64) {
        let pause = self.good.get(&key).map_or(now, |good| good.pause);
        self.forget(key);
        let good = Good { token, until: now.saturating_add(self.cache), pause };
        self.good_bytes = self.good_bytes.saturating_add(good.bytes());
        self.good.insert(key, good);
        while self.good_bytes > MOST_TOKEN_BYTES {
            // Keys that come no more are long past their time.
            let oldest = self.good.iter().min_by_key(|(_, good)| good.until).map(|(key, _)| *key);
            let Some(oldest) = oldest else { break };
            self.forget(oldest);
        }
    }
}

/// Whether a time has not come yet that was set at most so many seconds ahead. One that is further away was set before the
/// clock was set back, and is not waited for.
fn is_to_come(until: i64, now: i64, at_most: i64) -> bool {
    now < until && until.saturating_sub(now) <= at_most
}

impl Good {
    fn bytes(&self) -> usize {
        const BESIDES: usize = 128;
        self.token.len().saturating_add(BESIDES)
    }
}

impl BadKeys {
    fn find(&self, key: KeyDigest, now: i64) -> Option<Bad> {
        self.until.get(&key).filter(|(until, _)| is_to_come(*until, now, REFUSED_FOR)).map(|(_, why)| *why)
    }

    fn add(&mut self, key: KeyDigest, until: i64, why: Bad) {
        if self.until.insert(key, (until, why)).is_none() {
            self.order.push_back(key);
        }
        if self.order.len() > MOST_REFUSED
            && let Some(oldest) = self.order.pop_front()
        {
            self.until.remove(&oldest);
        }
    }
}

impl Allowance {
    fn has(&mut self, now: i64) -> bool {
        // A clock that is set back gives nothing, and takes nothing for long.
        let seconds = now.saturating_sub(self.as_of);
        if seconds != 0 {
            let more = u32::try_from(seconds).unwrap_or(0).saturating_mul(BAD_KEYS_PER_SECOND);
            self.left = self.left.saturating_add(more).min(BAD_KEYS);
            self.as_of = now;
        }
        self.left > 0
    }

    fn take(&mut self, now: i64) {
        self.has(now);
        self.left = self.left.saturating_sub(1);
    }
}

impl Answer {
    /// Reads an answer of the issuer: its status, if there was an answer at all, and its body.
    pub fn read(status: Option<&[u8]>, body: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Token {
            access_token: String,
        }
        #[derive(Deserialize)]
        struct Problem {
            reason: String,
        }
        match status {
            None => Self::None("no answer in time, or the connection broke".into()),
            Some(b"200") => match serde_json::from_slice::<Token>(body) {
                Ok(Token { access_token }) if (1..=MAX_TOKEN_BYTES).contains(&access_token.len()) => {
                    Self::Good(access_token.into_bytes().into())
                }
                _ => Self::None("the answer has no access token".into()),
            },
            Some(status) => {
                let reason = serde_json::from_slice::<Problem>(body).map(|problem| problem.reason);
                let reason = reason.unwrap_or_default();
                // 401 is also what a service token gets that is not good.
                match (status, &*reason) {
                    (b"401", "api_key_invalid") => return Self::Bad(Bad::Unknown),
                    (b"401", ended) if ended.starts_with("api_key_") => return Self::Bad(Bad::Ended),
                    _ => {}
                }
                let plain = reason.len() <= 64 && reason.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
                let reason = if plain { &*reason } else { "" };
                let said = format!("status {} {reason}", status.escape_ascii()).trim_end().into();
                if status == b"429" { Self::Limited(said) } else { Self::None(said) }
            }
        }
    }
}

#[cfg(test)]
mod tests;
