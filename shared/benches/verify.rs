//! What a cold verification consists of, natively: `cargo bench -p countersign-claims`.

use std::hint::black_box;

use base64ct::{Base64UrlUnpadded, Encoding};
use countersign_claims::{Alg, Jwk, JwkSet, Keyring, Reject, Verifier, VerifyingKey};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};

#[path = "../tests/forge/mod.rs"]
mod forge;

fn verify(c: &mut Criterion) {
    let token = forge::token();
    let verifier = forge::verifier();
    let check = |verifier: &Verifier, keyring: &Keyring| {
        verifier.verify(black_box(token.as_bytes()), keyring, forge::NOW).map(drop)
    };

    // Everything but signature and claims: the key that the token names is not there.
    let stranger = Keyring::new([("other".into(), forge::public(&forge::key(1)))]).unwrap();
    assert_eq!(check(&verifier, &stranger), Err(Reject::UnknownKey));
    c.bench_function("token/form and header", |b| b.iter(|| check(&verifier, &stranger)));

    let keyring = forge::keyring();
    assert_eq!(check(&verifier, &keyring), Ok(()));
    c.bench_function("token/whole, prepared key", |b| b.iter(|| check(&verifier, &keyring)));

    let (message, signature) = token.rsplit_once('.').unwrap();
    let signature: [u8; 64] = Base64UrlUnpadded::decode_vec(signature).unwrap().try_into().unwrap();
    let key = forge::public(&forge::key(1));
    let signed = || assert!(key.verifies(black_box(message.as_bytes()), &signature));
    c.bench_function("signature/plain", |b| b.iter(signed));
    key.prepare();
    c.bench_function("signature/by table", |b| b.iter(signed));

    // As on a machine whose caches others use: larger than those, and written before each check.
    let mut others = vec![0_u8; 128 << 20];
    c.bench_function("signature/by table, caches emptied", |b| {
        b.iter_batched(
            || others.iter_mut().step_by(64).for_each(|byte| *byte = byte.wrapping_add(1)),
            |()| signed(),
            BatchSize::PerIteration,
        );
    });
}

fn load(c: &mut Criterion) {
    let keys =
        (0..10).map(|seed| Jwk::ed25519(&seed.to_string(), &forge::public(&forge::key(seed)), Alg::EdDsa));
    let json = serde_json::to_vec(&JwkSet { keys: keys.collect() }).unwrap();
    c.bench_function("keys/load a set of ten", |b| b.iter(|| Keyring::from_json(black_box(&json)).unwrap()));

    let encoded = *forge::public(&forge::key(1)).as_bytes();
    c.bench_function("keys/prepare one", |b| {
        b.iter(|| VerifyingKey::from_bytes(black_box(&encoded)).unwrap().prepare());
    });
}

criterion_group!(benches, verify, load);
criterion_main!(benches);
