//! Which keys hold a table: those that valid signatures come from, within a bound, and nobody else's doing.

mod forge;

use countersign_claims::{Alg, Keyring, MAX_PREPARED_KEYS, Reject, VerifyingKey, mint};
use forge::*;

/// `n` keys in one ring, and a second handle to each.
fn ring(n: u8) -> (Keyring, Vec<VerifyingKey>) {
    let keys: Vec<_> = (0..n).map(|seed| public(&key(seed))).collect();
    (Keyring::new(keys.iter().cloned().enumerate().map(|(i, key)| (i.to_string(), key))).unwrap(), keys)
}

/// Verifies a token of key `signer` that says it is of key `named`.
fn verify(ring: &Keyring, named: usize, signer: u8, now: i64) -> Result<(), Reject> {
    let mut claims = claims();
    claims.exp = i64::MAX;
    let token = mint(&named.to_string(), &claims, &key(signer), Alg::EdDsa).unwrap();
    verifier().verify(token.as_bytes(), ring, now).map(drop)
}

fn prepared(keys: &[VerifyingKey]) -> Vec<usize> {
    (0..keys.len()).filter(|&i| keys[i].is_prepared()).collect()
}

#[test]
fn only_a_valid_signature_prepares_a_key() {
    let (ring, keys) = ring(2);
    for _ in 0..10 {
        assert_eq!(verify(&ring, 0, 7, NOW), Err(Reject::BadSignature));
    }
    assert_eq!(prepared(&keys), [0; 0]);
    assert_eq!(verify(&ring, 0, 0, NOW), Ok(()));
    assert_eq!(prepared(&keys), [0]);
}

#[test]
fn a_prepared_key_decides_as_before() {
    let (ring, keys) = ring(1);
    ring.prepare();
    assert_eq!(prepared(&keys), [0]);
    assert_eq!(verify(&ring, 0, 0, NOW), Ok(()));
    assert_eq!(verify(&ring, 0, 1, NOW), Err(Reject::BadSignature));
}

#[test]
fn no_more_keys_than_the_bound_are_prepared_and_the_others_verify_all_the_same() {
    let (ring, keys) = ring(50);
    for round in 0..3 {
        for i in 0..50 {
            assert_eq!(verify(&ring, i.into(), i, NOW + round), Ok(()));
            assert_eq!(verify(&ring, i.into(), i + 1, NOW + round), Err(Reject::BadSignature));
        }
        assert_eq!(prepared(&keys), (0..MAX_PREPARED_KEYS).collect::<Vec<_>>());
    }
}

#[test]
fn a_key_in_use_takes_the_place_of_the_one_idle_longest() {
    let (ring, keys) = ring(5);
    for i in [1, 0, 2] {
        verify(&ring, i.into(), i, NOW + i64::from(i)).unwrap();
    }
    verify(&ring, 4, 4, NOW + 59).unwrap();
    assert_eq!(prepared(&keys), [0, 1, 2], "nobody is idle yet");
    verify(&ring, 4, 4, NOW + 60).unwrap();
    assert_eq!(prepared(&keys), [1, 2, 4]);
    verify(&ring, 0, 1, NOW + 10_000).unwrap_err();
    assert_eq!(prepared(&keys), [1, 2, 4], "a forged token takes nothing away");
}

#[test]
fn preparing_a_ring_with_more_keys_than_the_bound_waits_for_use() {
    let (few, few_keys) = ring(3);
    few.prepare();
    assert_eq!(prepared(&few_keys), [0, 1, 2]);
    let (many, many_keys) = ring(4);
    many.prepare();
    assert_eq!(prepared(&many_keys), [0; 0]);
}

#[test]
fn a_refresh_keeps_the_tables_of_the_same_keys_and_of_no_other() {
    let (old, _) = ring(2);
    old.prepare();
    let (mut same, same_keys) = ring(1);
    assert_eq!(prepared(&same_keys), [0; 0]);
    same.adopt(&old);
    assert!(verify(&same, 0, 0, NOW).is_ok());
    assert_eq!(
        prepared(&same_keys),
        [0; 0],
        "nothing was built again: the old key took the place of the new"
    );

    let replacement = public(&key(9));
    let mut replaced = Keyring::new([("0".into(), replacement.clone())]).unwrap();
    replaced.adopt(&old);
    assert!(!replacement.is_prepared());
    assert_eq!(verify(&replaced, 0, 0, NOW), Err(Reject::BadSignature));
    assert_eq!(verify(&replaced, 0, 9, NOW), Ok(()));
}
