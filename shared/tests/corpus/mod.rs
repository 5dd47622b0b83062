//! Ed25519 cases by number, honest and hostile, the same on every machine: what the native test and the
//! module's test both decide on.
#![allow(dead_code, unreachable_pub, reason = "each user takes its part")]
#![allow(clippy::disallowed_methods, reason = "a test may panic")]

use std::collections::BTreeMap;

use countersign_claims::VerifyingKey;
use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT as B, EIGHT_TORSION};
use curve25519_dalek::edwards::EdwardsPoint;
use curve25519_dalek::scalar::Scalar;
use serde_json::Value;
use sha2::{Digest, Sha512};

/// How many cases to try: `COUNTERSIGN_CASES`, or as many as take a few seconds.
pub fn count(otherwise: u64) -> u64 {
    std::env::var("COUNTERSIGN_CASES").map_or(otherwise, |count| count.parse().unwrap())
}

/// What this crate decides, with and without a table. The tables of keys that come again are kept.
#[derive(Default)]
pub struct BothWays {
    prepared: BTreeMap<[u8; 32], VerifyingKey>,
}

impl BothWays {
    /// The plain decision and, where there is a table, the one that it leads to. Keys that come once are
    /// worth a table now and then.
    pub fn decide(&mut self, number: u64) -> (bool, Option<bool>) {
        let (kind, case) = case(number);
        let Ok(key) = VerifyingKey::from_bytes(&case.public) else { return (false, None) };
        let plain = key.verifies(&case.message, &case.signature);
        let comes_again = matches!(kind, Kind::Honest | Kind::Torsion | Kind::TorsionThatCancels);
        let prepared = if comes_again {
            self.prepared.entry(case.public).or_insert(key)
        } else if number.is_multiple_of(32) {
            &key
        } else if let Some(known) = self.prepared.get(&case.public) {
            known
        } else {
            return (plain, None);
        };
        prepared.prepare();
        (plain, Some(prepared.verifies(&case.message, &case.signature)))
    }
}

/// What this crate decides on the first hundred cases of each kind, a character a case: `a` accepted, `r` refused,
/// `!` where the plain equation and the table disagree.
pub fn decisions() -> Vec<u8> {
    let mut ours = BothWays::default();
    let decide = |number| match ours.decide(number) {
        (plain, by_table) if by_table.unwrap_or(plain) != plain => b'!',
        (true, _) => b'a',
        (false, _) => b'r',
    };
    (0..100 * Kind::ALL.len() as u64).map(decide).collect()
}

/// The same of the public vectors; `!` also where they want the other decision.
pub fn decisions_on_public_vectors() -> Vec<u8> {
    let read = |json: &str| serde_json::from_str::<Value>(json).unwrap();
    let wycheproof = read(include_str!("../vectors/wycheproof_ed25519_test.json"));
    let speccheck = read(include_str!("../vectors/ed25519_speccheck_cases.json"));
    let mut decisions = Vec::new();
    for group in wycheproof["testGroups"].as_array().unwrap() {
        for test in group["tests"].as_array().unwrap() {
            let valid = test["result"] == "valid";
            decisions.push(decision([&group["publicKey"]["pk"], &test["msg"], &test["sig"]], valid));
        }
    }
    for case in speccheck["cases"].as_array().unwrap() {
        let valid = case["expected_strict"] == "accept";
        decisions.push(decision([&case["pub_key"], &case["message"], &case["signature"]], valid));
    }
    decisions
}

fn decision(key_message_signature: [&Value; 3], wanted: bool) -> u8 {
    let [key, message, signature] = key_message_signature.map(|hex| {
        let hex = hex.as_str().unwrap();
        (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect::<Vec<_>>()
    });
    let signature = <[u8; 64]>::try_from(signature).ok();
    let key = <[u8; 32]>::try_from(key).ok().and_then(|key| VerifyingKey::from_bytes(&key).ok());
    let (plain, by_table) = match (key, signature) {
        (Some(key), Some(signature)) => {
            let plain = key.verifies(&message, &signature);
            key.prepare();
            (plain, key.verifies(&message, &signature))
        }
        _ => (false, false),
    };
    match plain {
        _ if plain != wanted || by_table != wanted => b'!',
        true => b'a',
        false => b'r',
    }
}

pub struct Case {
    pub public: [u8; 32],
    pub message: Vec<u8>,
    pub signature: [u8; 64],
}

/// What is wrong with a case, if anything.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    Honest,
    /// One bit of key, signature or message flipped.
    Flipped,
    /// The secret is known, but key, R or both have a component of small order.
    Torsion,
    /// As before, searched until the components cancel out: valid without cofactor.
    TorsionThatCancels,
    /// S + L, S + 2L, …: the same signature again for who reduces S.
    SecondSpelling,
    /// S at the ends of its range.
    EdgeOfS,
    /// A or R of small order, by every encoding, in equations that hold.
    SmallOrder,
    /// A or R with y of p or more.
    NotCanonical,
    Noise,
}

impl Kind {
    pub const ALL: [Self; 9] = [
        Self::Honest,
        Self::Flipped,
        Self::Torsion,
        Self::TorsionThatCancels,
        Self::SecondSpelling,
        Self::EdgeOfS,
        Self::SmallOrder,
        Self::NotCanonical,
        Self::Noise,
    ];
}

/// Few secrets, so that a test may keep the tables of their keys.
const SECRETS: u64 = 4;

/// L, little-endian (RFC 8032 §5.1).
const L: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/// Case `number`, and what kind it is.
pub fn case(number: u64) -> (Kind, Case) {
    let kinds = Kind::ALL.len() as u64;
    let kind = Kind::ALL[(number % kinds) as usize];
    let mut dice = Dice { seed: number, drawn: 0 };
    let message = dice.message();
    (kind, make(kind, message, &mut dice))
}

/// The same of a message that is given.
pub fn case_with(number: u64, message: Vec<u8>) -> Case {
    let kind = Kind::ALL[(number % Kind::ALL.len() as u64) as usize];
    make(kind, message, &mut Dice { seed: number, drawn: 0 })
}

fn make(kind: Kind, message: Vec<u8>, dice: &mut Dice) -> Case {
    let secret = Secret::of(dice.below(SECRETS));
    match kind {
        Kind::Honest => secret.sign(message, dice.scalar(), EIGHT_TORSION[0], EIGHT_TORSION[0]),
        Kind::Flipped => {
            let mut case = secret.sign(message, dice.scalar(), EIGHT_TORSION[0], EIGHT_TORSION[0]);
            let length = case.bytes().count() as u64;
            let (byte, bit) = (dice.below(length), dice.below(8));
            *case.bytes().nth(byte as usize).unwrap() ^= 1 << bit;
            case
        }
        Kind::Torsion => secret.sign(message, dice.scalar(), dice.torsion(), dice.torsion()),
        Kind::TorsionThatCancels => {
            let a = dice.torsion();
            loop {
                let r = dice.torsion();
                let case = secret.sign(message.clone(), dice.scalar(), a, r);
                if r == -a * case.k() {
                    return case;
                }
            }
        }
        Kind::SecondSpelling => {
            let mut case = secret.sign(message, dice.scalar(), EIGHT_TORSION[0], EIGHT_TORSION[0]);
            for _ in 0..=dice.below(14) {
                add(&mut case.signature[32..], &L);
            }
            case
        }
        Kind::EdgeOfS => {
            let mut case = secret.sign(message, dice.scalar(), EIGHT_TORSION[0], EIGHT_TORSION[0]);
            case.signature[32..].copy_from_slice(&dice.edge());
            case
        }
        Kind::SmallOrder if dice.below(2) == 0 => {
            let public = dice.small_order();
            let s = dice.scalar();
            // R = [S]B − [k]A for one of the eight values that [k]A can have: one try in eight holds.
            let r = B * s - dice.torsion();
            Case { public, message, signature: join(r.compress().to_bytes(), s.to_bytes()) }
        }
        Kind::SmallOrder => {
            let mut case = Case {
                public: secret.public().compress().to_bytes(),
                message,
                signature: join(dice.small_order(), [0; 32]),
            };
            let s = case.k() * secret.a;
            case.signature[32..].copy_from_slice(s.as_bytes());
            case
        }
        Kind::NotCanonical => {
            let mut case = secret.sign(message, dice.scalar(), EIGHT_TORSION[0], EIGHT_TORSION[0]);
            let y = dice.below(19) as u8;
            let encoded = dice.beyond_p(y);
            match dice.below(2) {
                0 => case.public = encoded,
                _ => case.signature[..32].copy_from_slice(&encoded),
            }
            case
        }
        Kind::Noise => {
            let mut case = Case { public: [0; 32], message, signature: [0; 64] };
            case.bytes().for_each(|byte| *byte = dice.below(256) as u8);
            case
        }
    }
}

impl Case {
    /// Key, signature and message, to be changed in place.
    fn bytes(&mut self) -> impl Iterator<Item = &mut u8> {
        self.public.iter_mut().chain(&mut self.signature).chain(&mut self.message)
    }

    fn k(&self) -> Scalar {
        let (r, _) = self.signature.split_at(32);
        let hash = Sha512::new().chain_update(r).chain_update(self.public).chain_update(&self.message);
        Scalar::from_bytes_mod_order_wide(&hash.finalize().into())
    }
}

struct Secret {
    a: Scalar,
}

impl Secret {
    fn of(number: u64) -> Self {
        Self { a: Dice { seed: number, drawn: u64::MAX }.scalar() }
    }

    fn public(&self) -> EdwardsPoint {
        B * self.a
    }

    /// Signs (RFC 8032 §5.1.6) with the nonce `r`, and adds a point of small order to the key and to R.
    fn sign(&self, message: Vec<u8>, r: Scalar, to_key: EdwardsPoint, to_r: EdwardsPoint) -> Case {
        let public = (self.public() + to_key).compress().to_bytes();
        let signature = join((B * r + to_r).compress().to_bytes(), [0; 32]);
        let mut case = Case { public, message, signature };
        let s = r + case.k() * self.a;
        case.signature[32..].copy_from_slice(s.as_bytes());
        case
    }
}

/// Draws that follow from a case's number alone.
struct Dice {
    seed: u64,
    drawn: u64,
}

impl Dice {
    fn draw(&mut self) -> [u8; 64] {
        let block =
            Sha512::new().chain_update(self.seed.to_le_bytes()).chain_update(self.drawn.to_le_bytes());
        self.drawn = self.drawn.wrapping_add(1);
        block.finalize().into()
    }

    fn scalar(&mut self) -> Scalar {
        Scalar::from_bytes_mod_order_wide(&self.draw())
    }

    fn below(&mut self, bound: u64) -> u64 {
        let [a, b, c, d, ..] = self.draw();
        u64::from(u32::from_le_bytes([a, b, c, d])) % bound
    }

    fn message(&mut self) -> Vec<u8> {
        let length = self.below(200) as usize;
        std::iter::repeat_with(|| self.draw()).flatten().take(length).collect()
    }

    fn torsion(&mut self) -> EdwardsPoint {
        EIGHT_TORSION[self.below(8) as usize]
    }

    /// A point of small order, in any encoding that a decoder might take for one.
    fn small_order(&mut self) -> [u8; 32] {
        let mut encoded = self.torsion().compress().to_bytes();
        let p_minus_1 = encoded[0] == 0xec && encoded[1] == 0xff;
        match self.below(4) {
            // x = 0 with the sign of −0.
            0 if encoded[0] == 1 || p_minus_1 => encoded[31] |= 0x80,
            // y + p, where it fits into 255 bits.
            1 if encoded[1..31] == [0; 30] => encoded = self.beyond_p(encoded[0]),
            _ => {}
        }
        encoded
    }

    /// p + `y`, with either sign of x.
    fn beyond_p(&mut self, y: u8) -> [u8; 32] {
        let mut encoded = [0xff; 32];
        encoded[0] = 0xed + y;
        encoded[31] = [0x7f, 0xff][self.below(2) as usize];
        encoded
    }

    /// 0, L, a power of two or the largest number, or one more or less.
    fn edge(&mut self) -> [u8; 32] {
        let mut edge = match self.below(4) {
            0 => [0; 32],
            1 => L,
            2 => [0xff; 32],
            _ => {
                let mut power = [0; 32];
                let bit = self.below(256) as usize;
                power[bit / 8] = 1 << (bit % 8);
                power
            }
        };
        match self.below(3) {
            0 => {}
            1 => add(&mut edge, &[1]),
            _ => add(&mut edge, &[0xff; 32]),
        }
        edge
    }
}

/// Adds in place, modulo the size of `to`; both little-endian.
fn add(to: &mut [u8], by: &[u8]) {
    let mut carry = 0;
    for (i, byte) in to.iter_mut().enumerate() {
        let sum = u16::from(*byte) + u16::from(by.get(i).copied().unwrap_or(0)) + carry;
        *byte = sum.to_le_bytes()[0];
        carry = sum >> 8;
    }
}

fn join(r: [u8; 32], s: [u8; 32]) -> [u8; 64] {
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(&r);
    signature[32..].copy_from_slice(&s);
    signature
}
