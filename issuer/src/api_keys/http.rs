//! The API keys' routes: for their owners, and the exchange for the edge.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRef, Path, State};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ending::{self, Made};
use super::{
    ApiKey, ApiKeyBody, ApiKeyId, ApiKeys, KeyHash, NewKey, PREFIX, Refusal, check_expiry, check_scopes,
    store,
};
use crate::accounts::Name;
use crate::ambient::Ids;
use crate::audit::{Actor, Origin};
use crate::secrets::{MachineSecret, Ring};
use crate::services::{Scope, Service, Services};
use crate::sessions::{Caller, Callers};
use crate::web::{Check, Client, JsonBody, Page, Parameters, Problem, Reason, TrustedProxies};

/// A key is made so many seconds after a login at most: a stolen access token must not become one that never expires.
const RECENT: i64 = 3600;

pub fn routes<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    ApiKeys: FromRef<S>,
    Callers: FromRef<S>,
    Ids: FromRef<S>,
    Ring: FromRef<S>,
    TrustedProxies: FromRef<S>,
{
    OpenApiRouter::new().routes(routes!(list, make)).routes(routes!(revoke))
}

/// For the internal listener.
pub fn internal_routes<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    ApiKeys: FromRef<S>,
    Services: FromRef<S>,
{
    OpenApiRouter::new().routes(routes!(exchange))
}

/// What the cursors of this list are made for.
const LIST: &str = "cursor of API keys";

/// A page of keys, newest first.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ApiKeys)]
struct KeysBody {
    items: Vec<ApiKeyBody>,
    /// Where the next page begins; null after the last.
    next_cursor: Option<String>,
}

/// One's own API keys, newest first, without what they are made of.
#[utoipa::path(get, path = "/v1/api-keys", operation_id = "list_api_keys", tag = "api keys",
    security(("bearer" = [])),
    params(
        ("limit" = Option<u32>, Query, description = "1 to 200; 50 if not given"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
    ),
    responses((status = 200, body = KeysBody)),
)]
async fn list(
    State(ApiKeys { db, .. }): State<ApiKeys>,
    State(ring): State<Ring>,
    caller: Caller,
    parameters: Parameters,
) -> Result<Json<KeysBody>, Problem> {
    let owner = caller.in_person()?.user.id;
    let mut check = Check::default();
    let Some(page) = Page::read(&parameters, LIST, &ring, &mut check) else { return Err(check.refusal()) };
    // One more, to know whether there is another page.
    let mut keys = store::page(db.reads(), &owner, page.after.as_deref(), page.limit + 1).await?;
    let more = keys.len() > page.limit;
    keys.truncate(page.limit);
    let last = keys.last().filter(|_| more);
    let next_cursor = last.map(|key| page.cursor(key.id.as_str(), &ring));
    Ok(Json(KeysBody { items: keys.into_iter().map(ApiKeyBody::from).collect(), next_cursor }))
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = NewApiKey)]
struct NewBody {
    /// For its owner, to know it by.
    #[schema(required)]
    #[serde(default)]
    name: String,
    /// Permissions of the owner; all of them if not given, and the owner's roles with them.
    #[serde(default)]
    scopes: Option<Vec<String>>,
    /// RFC 3339; never if not given.
    #[serde(default)]
    expires_at: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MadeApiKey)]
struct MadeBody {
    /// To be sent as `X-API-Key`. It is shown here and never again.
    api_key: String,
    #[serde(flatten)]
    key: ApiKeyBody,
}

/// Make an API key.
///
/// A key is not enough to make another, nor is a login that was more than an hour ago.
#[utoipa::path(post, path = "/v1/api-keys", operation_id = "make_api_key", tag = "api keys",
    request_body = NewBody, security(("bearer" = [])), responses(
    (status = 201, body = MadeBody),
    (status = 403, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
     description = "`not_by_api_key`; `authentication_too_old`: the login was more than an hour ago"),
    (status = 409, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
     description = "`too_many_api_keys`"),
))]
async fn make(
    State(keys): State<ApiKeys>,
    State(ids): State<Ids>,
    caller: Caller,
    client: Client,
    JsonBody(body): JsonBody<NewBody>,
) -> Result<(StatusCode, Json<MadeBody>), Problem> {
    let now = keys.clock.now();
    let owner = caller.in_person()?.recently(now, RECENT)?.user;
    let mut check = Check::default();
    let name = check.field("name", Name::parse(&body.name));
    let scopes = body.scopes.map(|scopes| check_scopes(&scopes, &owner, &keys.roles)).transpose();
    let scopes = check.field("scopes", scopes);
    let expires_at = body.expires_at.map(|text| check_expiry(&text, now)).transpose();
    let expires_at = check.field("expires_at", expires_at);
    let (Some(name), Some(scopes), Some(expires_at)) = (name, scopes, expires_at) else {
        return Err(check.refusal());
    };
    let secret = MachineSecret::draw(PREFIX, &keys.entropy);
    let new = NewKey {
        id: ApiKeyId::new(ids.uuid()),
        owner: owner.id.clone(),
        name,
        hint: secret.hint(PREFIX).to_owned(),
        hash: KeyHash::sha256(&secret),
        scopes,
        created_at: now,
        expires_at,
    };
    let body = MadeBody { api_key: secret.expose().to_owned(), key: shown(&new) };
    let origin = Origin::request(Actor::User(owner.id), &client);
    match keys.db.write(async move |tx| ending::make(tx, &new, &origin).await).await? {
        Made::Done => Ok((StatusCode::CREATED, Json(body))),
        Made::TooMany => Err(Problem::new(Reason::TooManyApiKeys)),
        Made::NoOwner => Err(countersign_claims::Reject::Revoked.into()),
    }
}

fn shown(new: &NewKey) -> ApiKeyBody {
    let NewKey { id, owner, name, hint, hash: _, scopes, created_at, expires_at } = new.clone();
    let name = name.as_str().to_owned();
    ApiKey { id, owner, name, hint, scopes, created_at, expires_at, last_used_at: None }.into()
}

/// Revoke one of one's own API keys; the edge refuses it at once.
#[utoipa::path(delete, path = "/v1/api-keys/{id}", operation_id = "revoke_api_key", tag = "api keys",
    security(("bearer" = [])), params(("id" = String, Path, description = "As the list shows it")),
    responses((status = 204, description = "Revoked"), (status = 404, description = "No key of the caller's")),
)]
async fn revoke(
    State(keys): State<ApiKeys>,
    caller: Caller,
    client: Client,
    id: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, Problem> {
    let owner = caller.in_person()?.user.id;
    let none = || Problem::new(Reason::NotFound);
    let id = id.ok().and_then(|Path(id)| ApiKeyId::parse(&id)).ok_or_else(none)?;
    let origin = Origin::request(Actor::User(owner.clone()), &client);
    let rules = keys.rules;
    let ended = keys.db.write(async move |tx| ending::end_one(tx, &owner, &id, &origin, rules).await).await?;
    if ended { Ok(StatusCode::NO_CONTENT) } else { Err(none()) }
}

#[derive(Default, Deserialize, ToSchema)]
#[schema(as = ShownApiKey)]
struct ShownBody {
    #[schema(required)]
    #[serde(default)]
    api_key: String,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ExchangedApiKey)]
struct ExchangedBody {
    /// With the id of the key as `session_id`, `amr` `api_key`, and in `scope` what both the key and its owner may do now.
    access_token: String,
    /// Seconds.
    expires_in: i64,
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Invalid => Self::new(Reason::ApiKeyInvalid),
            Refusal::Expired => Self::new(Reason::ApiKeyExpired),
            Refusal::OwnerInactive => Self::new(Reason::ApiKeyOwnerInactive),
            Refusal::Limited(seconds) => Self::new(Reason::RateLimited).retry_after(seconds),
            Refusal::Unsigned(reject) => reject.into(),
            Refusal::Database(error) => error.into(),
        }
    }
}

/// Exchange an API key for a short-lived access token.
///
/// A 401 with a reason that begins with `api_key_` is about the key; any other is about the service token. Scope
/// `api-keys:exchange`.
#[utoipa::path(post, path = "/v1/internal/api-keys/exchange", tag = "edge", request_body = ShownBody,
    security(("service_token" = [])), responses(
    (status = 200, body = ExchangedBody),
    (status = 401, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
     description = "`api_key_invalid`, `api_key_expired`, `api_key_owner_inactive`; `service_token_missing`, \
                    `service_token_invalid`, `credential_misplaced`"),
    (status = 403, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
     description = "`service_scope_missing`"),
    (status = 429, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
     description = "`rate_limited`: too many keys that were not good; those that were lately are looked up all the same"),
    (status = 503, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
     description = "`busy`, `unavailable`"),
))]
async fn exchange(
    State(keys): State<ApiKeys>,
    service: Service,
    JsonBody(body): JsonBody<ShownBody>,
) -> Result<Json<ExchangedBody>, Problem> {
    service.with_scope(Scope::ApiKeysExchange)?;
    let minted = keys.exchange(&body.api_key).await?;
    Ok(Json(ExchangedBody { access_token: minted.access_token, expires_in: minted.expires_in }))
}
