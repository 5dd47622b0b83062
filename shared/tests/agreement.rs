//! Held against jwt-compact: what this crate accepts, that library validates too, with the same claims.

mod forge;

use countersign_claims::{AccessClaims, Alg};
use forge::*;
use jwt_compact::{AlgorithmExt, UntrustedToken};
use proptest::prelude::*;
use serde_json::json;

proptest! {
    #[test]
    fn accepted_tokens_mean_the_same_to_jwt_compact(
        sub in "[ -~]{1,40}",
        name in ".{0,40}",
        roles in prop::collection::vec("[a-z:]{1,12}", 0..4),
        life in 1..100_000_i64,
    ) {
        let token = with_claims(json!({"sub": sub, "name": name, "roles": roles, "exp": NOW + life}));
        let ours = verify(&token).unwrap();

        let untrusted = UntrustedToken::new(&token).unwrap();
        let theirs = Alg::EdDsa.validator::<Timeless>(&public(&key(1))).validate(&untrusted).unwrap();
        prop_assert_eq!(theirs.claims().expiration.unwrap().timestamp(), ours.exp);
        prop_assert_eq!(theirs.claims().issued_at.map(|at| at.timestamp()), ours.iat);
        prop_assert_eq!(&theirs.claims().custom.sub, &ours.sub);
        prop_assert_eq!(&theirs.claims().custom.roles, &ours.roles);
        prop_assert_eq!(untrusted.header().key_id.as_deref(), Some(KID));
    }
}

/// jwt-compact keeps the times for itself.
#[derive(serde::Deserialize)]
struct Timeless {
    sub: String,
    roles: Vec<String>,
}

#[test]
fn minted_claims_survive_the_trip() {
    let read: AccessClaims = verify(token()).unwrap();
    assert_eq!(read, claims());
}
