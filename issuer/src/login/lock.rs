//! Whom the lock of an account lets through: its owner, from where they have logged in before. So nobody keeps them out by
//! failing on purpose somewhere else. Whoever guesses at the same place is stopped there as anywhere: what fails while the
//! account is locked is counted for the device.

use sqlx::AnyConnection;

use crate::accounts::UserId;
use crate::ambient::UnixTime;
use crate::db::Error;
use crate::limits::{self, Counted};
use crate::sessions::devices;
use crate::web::Client;

/// Whether a right password counts, though what is `counted` for the account of `owner` is locked.
///
/// # Errors
/// Those of the database.
pub(super) async fn lets_through(
    connection: &mut AnyConnection,
    owner: &UserId,
    counted: &Counted,
    client: &Client,
    now: UnixTime,
) -> Result<bool, Error> {
    let Some(device) = &counted.device else { return Ok(false) };
    let guessed = limits::store::locked_for(&mut *connection, device, now).await?.is_some();
    Ok(!guessed && devices::is_known(connection, owner, &client.fingerprint).await?)
}
