//! The audit's SQL.

use super::Event;
use crate::db::{Error, Tx};

/// Writes an event, and a log line once it is committed.
///
/// # Errors
/// Those of the database.
pub async fn record(tx: &mut Tx<'_>, event: Event<'_>) -> Result<(), Error> {
    let Event { kind, subject, session_id, origin } = event;
    let (id, now) = (tx.new_id().to_string(), tx.now());
    let subject = subject.map(ToString::to_string);
    let session_id = session_id.map(str::to_owned);
    let ip = origin.ip.map(|ip| ip.to_string());
    let actor = origin.actor.as_str().map(str::to_owned);
    let request_id = origin.request_id.clone();
    sqlx::query(
        "INSERT INTO audit_events (id, at, type, outcome, actor, subject, ip, device, session_id, request_id)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(id)
    .bind(now)
    .bind(kind.as_str())
    .bind(kind.outcome())
    .bind(actor.clone())
    .bind(subject.clone())
    .bind(ip.clone())
    .bind(origin.device.clone())
    .bind(session_id.clone())
    .bind(request_id.clone())
    .execute(tx.connection())
    .await?;
    tx.after_commit(move || {
        let (event, outcome) = (kind.as_str(), kind.outcome());
        tracing::info!(target: "audit", event, outcome, actor, user_id = subject, session_id, ip, request_id, "{event}");
    });
    Ok(())
}
