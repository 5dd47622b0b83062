//! What happened to whom, for administrators.

use axum::Json;
use axum::extract::State;

use super::Admin;
use crate::ambient::UnixTime;
use crate::audit::store::{self, Filter};
use crate::audit::{EventBody, EventsBody, Kind};
use crate::db::Db;
use crate::secrets::Ring;
use crate::web::{Check, Page, Parameters, Problem};

/// What the cursors of this list are made for.
const LIST: &str = "cursor of all events";

/// What happened, newest first.
///
/// A page looks at a bounded number of events: with several filters it may have fewer than asked for, or none, and
/// others may follow.
#[utoipa::path(get, path = "/v1/admin/audit", tag = "admin", security(("bearer" = [])),
    params(
        ("type" = Option<String>, Query, description = "What happened, such as `login_failed`; the refusal of any other word lists all"),
        ("subject" = Option<String>, Query, description = "The id of the account that it is about"),
        ("actor" = Option<String>, Query, description = "A user's id, `service:NAME`, `operator` or `issuer`"),
        ("since" = Option<String>, Query, description = "RFC 3339; at this moment or later"),
        ("until" = Option<String>, Query, description = "RFC 3339; before this moment"),
        ("limit" = Option<u32>, Query, description = "1 to 200; 50 if not given"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
    ),
    responses((status = 200, body = EventsBody)),
)]
pub(super) async fn events(
    State(db): State<Db>,
    State(ring): State<Ring>,
    _admin: Admin,
    parameters: Parameters,
) -> Result<Json<EventsBody>, Problem> {
    let mut check = Check::default();
    let page = Page::read(&parameters, LIST, &ring, &mut check);
    let filter = read(&parameters, &mut check);
    let (Some(page), Some(filter)) = (page, filter) else { return Err(check.refusal()) };
    let (events, next) = store::page(db.reads(), &filter, page.after.as_deref(), page.limit).await?;
    let items = events.into_iter().map(EventBody::from).collect();
    Ok(Json(EventsBody { items, next_cursor: next.map(|id| page.cursor(&id, &ring)) }))
}

fn read(parameters: &Parameters, check: &mut Check) -> Option<Filter> {
    let value = |name| parameters.one(name).map_err(|error| error.to_string());
    let id = |name| {
        value(name)?
            .map(|text| {
                let fits = text.len() <= 64 && text.bytes().all(|b| b.is_ascii_graphic());
                if fits { Ok(text.to_owned()) } else { Err("is not an id".to_owned()) }
            })
            .transpose()
    };
    let moment = |name| value(name)?.map(moment).transpose();
    let kind = value("type").and_then(|text| text.map(kind).transpose());
    let kind = check.field("type", kind);
    let (subject, actor) = (check.field("subject", id("subject")), check.field("actor", id("actor")));
    let (since, until) = (check.field("since", moment("since")), check.field("until", moment("until")));
    Some(Filter { kind: kind?, subject: subject?, actor: actor?, since: since?, until: until? })
}

fn kind(text: &str) -> Result<Kind, String> {
    let names = || Kind::ALL.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(", ");
    Kind::parse(text).ok_or_else(|| format!("must be one of {}", names()))
}

fn moment(text: &str) -> Result<UnixTime, String> {
    let hint = "must be a date and time with an offset, such as 2026-11-20T00:00:00Z";
    UnixTime::from_rfc3339(text).ok_or_else(|| hint.to_owned())
}
