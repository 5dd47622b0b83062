//! Logging in at clients that know one step and no other: the password leads to a session or to a refusal, never to a
//! wait for something that they could not show.

use http::HeaderMap;

use super::{Granted, Logins};
use crate::accounts::{self, Credential, Email, User, Username};
use crate::db::Error;
use crate::passwords::Password;
use crate::tokens::Signer;
use crate::web::{Client, Problem, Reason};

/// A session that began with the password alone, and the key that signs for it.
#[derive(Debug)]
pub struct Entered<'l> {
    pub signer: Signer<'l>,
    pub granted: Granted,
}

impl Logins {
    /// Logs in with the password alone. `login` is the e-mail address, or the user name of an imported account.
    ///
    /// # Errors
    /// As [`Logins::prove`] and [`Logins::enter`]; 403 if a code is needed as well; 503 if no key signs.
    pub async fn at_once(
        &self,
        login: &str,
        password: Password,
        client: &Client,
        headers: &HeaderMap,
    ) -> Result<Entered<'_>, Problem> {
        let counted = self.limits.password(login, client);
        self.admit(&counted).await?;
        let account = self.find(login).await?;
        let proved = self.prove_for(account, password, counted, client).await?;
        let signer = self.grants.signer()?;
        if proved.user.mfa_enabled {
            self.code_required(proved).await;
            return Err(Problem::new(Reason::MfaRequired));
        }
        let granted = self.begin(proved, false, client, headers).await?;
        Ok(Entered { signer, granted })
    }

    /// The account with this address, or the one that came with this user name. No user name is an address.
    async fn find(&self, login: &str) -> Result<Option<(User, Credential)>, Error> {
        match (Email::parse(login), Username::parse(login)) {
            (Ok(email), _) => accounts::store::find_for_login(self.db.reads(), &email).await,
            (Err(_), Ok(username)) => accounts::store::find_by_username(self.db.reads(), &username).await,
            (Err(_), Err(_)) => Ok(None),
        }
    }
}
