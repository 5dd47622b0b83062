//! Who one is, and whether one's token is good.

use axum::Json;
use serde::Serialize;
use utoipa::ToSchema;

use super::UserBody;
use super::sessions::MessageBody;
use crate::sessions::Caller;

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ApiAuthVerified)]
pub(super) struct VerifiedBody {
    user: UserBody,
}

/// Oneself.
#[utoipa::path(get, path = "/api/auth/me", operation_id = "api_auth_me", tag = "compatible",
    security(("bearer" = [])), responses((status = 200, body = UserBody)),
)]
pub(super) async fn me(caller: Caller) -> Json<UserBody> {
    Json(caller.user.into())
}

/// Whether a token is good, and whose it is.
#[utoipa::path(get, path = "/api/auth/verify", operation_id = "api_auth_verify", tag = "compatible",
    security(("bearer" = [])), responses((status = 200, body = VerifiedBody)),
)]
pub(super) async fn verify(caller: Caller) -> Json<VerifiedBody> {
    Json(VerifiedBody { user: caller.user.into() })
}

/// For anyone.
#[utoipa::path(get, path = "/api/auth/test/public", operation_id = "api_auth_public", tag = "compatible",
    responses((status = 200, body = MessageBody)),
)]
pub(super) async fn public() -> Json<MessageBody> {
    Json(MessageBody { message: "This is for anyone" })
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ApiAuthProtected)]
pub(super) struct ProtectedBody {
    #[schema(value_type = String)]
    message: &'static str,
    user: UserBody,
}

/// For who is logged in.
#[utoipa::path(get, path = "/api/auth/test/protected", operation_id = "api_auth_protected", tag = "compatible",
    security(("bearer" = [])), responses((status = 200, body = ProtectedBody)),
)]
pub(super) async fn protected(caller: Caller) -> Json<ProtectedBody> {
    Json(ProtectedBody { message: "This is for who is logged in", user: caller.user.into() })
}
