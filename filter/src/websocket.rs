//! Where frames of a WebSocket begin and end (RFC 6455 §5.2), so that one of ours can be put between two of the server's.
//!
//! Only what the server sends is followed, and of that only the heads of frames: payloads are the client's, compressed or
//! not. Between two frames a control frame may stand, in the middle of a message, too (§5.4).

use countersign_claims::{Handle, Reject};

/// A stream that is due to end waits this long for a place between two frames: if the server says nothing, or what it says
/// has no end, the connection is closed without a word. Milliseconds. A tick passes before it is due, and one before it is
/// closed, and Envoy takes its `delayed_close_timeout` for it; with all of them, it is over within a second.
pub const PATIENCE: u64 = 250;

/// Violates a policy (RFC 6455 §7.4.1).
const CLOSE_CODE: u16 = 1008;
const CLOSE: u8 = 0x8;
/// The last frame of a message; there is no other of a control frame.
const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;

/// How far the server's frames have come.
#[derive(Debug, Default)]
pub struct Frames {
    /// The head of a frame that has not come whole.
    head: [u8; LONGEST_HEAD],
    head_size: usize,
    /// What is to come of the payload.
    payload: u64,
    /// Nothing may be put in any more: the server has closed, or what it sends are no frames.
    over: bool,
}

/// Two bytes, eight of a long length; a mask, which no server sends, is an error.
const LONGEST_HEAD: usize = 10;

impl Frames {
    /// How many of the next `available` bytes are of a payload that is known to come. They are passed over.
    pub fn skip(&mut self, available: usize) -> usize {
        let skipped = usize::try_from(self.payload).map_or(available, |payload| payload.min(available));
        self.payload = self.payload.saturating_sub(skipped as u64);
        skipped
    }

    /// Takes notice of bytes that go by.
    pub fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.over {
            bytes = self.pass_one(bytes);
        }
    }

    /// How many of the bytes go by before there is a place between two frames; `None` if they all do and there is none
    /// after them. Those that do are taken notice of.
    pub fn until_place(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut rest = bytes;
        while !self.is_place() {
            if rest.is_empty() || self.over {
                return None;
            }
            rest = self.pass_one(rest);
        }
        bytes.len().checked_sub(rest.len())
    }

    /// Whether a frame may be put in here.
    fn is_place(&self) -> bool {
        self.head_size == 0 && self.payload == 0 && !self.over
    }

    /// The rest after a payload, or after one byte of a head.
    fn pass_one<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let skipped = self.skip(bytes.len());
        let rest = bytes.get(skipped..).unwrap_or_default();
        let Some((byte, after)) = rest.split_first() else { return rest };
        if skipped > 0 {
            return rest;
        }
        if let Some(place) = self.head.get_mut(self.head_size) {
            *place = *byte;
            self.head_size = self.head_size.saturating_add(1);
        }
        self.read_head();
        after
    }

    fn read_head(&mut self) {
        let head = self.head.get(..self.head_size).unwrap_or_default();
        let payload = match *head {
            [] | [_] => return,
            [_, size, ..] if size & MASKED != 0 => {
                self.over = true;
                return;
            }
            [_, size @ 0..=125, ..] => u64::from(size),
            [_, 126, high, low, ..] => u64::from(u16::from_be_bytes([high, low])),
            [_, 127, a, b, c, d, e, f, g, h] => u64::from_be_bytes([a, b, c, d, e, f, g, h]),
            _ => return,
        };
        self.over = matches!(*head, [kind, ..] if kind & 0x0f == CLOSE);
        self.payload = payload;
        self.head_size = 0;
    }
}

/// A close frame that says why, as a server sends it.
pub fn close_frame(reason: &str) -> Vec<u8> {
    // A control frame has at most 125 bytes of payload (§5.5).
    let reason = reason.as_bytes().get(..reason.len().min(123)).unwrap_or_default();
    let size = u8::try_from(reason.len().saturating_add(2)).unwrap_or_default();
    [&[FINAL | CLOSE, size], &CLOSE_CODE.to_be_bytes()[..], reason].concat()
}

/// How long a live stream may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime {
    /// The first second in which its credential is no longer good.
    pub until: i64,
    /// By what it is revoked.
    pub session: Option<Handle>,
}

/// A WebSocket that was let through, while it lives.
#[derive(Debug)]
pub struct Live {
    lifetime: Lifetime,
    frames: Frames,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing has come from the server yet.
    Begun,
    Open,
    /// It is to end at the next place between two frames, or at that time.
    Due {
        why: Reject,
        at_last: u64,
    },
    /// The client has its close frame.
    Told(Reject),
}

/// What is to be done with bytes of the server.
#[derive(Debug, PartialEq, Eq)]
pub enum Passage {
    /// They go on as they are.
    Unchanged,
    /// These go on instead.
    Instead(Vec<u8>),
}

/// What is to be done with a stream now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    GoesOn,
    /// It is to be closed now. `told`: its client has been told why.
    Closes {
        why: Reject,
        told: bool,
    },
}

impl Live {
    pub fn new(lifetime: Lifetime) -> Self {
        Self { lifetime, frames: Frames::default(), phase: Phase::Begun }
    }

    /// Whether this is the first that is heard of the server; asked once.
    pub fn begins(&mut self) -> bool {
        let begins = self.phase == Phase::Begun;
        if begins {
            self.phase = Phase::Open;
        }
        begins
    }

    pub fn lifetime(&self) -> Lifetime {
        self.lifetime
    }

    /// Lets the next `size` bytes of the server go by. `read` gives some of them: from, and how many.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn pass<B: std::ops::Deref<Target = [u8]>, E>(
        &mut self,
        size: usize,
        mut read: impl FnMut(usize, usize) -> Result<B, E>,
    ) -> Result<Passage, E> {
        /// What is looked at at once: most frames are smaller.
        const PIECE: usize = 4096;
        match self.phase {
            Phase::Begun | Phase::Open => {
                let mut at = self.frames.skip(size);
                while at < size && !self.frames.over {
                    let piece = read(at, PIECE.min(size.saturating_sub(at)))?;
                    if piece.is_empty() {
                        break;
                    }
                    self.frames.pass(&piece);
                    at = at.saturating_add(piece.len());
                    at = at.saturating_add(self.frames.skip(size.saturating_sub(at)));
                }
                Ok(Passage::Unchanged)
            }
            Phase::Due { why, .. } => {
                let bytes = read(0, size)?;
                let Some(place) = self.frames.until_place(&bytes) else { return Ok(Passage::Unchanged) };
                self.phase = Phase::Told(why);
                let before = bytes.get(..place).unwrap_or_default();
                Ok(Passage::Instead([before, &close_frame(why.detail())].concat()))
            }
            // Nothing comes after a close frame.
            Phase::Told(_) => Ok(Passage::Instead(Vec::new())),
        }
    }

    /// What becomes of it at `now` (Unix milliseconds); `reason` says whether it is to end.
    pub fn fate(&mut self, now: u64, reason: impl FnOnce(Lifetime) -> Option<Reject>) -> Fate {
        match self.phase {
            Phase::Begun | Phase::Open => {
                if let Some(why) = reason(self.lifetime) {
                    self.phase = Phase::Due { why, at_last: now.saturating_add(PATIENCE) };
                }
                Fate::GoesOn
            }
            // A clock that is set back must not keep it.
            Phase::Due { at_last, .. } if now < at_last && at_last.saturating_sub(now) <= PATIENCE => {
                Fate::GoesOn
            }
            Phase::Due { why, .. } => Fate::Closes { why, told: false },
            Phase::Told(why) => Fate::Closes { why, told: true },
        }
    }
}

#[cfg(test)]
mod tests;
