//! The second factor's routes, for whoever has logged in; the code of a login is the login's.

use axum::Json;
use axum::extract::{FromRef, State};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{BackupCode, Code, MalformedCode, Mfa, Refusal, enrolment, store};
use crate::ambient::Clock;
use crate::audit::{self, Origin};
use crate::db::Db;
use crate::sessions::grant::Grants;
use crate::sessions::{Caller, Callers};
use crate::web::{Client, JsonBody, Problem, Reason, TrustedProxies};

/// A second factor is set up so many seconds after a login at most: a stolen access token must not lock its owner out.
const RECENT: i64 = 3600;

pub fn routes<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Db: FromRef<S>,
    Clock: FromRef<S>,
    Mfa: FromRef<S>,
    Grants: FromRef<S>,
    Callers: FromRef<S>,
    TrustedProxies: FromRef<S>,
{
    OpenApiRouter::new()
        .routes(routes!(set_up))
        .routes(routes!(enable))
        .routes(routes!(disable))
        .routes(routes!(renew_backup_codes))
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Wrong => Self::new(Reason::WrongCode),
            Refusal::Locked(seconds) => Self::new(Reason::RateLimited).retry_after(seconds),
            Refusal::NotEnabled => Self::new(Reason::MfaNotEnabled),
            Refusal::NotSetUp => Self::new(Reason::MfaNotSetUp),
            Refusal::AlreadyEnabled => Self::new(Reason::MfaAlreadyEnabled),
        }
    }
}

impl From<MalformedCode> for Problem {
    fn from(malformed: MalformedCode) -> Self {
        Self::invalid_field("code", malformed)
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MfaSetup)]
struct SetupBody {
    /// In Base32, to be typed into an app that cannot see the picture.
    secret: String,
    /// What the picture says.
    otpauth_uri: String,
    /// A QR code: the source of an image.
    qr_code_uri: String,
}

/// Begin to set up a second factor, with a secret for an authenticator app.
///
/// It comes into force when it is enabled. Set up again, it has another secret.
#[utoipa::path(post, path = "/v1/auth/mfa/totp/setup", tag = "mfa", security(("bearer" = [])), responses(
    (status = 200, body = SetupBody),
    (status = 403, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
     description = "`authentication_too_old`: the login was more than an hour ago"),
    (status = 409, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
     description = "`mfa_already_enabled`"),
))]
async fn set_up(
    State(db): State<Db>,
    State(clock): State<Clock>,
    State(mfa): State<Mfa>,
    caller: Caller,
) -> Result<Json<SetupBody>, Problem> {
    let user = caller.in_person()?.recently(clock.now(), RECENT)?.user;
    let (secret, sealed) = mfa.draw_secret(&user.id).map_err(|error| Problem::internal(&error))?;
    let otpauth_uri = enrolment::uri(&mfa.issuer, &user.email, &secret);
    let qr_code_uri = enrolment::picture(&otpauth_uri).map_err(|error| Problem::internal(&error))?;
    let set_up = db.write(async move |tx| store::set_up(tx, &user.id, &sealed).await);
    if !set_up.await? {
        return Err(Refusal::AlreadyEnabled.into());
    }
    Ok(Json(SetupBody { secret: secret.base32(), otpauth_uri, qr_code_uri }))
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = MfaCode)]
struct CodeBody {
    #[schema(required)]
    #[serde(default)]
    code: String,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BackupCodes)]
struct BackupCodesBody {
    /// Each is good once. They are shown here and never again.
    backup_codes: Vec<String>,
}

impl BackupCodesBody {
    fn new(codes: &[BackupCode]) -> Json<Self> {
        Json(Self { backup_codes: codes.iter().map(BackupCode::shown).collect() })
    }
}

/// Put the second factor into force with a code of the app; answers with the backup codes.
#[utoipa::path(post, path = "/v1/auth/mfa/totp/enable", tag = "mfa", request_body = CodeBody,
    security(("bearer" = [])), responses(
    (status = 200, body = BackupCodesBody),
    (status = 403, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
     description = "`wrong_code`"),
    (status = 429, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
     description = "`rate_limited`: too many wrong codes; `Retry-After` tells the seconds to wait"),
    (status = 409, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
     description = "`mfa_not_set_up`, `mfa_already_enabled`"),
))]
async fn enable(
    State(db): State<Db>,
    State(mfa): State<Mfa>,
    caller: Caller,
    client: Client,
    JsonBody(body): JsonBody<CodeBody>,
) -> Result<Json<BackupCodesBody>, Problem> {
    let owner = caller.in_person()?.user.id;
    let Code::Totp(digits) = Code::parse(&body.code)? else {
        return Err(Problem::invalid_field("code", "must be the six digits that the app shows"));
    };
    let codes = BackupCode::draw_set(&mfa.entropy);
    let shown = BackupCodesBody::new(&codes);
    let counted = mfa.limits.code(&owner, client.ip);
    let origin = Origin::request(audit::Actor::User(owner.clone()), &client);
    let enabled = db.write(async move |tx| mfa.enable(tx, &owner, digits, &codes, &counted, &origin).await);
    enabled.await??;
    Ok(shown)
}

/// Take the second factor away, with a code of the app or a backup code; ends every other session.
#[utoipa::path(post, path = "/v1/auth/mfa/totp/disable", tag = "mfa", request_body = CodeBody,
    security(("bearer" = [])), responses(
    (status = 204, description = "The password is enough from now on"),
    (status = 403, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
     description = "`wrong_code`"),
    (status = 429, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
     description = "`rate_limited`: too many wrong codes; `Retry-After` tells the seconds to wait"),
    (status = 409, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
     description = "`mfa_not_enabled`"),
))]
async fn disable(
    State(db): State<Db>,
    State(mfa): State<Mfa>,
    State(grants): State<Grants>,
    caller: Caller,
    client: Client,
    JsonBody(body): JsonBody<CodeBody>,
) -> Result<StatusCode, Problem> {
    let Caller { user, session, .. } = caller.in_person()?;
    let code = Code::parse(&body.code)?;
    let counted = mfa.limits.code(&user.id, client.ip);
    let origin = Origin::request(audit::Actor::User(user.id.clone()), &client);
    let rules = grants.rules;
    let disabled = db.write(async move |tx| {
        let checked = mfa.check(tx, &user.id, &code, &counted, &origin).await?;
        if checked.is_ok() {
            Mfa::disable(tx, &user.id, &session.id, &origin, rules).await?;
        }
        Ok(checked)
    });
    disabled.await??;
    Ok(StatusCode::NO_CONTENT)
}

/// Replace the backup codes, with a code of the app or a backup code.
#[utoipa::path(post, path = "/v1/auth/mfa/backup-codes", tag = "mfa", request_body = CodeBody,
    security(("bearer" = [])), responses(
    (status = 200, body = BackupCodesBody, description = "The new ones; those before are good no more"),
    (status = 403, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
     description = "`wrong_code`"),
    (status = 429, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
     description = "`rate_limited`: too many wrong codes; `Retry-After` tells the seconds to wait"),
    (status = 409, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
     description = "`mfa_not_enabled`"),
))]
async fn renew_backup_codes(
    State(db): State<Db>,
    State(mfa): State<Mfa>,
    caller: Caller,
    client: Client,
    JsonBody(body): JsonBody<CodeBody>,
) -> Result<Json<BackupCodesBody>, Problem> {
    let owner = caller.in_person()?.user.id;
    let code = Code::parse(&body.code)?;
    let codes = BackupCode::draw_set(&mfa.entropy);
    let shown = BackupCodesBody::new(&codes);
    let counted = mfa.limits.code(&owner, client.ip);
    let origin = Origin::request(audit::Actor::User(owner.clone()), &client);
    let renewed = db.write(async move |tx| {
        let checked = mfa.check(tx, &owner, &code, &counted, &origin).await?;
        if checked.is_ok() {
            store::replace_backup_codes(tx, &owner, &codes).await?;
        }
        Ok(checked)
    });
    renewed.await??;
    Ok(shown)
}
