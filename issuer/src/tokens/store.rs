//! The tokens' SQL: which lifetimes were in use, so that a key outlives the last token that it signed also after the
//! configured lifetime was shortened.

use crate::ambient::UnixTime;
use crate::db::{Error, Source, Tx};

/// Notes that tokens of this lifetime, in seconds, may be issued until `until`.
///
/// # Errors
/// Those of the database.
pub async fn note_lifetime(tx: &mut Tx<'_>, lifetime: i64, until: UnixTime) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO token_lifetimes (lifetime, used_until) VALUES ($1, $2)
         ON CONFLICT (lifetime) DO UPDATE SET used_until = excluded.used_until
         WHERE token_lifetimes.used_until < excluded.used_until",
    )
    .bind(lifetime)
    .bind(until)
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// The longest lifetime of which a token may still be alive at `now`; 0 if none is known.
///
/// # Errors
/// Those of the database.
pub async fn longest_lifetime<'e>(source: impl Source<'e>, now: UnixTime) -> Result<i64, Error> {
    let longest: Option<i64> =
        sqlx::query_scalar("SELECT MAX(lifetime) FROM token_lifetimes WHERE used_until + lifetime > $1")
            .bind(now)
            .fetch_one(source)
            .await?;
    Ok(longest.unwrap_or(0))
}
