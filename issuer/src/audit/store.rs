//! The audit's SQL.

use sqlx::{AssertSqlSafe, FromRow};

use super::chain::{Chain, Head, Link};
use super::{Event, Kind, Origin, Recorded};
use crate::ambient::UnixTime;
use crate::db::{Error, Source, Tx};
use crate::services::ServiceName;

/// Events that one statement seals. What is left over is sealed one by one: so there are two statements to prepare.
const SEALED_TOGETHER: usize = 32;

/// The columns of a [`Recorded`].
macro_rules! event_columns {
    () => {
        "id, at, type AS kind, outcome, actor, subject, ip, device, session_id, request_id"
    };
}

/// Those events as [`Link`]s.
macro_rules! links {
    ($which:literal) => {
        concat!("SELECT ", event_columns!(), ", mac, sequence, seal FROM audit_events ", $which)
    };
}

/// Writes an event, and a log line once it is committed.
///
/// # Errors
/// Those of the database.
pub async fn record(tx: &mut Tx<'_>, event: Event<'_>) -> Result<(), Error> {
    let Event { kind, subject, session_id, origin } = event;
    write(tx, kind, subject.map(ToString::to_string), session_id, origin).await
}

/// Writes an event about a service, unless it is unknown, and the secret of it that is meant.
///
/// # Errors
/// Those of the database.
pub async fn record_of_service(
    tx: &mut Tx<'_>,
    kind: Kind,
    service: Option<&ServiceName>,
    token_id: Option<&str>,
    origin: &Origin,
) -> Result<(), Error> {
    write(tx, kind, service.map(ServiceName::as_subject), token_id, origin).await
}

async fn write(
    tx: &mut Tx<'_>,
    kind: Kind,
    subject: Option<String>,
    session_id: Option<&str>,
    origin: &Origin,
) -> Result<(), Error> {
    let event = Recorded {
        id: tx.new_id().to_string(),
        at: tx.now(),
        kind: kind.as_str().to_owned(),
        outcome: kind.outcome().to_owned(),
        actor: origin.actor.as_text(),
        subject,
        ip: origin.ip.map(|ip| ip.to_string()),
        device: origin.device.clone(),
        session_id: session_id.map(str::to_owned),
        request_id: origin.request_id.clone(),
    };
    let mac = event.mac(tx.archive_ring());
    sqlx::query(
        "INSERT INTO audit_events (id, at, type, outcome, actor, subject, ip, device, session_id, request_id, mac)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind(event.id.clone())
    .bind(event.at)
    .bind(kind.as_str())
    .bind(kind.outcome())
    .bind(event.actor.clone())
    .bind(event.subject.clone())
    .bind(event.ip.clone())
    .bind(event.device.clone())
    .bind(event.session_id.clone())
    .bind(event.request_id.clone())
    .bind(mac.to_vec())
    .execute(tx.connection())
    .await?;
    tx.after_commit(move || {
        let Recorded { kind: event, outcome, actor, subject, ip, session_id, request_id, .. } = event;
        tracing::info!(target: "audit", event, outcome, actor, user_id = subject, session_id, ip, request_id, "{event}");
    });
    Ok(())
}

/// Which events to show.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    pub kind: Option<Kind>,
    pub subject: Option<String>,
    pub actor: Option<String>,
    /// At this moment or later.
    pub since: Option<UnixTime>,
    /// Before this moment.
    pub until: Option<UnixTime>,
}

impl Filter {
    /// Whether an index finds others, too, so that they have to be looked at.
    fn is_sifted(&self) -> bool {
        let by_index = [self.kind.is_some(), self.subject.is_some(), self.actor.is_some()];
        let by_time = self.since.is_some() || self.until.is_some();
        by_time || by_index.into_iter().filter(|given| *given).count() > 1
    }

    fn takes(&self, event: &Recorded) -> bool {
        let is = |wanted: &Option<String>, has: &Option<String>| wanted.is_none() || wanted == has;
        self.kind.is_none_or(|kind| kind.as_str() == event.kind)
            && is(&self.subject, &event.subject)
            && is(&self.actor, &event.actor)
            && self.since.is_none_or(|since| event.at >= since)
            && self.until.is_none_or(|until| event.at < until)
    }
}

/// How many events a page looks at, at most: what an index finds by one filter is sifted by the others.
const LOOKED_AT: i64 = 1000;

/// How many seconds the time in an event's id may be after its own: as long as a transaction may take, and more.
const LATE_ID: i64 = 3600;

/// At most `most` events, newest first, older than the one with the id `before`; and, if there may be more, the id after
/// which to go on.
///
/// # Errors
/// Those of the database.
pub async fn page<'e>(
    source: impl Source<'e>,
    filter: &Filter,
    before: Option<&str>,
    most: usize,
) -> Result<(Vec<Recorded>, Option<String>), Error> {
    macro_rules! found_by {
        ($condition:literal) => {
            concat!(
                "SELECT ",
                event_columns!(),
                " FROM audit_events WHERE ",
                $condition,
                " AND id < $2 AND id >= $3 ORDER BY id DESC LIMIT $4"
            )
        };
    }
    let (query, wanted) = match filter {
        Filter { subject: Some(subject), .. } => (found_by!("subject = $1"), subject.as_str()),
        Filter { actor: Some(actor), .. } => (found_by!("actor = $1"), actor.as_str()),
        Filter { kind: Some(kind), .. } => (found_by!("type = $1"), kind.as_str()),
        _ => (found_by!("$1 = ''"), ""),
    };
    // Ids are made in the order of time, and are hexadecimal: all of them come before 'g'.
    let newest = filter.until.map_or_else(|| "g".to_owned(), |until| first_id(until.plus(LATE_ID)));
    let before = before.map_or(newest.as_str(), |before| before.min(newest.as_str()));
    let oldest = filter.since.map_or_else(String::new, first_id);
    // One more than asked for, to know whether there is another page.
    let one_more = i64::try_from(most).unwrap_or(LOOKED_AT).saturating_add(1);
    let looked_at = if filter.is_sifted() { LOOKED_AT.max(one_more) } else { one_more };
    let rows: Vec<Recorded> = sqlx::query_as(query)
        .bind(wanted.to_owned())
        .bind(before.to_owned())
        .bind(oldest)
        .bind(looked_at)
        .fetch_all(source)
        .await?;
    let looked_at_all = i64::try_from(rows.len()).unwrap_or(i64::MAX) < looked_at;
    let last = rows.last().map(|event| event.id.clone());
    let mut events: Vec<Recorded> = rows.into_iter().filter(|event| filter.takes(event)).collect();
    let next = if events.len() > most {
        events.truncate(most);
        events.last().map(|event| event.id.clone())
    } else {
        last.filter(|_| !looked_at_all)
    };
    Ok((events, next))
}

/// The smallest id that an event of this second can have (UUIDv7, RFC 9562 §5.7).
fn first_id(at: UnixTime) -> String {
    let millis = at.seconds().clamp(0, 1 << 37).saturating_mul(1000);
    let digits = format!("{millis:012x}");
    let (high, low) = digits.split_at_checked(8).unwrap_or_default();
    format!("{high}-{low}")
}

#[derive(FromRow)]
struct ChainRow {
    removed_to: i64,
    removed_seal: Vec<u8>,
    sealed_to: i64,
    seal: Vec<u8>,
    mac: Vec<u8>,
}

/// The chain, and the MAC that says that it is ours.
pub type Stored = (Chain, Vec<u8>);

impl From<ChainRow> for Stored {
    fn from(row: ChainRow) -> Self {
        let removed = Head { sequence: row.removed_to, seal: row.removed_seal };
        let sealed = Head { sequence: row.sealed_to, seal: row.seal };
        (Chain { removed, sealed }, row.mac)
    }
}

/// How far the chain goes; `None` before it has begun.
///
/// # Errors
/// Those of the database.
pub async fn chain<'e>(source: impl Source<'e>) -> Result<Option<Stored>, Error> {
    let query = "SELECT removed_to, removed_seal, sealed_to, seal, mac FROM audit_chain WHERE id = 1";
    let row: Option<ChainRow> = sqlx::query_as(query).fetch_optional(source).await?;
    Ok(row.map(Stored::from))
}

/// The same, held until the end of the transaction: nobody else moves it meanwhile.
///
/// # Errors
/// Those of the database.
pub async fn hold_chain(tx: &mut Tx<'_>) -> Result<Option<Stored>, Error> {
    let query = "UPDATE audit_chain SET id = 1 WHERE id = 1
                 RETURNING removed_to, removed_seal, sealed_to, seal, mac";
    let rows: Vec<ChainRow> = sqlx::query_as(query).fetch_all(tx.connection()).await?;
    Ok(rows.into_iter().next().map(Stored::from))
}

/// Says how far the chain goes from now on.
///
/// # Errors
/// Those of the database.
pub async fn set_chain(tx: &mut Tx<'_>, chain: &Chain) -> Result<(), Error> {
    let mac = chain.mac(tx.archive_ring());
    sqlx::query(
        "INSERT INTO audit_chain (id, removed_to, removed_seal, sealed_to, seal, mac) VALUES (1, $1, $2, $3, $4, $5)
         ON CONFLICT (id) DO UPDATE SET removed_to = excluded.removed_to, removed_seal = excluded.removed_seal,
             sealed_to = excluded.sealed_to, seal = excluded.seal, mac = excluded.mac",
    )
    .bind(chain.removed.sequence)
    .bind(chain.removed.seal.clone())
    .bind(chain.sealed.sequence)
    .bind(chain.sealed.seal.clone())
    .bind(mac.to_vec())
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// The first `most` events that are not sealed after the one with the id `after`, in the order of their ids.
///
/// # Errors
/// Those of the database.
pub async fn unsealed<'e>(source: impl Source<'e>, after: &str, most: i64) -> Result<Vec<Link>, Error> {
    let query = links!("WHERE sequence IS NULL AND id > $1 ORDER BY id LIMIT $2");
    Ok(sqlx::query_as(query).bind(after.to_owned()).bind(most).fetch_all(source).await?)
}

/// How many events are not sealed, counted up to `most`.
///
/// # Errors
/// Those of the database.
pub async fn count_unsealed<'e>(source: impl Source<'e>, most: i64) -> Result<i64, Error> {
    let query =
        "SELECT COUNT(*) FROM (SELECT 1 FROM audit_events WHERE sequence IS NULL LIMIT $1) AS waiting";
    Ok(sqlx::query_scalar(query).bind(most).fetch_one(source).await?)
}

/// The first `most` sealed events after this one, in the order of the chain; others of the same number come after it
/// in the order of their ids.
///
/// # Errors
/// Those of the database.
pub async fn sealed<'e>(
    source: impl Source<'e>,
    after: i64,
    after_id: &str,
    most: i64,
) -> Result<Vec<Link>, Error> {
    let query = links!("WHERE (sequence, id) > ($1, $2) ORDER BY sequence, id LIMIT $3");
    Ok(sqlx::query_as(query).bind(after).bind(after_id.to_owned()).bind(most).fetch_all(source).await?)
}

/// The first `most` events after the one with the id `after` that were not sealed when the chain had this many, in the order
/// of their ids. Sealing takes none of them away: one that is sealed meanwhile comes with its number.
///
/// # Errors
/// Those of the database.
pub async fn unsealed_at<'e>(
    source: impl Source<'e>,
    sealed: i64,
    after: &str,
    most: i64,
) -> Result<Vec<Link>, Error> {
    let query = links!("WHERE (sequence IS NULL OR sequence > $1) AND id > $2 ORDER BY id LIMIT $3");
    Ok(sqlx::query_as(query).bind(sealed).bind(after.to_owned()).bind(most).fetch_all(source).await?)
}

/// An event whose number is outside of the chain, if there is any: its number and its id.
///
/// # Errors
/// Those of the database.
pub async fn outside<'e>(source: impl Source<'e>) -> Result<Option<(i64, String)>, Error> {
    let query = "SELECT audit_events.sequence AS sequence, audit_events.id AS id FROM audit_chain
                 JOIN audit_events ON audit_events.sequence <= audit_chain.removed_to
                                   OR audit_events.sequence > audit_chain.sealed_to
                 WHERE audit_chain.id = 1 ORDER BY audit_events.sequence LIMIT 1";
    Ok(sqlx::query_as(query).fetch_optional(source).await?)
}

/// Whether no event has a number.
///
/// # Errors
/// Those of the database.
pub async fn none_is_sealed<'e>(source: impl Source<'e>) -> Result<bool, Error> {
    let query = "SELECT sequence FROM audit_events WHERE sequence IS NOT NULL LIMIT 1";
    let any: Vec<i64> = sqlx::query_scalar(query).fetch_all(source).await?;
    Ok(any.is_empty())
}

/// Gives events their numbers and seals, each once.
///
/// # Errors
/// Those of the database.
pub async fn set_seals(tx: &mut Tx<'_>, seals: &[(String, Head)]) -> Result<(), Error> {
    let together = seals.chunks_exact(SEALED_TOGETHER);
    let alone = together.remainder().chunks(1);
    for seals in together.chain(alone) {
        let mut seal = sqlx::query(AssertSqlSafe(sealing(seals.len())));
        for (id, Head { sequence, seal: bytes }) in seals {
            seal = seal.bind(id.clone()).bind(*sequence).bind(bytes.clone());
        }
        seal.execute(tx.connection()).await?;
    }
    Ok(())
}

/// The statement that seals so many events.
fn sealing(events: usize) -> String {
    let row = |event: usize| format!("(${}, ${}, ${})", 3 * event + 1, 3 * event + 2, 3 * event + 3);
    let rows: Vec<String> = (0..events).map(row).collect();
    format!(
        "UPDATE audit_events SET sequence = sealed.column2, seal = sealed.column3
         FROM (VALUES {}) AS sealed
         WHERE audit_events.id = sealed.column1 AND audit_events.sequence IS NULL",
        rows.join(", ")
    )
}

/// The first `most` events of versions that made no MAC, after the one with the id `after`, in the order of their ids.
///
/// # Errors
/// Those of the database.
pub async fn without_mac(tx: &mut Tx<'_>, after: &str, most: i64) -> Result<Vec<Recorded>, Error> {
    let query = concat!(
        "SELECT ",
        event_columns!(),
        " FROM audit_events WHERE mac IS NULL AND id > $1 ORDER BY id LIMIT $2"
    );
    Ok(sqlx::query_as(query).bind(after.to_owned()).bind(most).fetch_all(tx.connection()).await?)
}

/// Gives an event of such a version its MAC.
///
/// # Errors
/// Those of the database.
pub async fn set_mac(tx: &mut Tx<'_>, event: &Recorded) -> Result<(), Error> {
    let mac = event.mac(tx.archive_ring());
    sqlx::query("UPDATE audit_events SET mac = $2 WHERE id = $1 AND mac IS NULL")
        .bind(event.id.clone())
        .bind(mac.to_vec())
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// Removes the events of these numbers, the first one excluded.
///
/// # Errors
/// Those of the database.
pub async fn remove(tx: &mut Tx<'_>, after: i64, up_to: i64) -> Result<(), Error> {
    sqlx::query("DELETE FROM audit_events WHERE sequence > $1 AND sequence <= $2")
        .bind(after)
        .bind(up_to)
        .execute(tx.connection())
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ambient::{Clock, Entropy, Ids};

    #[test]
    fn an_id_is_not_before_the_first_one_of_its_second() {
        let at = UnixTime::from_seconds(1_795_176_000);
        let ids = Ids { clock: Clock::manual(at), entropy: Entropy::seeded(1) };
        let id = ids.uuid().to_string();
        assert!(first_id(at) <= id && id < first_id(at.plus(1)), "{id}");
        assert!(first_id(UnixTime::from_seconds(i64::MIN)) < first_id(UnixTime::from_seconds(i64::MAX)));
    }
}
