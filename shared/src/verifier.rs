//! The verification of an access token, whole: form, key, signature, claims, time (RFC 7519 §7.2, RFC 8725,
//! RFC 9068 §4).

use crate::envelope::Envelope;
use crate::{AccessClaims, Keyring, Reject, strict_json};

/// What a token must say to be accepted here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verifier {
    issuer: String,
    audiences: Vec<String>,
    clock_skew: i64,
}

impl Verifier {
    /// Tokens must come from `issuer` and be meant for one of `audiences`. `clock_skew`, in seconds, is granted
    /// on both ends of a token's life; a negative one counts as zero.
    pub fn new(issuer: String, audiences: Vec<String>, clock_skew: i64) -> Self {
        Self { issuer, audiences, clock_skew: clock_skew.max(0) }
    }

    /// Verifies `token` at `now` (Unix seconds) with the keys in `keyring`.
    ///
    /// # Errors
    /// The first rule that the token breaks. Claims are not read before the signature holds, so a forged token
    /// learns nothing but that.
    pub fn verify(&self, token: &[u8], keyring: &Keyring, now: i64) -> Result<AccessClaims, Reject> {
        let envelope = Envelope::parse(token)?;
        keyring.verify(envelope.key_id.as_deref(), envelope.signed, &envelope.signature, now)?;
        let claims: AccessClaims =
            strict_json::from_slice(&envelope.payload()?).map_err(|_| Reject::InvalidClaims)?;
        if !claims.is_of_one_kind() {
            return Err(Reject::InvalidClaims);
        }
        if claims.iss != self.issuer {
            return Err(Reject::WrongIssuer);
        }
        if !self.audiences.iter().any(|audience| claims.aud.contains(audience)) {
            return Err(Reject::WrongAudience);
        }
        self.window(&claims).check(now)?;
        Ok(claims)
    }

    /// The time in which a token with these claims is valid, skew included: all that a verified token must
    /// still be asked each time it is used again.
    pub fn window(&self, claims: &AccessClaims) -> Window {
        let not_before = claims.nbf.into_iter().chain(claims.iat).max();
        Window {
            from: not_before.map_or(i64::MIN, |start| start.saturating_sub(self.clock_skew)),
            until: claims.exp.saturating_add(self.clock_skew),
        }
    }
}

/// A span of time, in Unix seconds: `from` is inside, `until` is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub from: i64,
    pub until: i64,
}

impl Window {
    /// # Errors
    /// [`Reject::Expired`] or [`Reject::NotYetValid`].
    pub fn check(self, now: i64) -> Result<(), Reject> {
        if now >= self.until {
            Err(Reject::Expired)
        } else if now < self.from {
            Err(Reject::NotYetValid)
        } else {
            Ok(())
        }
    }
}
