//! The audit's route: what happened to one's own account.

use axum::Json;
use axum::extract::{FromRef, State};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::store::{self, Filter};
use super::{EventBody, EventsBody};
use crate::db::Db;
use crate::secrets::Ring;
use crate::sessions::{Caller, Callers};
use crate::web::{Check, Page, Parameters, Problem};

pub fn routes<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Db: FromRef<S>,
    Ring: FromRef<S>,
    Callers: FromRef<S>,
{
    OpenApiRouter::new().routes(routes!(own))
}

/// What the cursors of this list are made for.
const LIST: &str = "cursor of one's events";

/// What happened to one's own account, newest first.
#[utoipa::path(get, path = "/v1/audit", tag = "audit", security(("bearer" = [])),
    params(
        ("limit" = Option<u32>, Query, description = "1 to 200; 50 if not given"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
    ),
    responses((status = 200, body = EventsBody)),
)]
async fn own(
    State(db): State<Db>,
    State(ring): State<Ring>,
    caller: Caller,
    parameters: Parameters,
) -> Result<Json<EventsBody>, Problem> {
    let user = caller.in_person()?.user;
    let mut check = Check::default();
    let Some(page) = Page::read(&parameters, LIST, &ring, &mut check) else { return Err(check.refusal()) };
    let filter = Filter { subject: Some(user.id.to_string()), ..Filter::default() };
    let (events, next) = store::page(db.reads(), &filter, page.after.as_deref(), page.limit).await?;
    let items = events.into_iter().map(|event| EventBody::from(event).for_its_subject()).collect();
    Ok(Json(EventsBody { items, next_cursor: next.map(|id| page.cursor(&id, &ring)) }))
}
