//! What services ask: the accounts of a user, and the credentials to trade with.

use axum::Json;
use axum::extract::{FromRef, State};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{AccountBody, Named};
use crate::accounts::UserId;
use crate::ambient::Clock;
use crate::audit::{Actor, Origin};
use crate::services::{Scope, Service, Services};
use crate::trading_accounts::{AccessToken, Broker, Status, TradingAccounts};
use crate::web::{Check, Client, Parameters, Problem, TrustedProxies};

/// For the internal listener.
pub fn internal_routes<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    TradingAccounts: FromRef<S>,
    Clock: FromRef<S>,
    Services: FromRef<S>,
    TrustedProxies: FromRef<S>,
{
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(credentials))
}

/// The trading accounts of a user, oldest first; a bare array. Every reading is in their owner's audit. Scope
/// `trading-accounts:read`.
#[utoipa::path(get, path = "/v1/internal/trading-accounts", operation_id = "list_trading_accounts_of_user",
    tag = "trading accounts", security(("service_token" = [])),
    params(
        ("user_id" = String, Query, description = "Whose"),
        ("broker" = Option<String>, Query, description = "Those at this broker only"),
        ("status" = Option<String>, Query, description = "Those of this status only"),
    ),
    responses(
        (status = 200, body = Vec<AccountBody>, description = "Empty for a user who does not exist"),
        (status = 401, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
         description = "`service_token_missing`, `service_token_invalid`, `credential_misplaced`"),
        (status = 403, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
         description = "`service_scope_missing`"),
        (status = 422, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
         description = "`invalid_fields`"),
        (status = 429, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
         description = "`rate_limited`: too many readings of this service in a minute; `Retry-After` tells the seconds to wait"),
    ),
)]
async fn list(
    State(accounts): State<TradingAccounts>,
    State(clock): State<Clock>,
    service: Service,
    client: Client,
    parameters: Parameters,
) -> Result<Json<Vec<AccountBody>>, Problem> {
    let service = service.with_scope(Scope::TradingAccountsRead)?;
    let mut check = Check::default();
    let given = |name| parameters.one(name).map_err(|error| error.to_string());
    let owner = given("user_id")
        .and_then(|id| UserId::parse(id.ok_or("is required")?).map_err(|error| error.to_string()));
    let broker = given("broker")
        .and_then(|name| name.map(Broker::named).transpose().map_err(|error| error.to_string()));
    let status = given("status").and_then(|name| {
        let known = |name: &str| Status::parse(name).ok_or("must be pending, active, invalid or revoked");
        name.map(known).transpose().map_err(str::to_owned)
    });
    let (owner, broker) = (check.field("user_id", owner), check.field("broker", broker));
    let (Some(owner), Some(broker), Some(status)) = (owner, broker, check.field("status", status)) else {
        return Err(check.refusal());
    };
    let origin = Origin::request(Actor::Service(service.name().clone()), &client);
    let accounts = accounts.of_user_for_service(owner, broker, status, origin).await?;
    let now = clock.now();
    Ok(Json(accounts.into_iter().map(|account| AccountBody::new(account, now)).collect()))
}

/// What a service trades with.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TradingCredentials)]
struct CredentialsBody {
    account_id: String,
    user_id: String,
    broker: String,
    user_id_broker: String,
    #[schema(value_type = String)]
    #[serde(serialize_with = "exposed")]
    api_key: SecretString,
    #[schema(value_type = String)]
    #[serde(serialize_with = "exposed")]
    api_secret: SecretString,
    /// What the broker gave for them, while it is good.
    #[schema(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "exposed_if_any")]
    access_token: Option<SecretString>,
    /// RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    access_token_expires_at: Option<String>,
}

fn exposed<S: Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose_secret())
}

fn exposed_if_any<S: Serializer>(secret: &Option<SecretString>, serializer: S) -> Result<S::Ok, S::Error> {
    match secret {
        Some(secret) => exposed(secret, serializer),
        None => serializer.serialize_none(),
    }
}

/// The credentials of an active account. Every reading is in its owner's audit. Scope `credentials:read`.
#[utoipa::path(post, path = "/v1/internal/trading-accounts/{id}/credentials", operation_id = "read_credentials",
    tag = "trading accounts", security(("service_token" = [])),
    params(("id" = String, Path, description = "`account_id`")),
    responses(
        (status = 200, body = CredentialsBody, description = "To be stored nowhere"),
        (status = 401, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
         description = "`service_token_missing`, `service_token_invalid`, `credential_misplaced`"),
        (status = 403, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
         description = "`service_scope_missing`"),
        (status = 404, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
         description = "`not_found`"),
        (status = 409, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
         description = "`trading_account_not_active`"),
        (status = 429, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
         description = "`rate_limited`: too many readings of this service in a minute; `Retry-After` tells the seconds to wait"),
        (status = 503, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
         description = "`credentials_unavailable`: the key that protects them cannot be used; `busy`"),
    ),
)]
async fn credentials(
    State(accounts): State<TradingAccounts>,
    service: Service,
    client: Client,
    id: Result<Named, Problem>,
) -> Result<Json<CredentialsBody>, Problem> {
    let service = service.with_scope(Scope::CredentialsRead)?;
    let Named(id) = id?;
    let origin = Origin::request(Actor::Service(service.name().clone()), &client);
    let (account, credentials) = accounts.credentials(&id, origin).await?;
    let (access_token, expires_at) = match credentials.access_token {
        Some(AccessToken { token, expires_at }) => (Some(token), Some(expires_at.to_string())),
        None => (None, None),
    };
    Ok(Json(CredentialsBody {
        account_id: account.id.to_string(),
        user_id: account.user_id.to_string(),
        broker: account.broker,
        user_id_broker: account.user_id_broker,
        api_key: credentials.api_key,
        api_secret: credentials.api_secret,
        access_token,
        access_token_expires_at: expires_at,
    }))
}
