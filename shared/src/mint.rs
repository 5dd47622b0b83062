//! Making tokens: the issuer's side, and the tests'.

use jwt_compact::{AlgorithmExt, Claims, CreationError, Header};

use crate::{AccessClaims, Alg};

pub use ed25519_dalek::SigningKey;

/// Signs an access token: header `{"kid":…,"typ":"at+jwt","alg":…}` (RFC 9068 §2.1).
///
/// # Errors
/// None in practice: claims of these types always serialise.
pub fn mint(kid: &str, claims: &AccessClaims, key: &SigningKey, alg: Alg) -> Result<String, CreationError> {
    let header = Header::empty().with_key_id(kid).with_token_type("at+jwt");
    alg.token(&header, &Claims::new(claims), key)
}
