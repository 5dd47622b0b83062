//! The trading accounts' routes, for those whose they are.

mod internal;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRef, FromRequestParts, Path, State};
use http::StatusCode;
use http::request::Parts;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use tracing::Instrument as _;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::broker::{self, Broker};
use super::brokers::{Refused, Unavailable};
use super::{AccountId, Credentials, Refusal, Status, TradingAccount, TradingAccounts};
use crate::ambient::{Clock, UnixTime};
use crate::audit::{Actor, Origin};
use crate::envelope;
use crate::sessions::{Caller, Callers};
use crate::web::{Check, Client, JsonBody, JsonOrEmpty, Problem, Reason, TrustedProxies};

pub use internal::internal_routes;

pub fn routes<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    TradingAccounts: FromRef<S>,
    Clock: FromRef<S>,
    Callers: FromRef<S>,
    TrustedProxies: FromRef<S>,
{
    OpenApiRouter::new()
        .routes(routes!(list, link))
        .routes(routes!(unlink))
        .routes(routes!(verify))
        .routes(routes!(rotate))
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Unknown => Self::new(Reason::NotFound),
            Refusal::Linked => Self::new(Reason::TradingAccountLinked),
            Refusal::TooMany => Self::new(Reason::TooManyTradingAccounts),
            Refusal::NotActive => Self::new(Reason::TradingAccountNotActive),
            Refusal::NoOwner => countersign_claims::Reject::Revoked.into(),
            Refusal::TooOften(seconds) => Self::new(Reason::RateLimited).retry_after(seconds),
            Refusal::Changed => Self::because(Reason::Busy, "The account was changed meanwhile; try again"),
            Refusal::Refused(Refused::RequestToken) => {
                Self::invalid_field("request_token", "was refused by the broker; log in there again")
            }
            Refusal::Refused(Refused::Credentials) => {
                Self::invalid_field("api_key", "was refused by the broker, or api_secret was")
            }
            Refusal::Refused(Refused::AnotherAccount) => {
                Self::invalid_field("api_key", "belongs to another account at the broker")
            }
            Refusal::Broker(Unavailable::Busy) => Self::new(Reason::Busy),
            Refusal::Broker(Unavailable::Limited(seconds)) => {
                Self::because(Reason::RateLimited, "The broker takes no more questions for a while")
                    .retry_after(seconds)
            }
            Refusal::Broker(Unavailable::Away) => Self::new(Reason::BrokerUnavailable),
            Refusal::Encryption(envelope::Error::Off) => Self::new(Reason::EncryptionOff),
            Refusal::Encryption(
                error @ (envelope::Error::UnknownKey { .. } | envelope::Error::Unavailable { .. }),
            ) => {
                tracing::error!(event = "credentials_unavailable", error = %error, "request failed");
                Self::new(Reason::CredentialsUnavailable)
            }
            Refusal::Encryption(error @ envelope::Error::Forged) => Self::internal(&error),
            Refusal::Database(error) => error.into(),
        }
    }
}

/// An account at a broker. Nothing of its credentials is shown.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TradingAccount)]
struct AccountBody {
    account_id: String,
    /// `kite` or `alpaca`.
    broker: String,
    user_id_broker: String,
    status: Status,
    /// What it takes to verify it: `key_and_secret`, or `request_token`. With the latter it is active without having been
    /// verified: see `verified_at`.
    verification: &'static str,
    /// When the broker last said that the credentials are right, in RFC 3339 as all times here.
    verified_at: Option<String>,
    /// The end of the access token that the broker gave, if there is one.
    access_token_expires_at: Option<String>,
    /// When the credentials are due to be replaced.
    rotate_after: String,
    /// Whether they are.
    rotation_due: bool,
    created_at: String,
    updated_at: String,
}

impl AccountBody {
    fn new(account: TradingAccount, now: UnixTime) -> Self {
        let rotation_due = account.is_rotation_due(now);
        let time = |time: Option<UnixTime>| time.map(|time| time.to_string());
        Self {
            verification: Broker::named(&account.broker).map_or("unknown", |broker| broker.proof.as_str()),
            account_id: account.id.to_string(),
            broker: account.broker,
            user_id_broker: account.user_id_broker,
            status: account.status,
            verified_at: time(account.verified_at),
            access_token_expires_at: time(account.access_token_expires_at),
            rotate_after: account.rotate_after.to_string(),
            rotation_due,
            created_at: account.created_at.to_string(),
            updated_at: account.updated_at.to_string(),
        }
    }
}

/// The account that the path names, if that can be one.
struct Named(AccountId);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let id: Result<Path<String>, PathRejection> = Path::from_request_parts(parts, state).await;
        let id = id.ok().and_then(|Path(id)| AccountId::parse(&id));
        id.map(Self).ok_or_else(|| Problem::new(Reason::NotFound))
    }
}

/// One's own trading accounts, oldest first; a bare array.
#[utoipa::path(get, path = "/v1/trading-accounts", operation_id = "list_trading_accounts", tag = "trading accounts",
    security(("bearer" = [])), responses((status = 200, body = Vec<AccountBody>)),
)]
async fn list(
    State(accounts): State<TradingAccounts>,
    State(clock): State<Clock>,
    caller: Caller,
) -> Result<Json<Vec<AccountBody>>, Problem> {
    let accounts = accounts.of_user(&caller.in_person()?.user.id, None, None).await?;
    let now = clock.now();
    Ok(Json(accounts.into_iter().map(|account| AccountBody::new(account, now)).collect()))
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = NewTradingAccount)]
struct LinkBody {
    /// `kite` (also `zerodha`) or `alpaca`.
    #[schema(required)]
    #[serde(default)]
    broker: String,
    /// What the broker calls the account.
    #[schema(required)]
    #[serde(default)]
    user_id_broker: String,
    #[schema(required, value_type = String)]
    #[serde(default)]
    api_key: SecretString,
    #[schema(required, value_type = String)]
    #[serde(default)]
    api_secret: SecretString,
}

/// Link an account at a broker.
///
/// It is `pending` until it is verified, or `active` at once where the broker needs the user's own login for that.
#[utoipa::path(post, path = "/v1/trading-accounts", operation_id = "link_trading_account", tag = "trading accounts",
    request_body = LinkBody, security(("bearer" = [])), responses(
    (status = 201, body = AccountBody),
    (status = 403, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
     description = "`not_by_api_key`"),
    (status = 409, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
     description = "`trading_account_linked`, `too_many_trading_accounts`"),
    (status = 422, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
     description = "`invalid_fields`"),
    (status = 429, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
     description = "`rate_limited`: too many attempts in a minute; `Retry-After` tells the seconds to wait"),
    (status = 501, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
     description = "`encryption_off`: there is no key to protect credentials with"),
    (status = 503, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
     description = "`credentials_unavailable`: the key that protects them cannot be used"),
))]
async fn link(
    State(accounts): State<TradingAccounts>,
    State(clock): State<Clock>,
    caller: Caller,
    client: Client,
    JsonBody(body): JsonBody<LinkBody>,
) -> Result<(StatusCode, Json<AccountBody>), Problem> {
    let owner = caller.in_person()?.user.id;
    let mut check = Check::default();
    let broker = check.field("broker", Broker::named(&body.broker));
    // What the fields look like depends on the broker.
    let Some(broker) = broker else { return Err(check.refusal()) };
    let user_id_broker = check.field("user_id_broker", broker.user_id(&body.user_id_broker));
    let credentials = checked(broker, body.api_key, body.api_secret, &mut check);
    let (Some(user_id_broker), Some(credentials)) = (user_id_broker, credentials) else {
        return Err(check.refusal());
    };
    let origin = Origin::request(Actor::User(owner.clone()), &client);
    let account = accounts.link(owner, broker, user_id_broker, &credentials, origin).await?;
    Ok((StatusCode::CREATED, Json(AccountBody::new(account, clock.now()))))
}

fn checked(
    broker: &Broker,
    api_key: SecretString,
    api_secret: SecretString,
    check: &mut Check,
) -> Option<Credentials> {
    let key = check.field("api_key", broker.check_api_key(api_key.expose_secret()));
    let secret = check.field("api_secret", broker.check_api_secret(api_secret.expose_secret()));
    key.and(secret).map(|()| Credentials { api_key, api_secret, access_token: None })
}

/// The request token of a body, if there is one.
fn request_token(token: Option<SecretString>, check: &mut Check) -> Option<Option<SecretString>> {
    let token = token.filter(|token| !token.expose_secret().is_empty());
    let fits = token.as_ref().map(|token| broker::check_request_token(token.expose_secret())).transpose();
    check.field("request_token", fits).map(|_| token)
}

/// To its end, though the caller goes away or the call takes too long: what a broker gives for a request token it gives
/// once.
async fn finished(
    work: impl Future<Output = Result<TradingAccount, Refusal>> + Send + 'static,
) -> Result<TradingAccount, Problem> {
    let finished = tokio::spawn(work.in_current_span()).await;
    Ok(finished.map_err(|error| Problem::internal(&error))??)
}

/// Unlink an account; its credentials are gone for good.
#[utoipa::path(delete, path = "/v1/trading-accounts/{id}", operation_id = "unlink_trading_account",
    tag = "trading accounts", security(("bearer" = [])),
    params(("id" = String, Path, description = "`account_id`")), responses(
    (status = 204, description = "Unlinked"),
    (status = 403, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
     description = "`not_by_api_key`"),
    (status = 404, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
     description = "`not_found`"),
))]
async fn unlink(
    State(accounts): State<TradingAccounts>,
    caller: Caller,
    client: Client,
    Named(id): Named,
) -> Result<StatusCode, Problem> {
    let owner = caller.in_person()?.user.id;
    let origin = Origin::request(Actor::User(owner.clone()), &client);
    accounts.unlink(owner, id, origin).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = TradingAccountVerification)]
struct VerifyBody {
    /// Of the user's own login at the broker, where it needs one.
    #[schema(value_type = Option<String>)]
    #[serde(default)]
    request_token: Option<SecretString>,
}

/// Ask the broker whether the credentials of an account are right.
///
/// The account shows what it said: `active` with `verified_at`, or `invalid`. Where it takes a `request_token` and none is
/// given, the broker is not asked and the account is as it was. The access token that the broker gives for one is kept.
#[utoipa::path(post, path = "/v1/trading-accounts/{id}/verify", operation_id = "verify_trading_account",
    tag = "trading accounts", request_body = VerifyBody, security(("bearer" = [])),
    params(("id" = String, Path, description = "`account_id`")), responses(
    (status = 200, body = AccountBody),
    (status = 403, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
     description = "`not_by_api_key`"),
    (status = 404, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
     description = "`not_found`"),
    (status = 422, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
     description = "`invalid_fields`: the broker refuses the request token"),
    (status = 429, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
     description = "`rate_limited`: too many attempts in a minute, or too many for the broker; `Retry-After` tells the seconds \
                    to wait"),
    (status = 503, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
     description = "`broker_unavailable`, `credentials_unavailable`, `busy`"),
))]
async fn verify(
    State(accounts): State<TradingAccounts>,
    State(clock): State<Clock>,
    caller: Caller,
    client: Client,
    Named(id): Named,
    JsonOrEmpty(body): JsonOrEmpty<VerifyBody>,
) -> Result<Json<AccountBody>, Problem> {
    let owner = caller.in_person()?.user.id;
    let mut check = Check::default();
    let Some(token) = request_token(body.request_token, &mut check) else {
        return Err(check.refusal());
    };
    let origin = Origin::request(Actor::User(owner.clone()), &client);
    let account = finished(async move {
        let token = token.as_ref().map(|token| token.expose_secret());
        accounts.verify(&owner, &id, token, origin).await
    });
    let account = account.await?;
    Ok(Json(AccountBody::new(account, clock.now())))
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = TradingAccountRotation)]
struct RotateBody {
    #[schema(required, value_type = String)]
    #[serde(default)]
    api_key: SecretString,
    #[schema(required, value_type = String)]
    #[serde(default)]
    api_secret: SecretString,
    /// Of the user's own login at the broker, where it needs one to say that the new ones are right.
    #[schema(value_type = Option<String>)]
    #[serde(default)]
    request_token: Option<SecretString>,
}

/// Replace the credentials of an account by new ones.
///
/// The broker is asked about them first, where it can be; until it has said that they are right, those before stay in force.
#[utoipa::path(post, path = "/v1/trading-accounts/{id}/rotate", operation_id = "rotate_trading_account",
    tag = "trading accounts", request_body = RotateBody, security(("bearer" = [])),
    params(("id" = String, Path, description = "`account_id`")), responses(
    (status = 200, body = AccountBody),
    (status = 403, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
     description = "`not_by_api_key`"),
    (status = 404, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
     description = "`not_found`"),
    (status = 422, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
     description = "`invalid_fields`: also what the broker refuses"),
    (status = 429, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
     description = "`rate_limited`: too many attempts in a minute, or too many for the broker; `Retry-After` tells the seconds \
                    to wait"),
    (status = 501, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
     description = "`encryption_off`: there is no key to protect credentials with"),
    (status = 503, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
     description = "`broker_unavailable`, `credentials_unavailable`, `busy`"),
))]
async fn rotate(
    State(accounts): State<TradingAccounts>,
    State(clock): State<Clock>,
    caller: Caller,
    client: Client,
    Named(id): Named,
    JsonBody(body): JsonBody<RotateBody>,
) -> Result<Json<AccountBody>, Problem> {
    let owner = caller.in_person()?.user.id;
    let broker = accounts.broker(&owner, &id).await?;
    let mut check = Check::default();
    let credentials = checked(broker, body.api_key, body.api_secret, &mut check);
    let token = request_token(body.request_token, &mut check);
    let (Some(credentials), Some(token)) = (credentials, token) else { return Err(check.refusal()) };
    let origin = Origin::request(Actor::User(owner.clone()), &client);
    let account = finished(async move {
        let token = token.as_ref().map(|token| token.expose_secret());
        accounts.rotate(&owner, &id, credentials, token, origin).await
    });
    let account = account.await?;
    Ok(Json(AccountBody::new(account, clock.now())))
}
