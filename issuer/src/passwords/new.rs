//! A password about to become someone's: judged and hashed.

use super::{Hasher, Password, Policy, WeakPassword};
use crate::accounts::{Email, Name, User};
use crate::ambient::Entropy;
use crate::web::Problem;

/// Takes new passwords; cheap to clone.
#[derive(Debug, Clone)]
pub struct NewPasswords {
    pub hasher: Hasher,
    pub policy: Policy,
    pub entropy: Entropy,
}

impl NewPasswords {
    /// What can be said of a password at once; the rest costs as much as a hash.
    ///
    /// # Errors
    /// [`WeakPassword::TooShort`] or [`WeakPassword::TooLong`].
    pub fn check_length(&self, password: &Password) -> Result<(), WeakPassword> {
        password.check_length(self.policy)
    }

    /// The hash of a password that is good enough for who is called so.
    ///
    /// # Errors
    /// 422 for the field `password` if it is not; 503 if too many passwords are being hashed.
    pub async fn hash(&self, password: Password, email: Email, name: Name) -> Result<String, Problem> {
        let strength = self.hasher.check_strength(self.policy, password.clone(), email, name).await?;
        strength.map_err(|weak| Problem::invalid_field("password", weak))?;
        Ok(self.hasher.hash(password, self.entropy.bytes()).await?)
    }

    /// Like [`NewPasswords::hash`] for someone who has an account.
    ///
    /// # Errors
    /// Those of [`NewPasswords::hash`].
    pub async fn hash_for(&self, user: &User, password: Password) -> Result<String, Problem> {
        let email = Email::parse(&user.email).map_err(|error| Problem::internal(&error))?;
        // An account may be older than the rules for names.
        let name = Name::parse(&user.name).or_else(|_| Name::parse(email.as_str()));
        let name = name.map_err(|error| Problem::internal(&error))?;
        self.hash(password, email, name).await
    }
}
