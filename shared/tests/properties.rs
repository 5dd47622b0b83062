//! What must hold for any input: a changed token is refused, nothing panics, and the Ed25519 check decides as
//! ed25519-dalek's `verify_strict` does.
#![allow(clippy::disallowed_methods, reason = "a test may panic")]

mod forge;

use base64ct::{Base64UrlUnpadded, Encoding};
use countersign_claims::{Alg, Keyring, VerifyingKey};
use ed25519_dalek::Signer;
use forge::*;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_changed_byte_is_refused(position in any::<prop::sample::Index>(), byte: u8) {
        let mut token = token().into_bytes();
        let position = position.index(token.len());
        prop_assume!(token[position] != byte);
        token[position] = byte;
        prop_assert!(verify(&token).is_err());
    }

    #[test]
    fn any_cut_or_grown_token_is_refused(position in any::<prop::sample::Index>(), byte: u8) {
        let token = token().into_bytes();
        let position = position.index(token.len());
        prop_assert!(verify(&token[..position]).is_err());
        let mut grown = token;
        grown.insert(position, byte);
        prop_assert!(verify(&grown).is_err());
    }

    #[test]
    fn any_bytes_are_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(verify(&bytes).is_err());
        prop_assert!(Keyring::from_json(&bytes).is_err());
    }

    #[test]
    fn any_signed_texts_are_refused_without_a_panic(header in ".{0,80}", payload in ".{0,200}") {
        prop_assert!(verify(sign(header.as_bytes(), payload.as_bytes())).is_err());
        let honest = header_text();
        prop_assert!(verify(sign(honest.as_bytes(), payload.as_bytes())).is_err());
    }

    #[test]
    fn any_part_swapped_between_tokens_is_refused(which in 0..2_usize, seconds in 1..1_000_i64) {
        let mut other = claims();
        other.exp += seconds;
        let (a, b) = (token(), countersign_claims::mint(KID, &other, &key(1), Alg::EdDsa).unwrap());
        let (mut a, b): (Vec<_>, Vec<_>) = (a.split('.').collect(), b.split('.').collect());
        a[which + 1] = b[which + 1];
        prop_assert!(verify(a.join(".")).is_err());
    }

    #[test]
    fn decides_as_verify_strict_does(
        seed: [u8; 32],
        message in prop::collection::vec(any::<u8>(), 0..200),
        flip in prop::option::of((0..96_usize, 0..8_u32)),
    ) {
        let key = ed25519_dalek::SigningKey::from_bytes(&seed);
        let mut public = key.verifying_key().to_bytes();
        let mut signature = key.sign(&message).to_bytes();
        if let Some((byte, bit)) = flip {
            *public.iter_mut().chain(&mut signature).nth(byte).unwrap() ^= 1 << bit;
        }
        let strict = ed25519_dalek::VerifyingKey::from_bytes(&public)
            .is_ok_and(|key| key.verify_strict(&message, &signature.into()).is_ok());
        let ours = VerifyingKey::from_bytes(&public).is_ok_and(|key| key.verifies(&message, &signature));
        prop_assert_eq!(ours, strict);
        prop_assert_eq!(ours, flip.is_none());
    }
}

fn header_text() -> String {
    header().to_string()
}

#[test]
fn every_respelling_of_the_last_character_is_refused() {
    let token = token();
    let (rest, _) = token.split_at(token.len() - 1);
    let spellings = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let accepted = spellings.chars().filter(|c| verify(format!("{rest}{c}")).is_ok()).count();
    assert_eq!(accepted, 1);
    assert_eq!(Base64UrlUnpadded::encode_string(&[0; 64]).len(), 86);
}
