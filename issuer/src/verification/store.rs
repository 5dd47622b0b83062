//! The tokens' SQL. Redeeming one is one statement, so that of a hundred who bring it at once one is heard.

use super::{MOST, Purpose, Request, Token, WINDOW};
use crate::accounts::Email;
use crate::ambient::UnixTime;
use crate::db::{Error, Source, Tx};

/// Puts a token in the place of the one that the address had for this purpose.
///
/// # Errors
/// Those of the database.
pub(super) async fn replace(
    tx: &mut Tx<'_>,
    email: &Email,
    purpose: Purpose,
    token_hash: &str,
    expires_at: UnixTime,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO email_tokens (email, purpose, token_hash, expires_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (email, purpose)
         DO UPDATE SET token_hash = excluded.token_hash, expires_at = excluded.expires_at",
    )
    .bind(email.as_str().to_owned())
    .bind(purpose.as_str())
    .bind(token_hash.to_owned())
    .bind(expires_at)
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// The address that a token was sent to, if it is still good. It stays good.
///
/// # Errors
/// Those of the database.
pub(super) async fn find<'e>(
    source: impl Source<'e>,
    purpose: Purpose,
    token: &Token,
    now: UnixTime,
) -> Result<Option<Email>, Error> {
    let found: Option<String> = sqlx::query_scalar(
        "SELECT email FROM email_tokens WHERE token_hash = $1 AND purpose = $2 AND expires_at > $3",
    )
    .bind(token.hash())
    .bind(purpose.as_str())
    .bind(now)
    .fetch_optional(source)
    .await?;
    Ok(found.and_then(|email| Email::parse(&email).ok()))
}

/// Takes a token back: the address that it was sent to, once.
///
/// # Errors
/// Those of the database.
pub async fn redeem(tx: &mut Tx<'_>, purpose: Purpose, token: &Token) -> Result<Option<Email>, Error> {
    let now = tx.now();
    let taken: Vec<String> = sqlx::query_scalar(
        "DELETE FROM email_tokens WHERE token_hash = $1 AND purpose = $2 AND expires_at > $3 RETURNING email",
    )
    .bind(token.hash())
    .bind(purpose.as_str())
    .bind(now)
    .fetch_all(tx.connection())
    .await?;
    Ok(taken.first().and_then(|email| Email::parse(email).ok()))
}

/// Takes the token back that an address has for this purpose: there is nothing left for it to do.
///
/// # Errors
/// Those of the database.
pub async fn withdraw(tx: &mut Tx<'_>, purpose: Purpose, email: &str) -> Result<(), Error> {
    sqlx::query("DELETE FROM email_tokens WHERE email = $1 AND purpose = $2")
        .bind(email.to_owned())
        .bind(purpose.as_str())
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// Counts a request for a message to this address, whoever made it and whether there is an account; once there are too
/// many, answers how many seconds it takes until there may be another.
///
/// # Errors
/// Those of the database.
pub async fn count(tx: &mut Tx<'_>, email: &Email, request: Request) -> Result<Option<i64>, Error> {
    let now = tx.now();
    // A beginning that is still to come is a clock set back: the count begins anew.
    let counted: Vec<(i64, UnixTime)> = sqlx::query_as(
        "INSERT INTO email_requests (email, purpose, begun_at, asked) VALUES ($1, $2, $3, 1)
         ON CONFLICT (email, purpose) DO UPDATE SET
             asked = CASE WHEN email_requests.begun_at <= $4 OR email_requests.begun_at > $3
                          THEN 1 ELSE email_requests.asked + 1 END,
             begun_at = CASE WHEN email_requests.begun_at <= $4 OR email_requests.begun_at > $3
                             THEN $3 ELSE email_requests.begun_at END
         RETURNING asked, begun_at",
    )
    .bind(email.as_str().to_owned())
    .bind(request.as_str())
    .bind(now)
    .bind(now.minus(WINDOW))
    .fetch_all(tx.connection())
    .await?;
    let over = counted.first().filter(|(asked, _)| *asked > MOST);
    Ok(over.map(|(_, begun_at)| begun_at.plus(WINDOW).since(now)))
}

/// Forgets at most `most` tokens and as many counts that are of no use any more; answers how many.
///
/// # Errors
/// Those of the database.
pub async fn forget(tx: &mut Tx<'_>, most: i64) -> Result<u64, Error> {
    let now = tx.now();
    let tokens = sqlx::query(
        "DELETE FROM email_tokens WHERE token_hash IN
         (SELECT token_hash FROM email_tokens WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)",
    )
    .bind(now)
    .bind(most)
    .execute(tx.connection())
    .await?;
    let requests = sqlx::query(
        "DELETE FROM email_requests WHERE (email, purpose) IN
         (SELECT email, purpose FROM email_requests WHERE begun_at <= $1 ORDER BY begun_at LIMIT $2)",
    )
    .bind(now.minus(WINDOW))
    .bind(most)
    .execute(tx.connection())
    .await?;
    Ok(tokens.rows_affected().saturating_add(requests.rows_affected()))
}
