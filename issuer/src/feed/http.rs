//! The feed's route, for the edge.

use std::time::Duration;

use axum::Json;
use axum::extract::{FromRef, State};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Asked, Feed, LONGEST_WAIT, Page, Refusal, Start};
use crate::services::{Scope, Service, Services};
use crate::web::{Check, Parameters, Problem, Reason};

/// For the internal listener.
pub fn internal_routes<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Feed: FromRef<S>,
    Services: FromRef<S>,
{
    OpenApiRouter::new().routes(routes!(revocations))
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Revocations)]
struct PageBody {
    /// To be sent with `since`. Another one than was asked with: what the reader knows is of another history.
    epoch: String,
    /// To be sent as `since`.
    sequence: i64,
    entries: Vec<EntryBody>,
    /// Whether these entries take the place of all that the reader knows, and are not to be added.
    reset: bool,
    /// Whether that was all. If not, the rest comes at once when it is asked for, with `reset` false; after a reset the
    /// reader has everything once this is true.
    complete: bool,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Revocation)]
struct EntryBody {
    /// What refused tokens have as `session_id`, a session or an API key, or as `credential_id`, the secret of a service.
    session_id: String,
    /// Unix seconds, as in tokens: when the last of these tokens has expired, clock skew included. The entry can be forgotten
    /// then.
    exp: i64,
}

impl From<Page> for PageBody {
    fn from(page: Page) -> Self {
        let Page { start, epoch, sequence, entries, complete } = page;
        let entries = entries
            .into_iter()
            .map(|entry| EntryBody { session_id: entry.session_id, exp: entry.expires_at.seconds() });
        Self { epoch, sequence, entries: entries.collect(), reset: start == Start::Anew, complete }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Full => Self::because(Reason::Busy, "Too many readers wait here already"),
            Refusal::Database(error) => error.into(),
        }
    }
}

/// Sessions, API keys and secrets of services whose tokens are to be refused before they expire.
///
/// Numbered: a reader asks for what came after `sequence` in the last answer. With another `epoch` than ours, or a number that
/// we have not come to, everything that is alive comes, and `reset` is true. With `wait`, an answer that would be empty waits
/// for the next entry; it comes at once, whichever issuer writes it. Scope `revocations:read`.
#[utoipa::path(get, path = "/v1/internal/revocations", tag = "edge", security(("service_token" = [])),
    params(
        ("since" = Option<i64>, Query, description = "`sequence` of the last answer"),
        ("epoch" = Option<String>, Query, description = "`epoch` of the last answer"),
        ("wait" = Option<u32>, Query, description = "Seconds, 0 to 30; 0 if not given"),
    ),
    responses(
        (status = 200, body = PageBody),
        (status = 401, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
         description = "`service_token_missing`, `service_token_invalid`, `credential_misplaced`"),
        (status = 403, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
         description = "`service_scope_missing`"),
        (status = 422, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
         description = "`invalid_fields`"),
        (status = 503, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
         description = "`busy`: the database is away, or too many readers wait"),
    ),
)]
async fn revocations(
    State(feed): State<Feed>,
    service: Service,
    parameters: Parameters,
) -> Result<Json<PageBody>, Problem> {
    service.with_scope(Scope::RevocationsRead)?;
    let page = feed.read(&asked(&parameters)?).await?;
    Ok(Json(page.into()))
}

fn asked(parameters: &Parameters) -> Result<Asked, Problem> {
    let mut check = Check::default();
    let since = whole(parameters, "since", i64::MAX.unsigned_abs());
    let wait = whole(parameters, "wait", LONGEST_WAIT.as_secs());
    let epoch = parameters.one("epoch").map(|epoch| epoch.map(str::to_owned));
    let (since, wait) = (check.field("since", since), check.field("wait", wait));
    let (Some(since), Some(wait), Some(epoch)) = (since, wait, check.field("epoch", epoch)) else {
        return Err(check.refusal());
    };
    Ok(Asked {
        epoch,
        since: since.and_then(|since| i64::try_from(since).ok()),
        wait: Duration::from_secs(wait.unwrap_or_default()),
    })
}

fn whole(parameters: &Parameters, name: &str, most: u64) -> Result<Option<u64>, String> {
    let Some(text) = parameters.one(name).map_err(|error| error.to_string())? else { return Ok(None) };
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    let number = text.parse().ok().filter(|number| digits && *number <= most);
    number.map(Some).ok_or_else(|| format!("must be a whole number from 0 to {most}"))
}
