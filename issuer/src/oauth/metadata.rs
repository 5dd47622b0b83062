//! What there is to know about this issuer (RFC 8414): what is there, and nothing else.

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;

use super::http::{INTROSPECT_PATH, REVOKE_PATH, SERVICE_TOKEN_PATH, TOKEN_PATH};
use crate::config::Settings;
use crate::tokens::{JWKS_PATH, cache_control};

/// Does not change while the issuer runs; cheap to clone.
#[derive(Debug, Clone)]
pub struct Metadata(Arc<Facts>);

#[derive(Debug)]
pub(super) struct Facts {
    /// `Cache-Control`.
    pub(super) cache: String,
    pub(super) body: MetadataBody,
}

#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Metadata)]
pub(super) struct MetadataBody {
    /// What tokens say in `iss`, URL or not.
    issuer: String,
    jwks_uri: String,
    /// For services only, unless the one for passwords is switched on, which takes services as well.
    token_endpoint: String,
    /// `none` for people; a service has credentials of its own.
    #[schema(value_type = Vec<String>)]
    token_endpoint_auth_methods_supported: &'static [&'static str],
    /// Of the token endpoint.
    #[schema(value_type = Vec<String>)]
    grant_types_supported: &'static [&'static str],
    introspection_endpoint: String,
    /// With an access token.
    #[schema(value_type = Vec<String>)]
    introspection_endpoint_auth_methods_supported: [&'static str; 1],
    revocation_endpoint: String,
    /// The token itself is proof enough.
    #[schema(value_type = Vec<String>)]
    revocation_endpoint_auth_methods_supported: [&'static str; 1],
    scopes_supported: Vec<String>,
    /// `none`: no code and no token, because nobody logs in on a page of ours.
    #[schema(value_type = Vec<String>)]
    response_types_supported: [&'static str; 1],
}

impl Metadata {
    pub(super) fn new(settings: &Settings) -> Self {
        let url = |path: &str| format!("{}{path}", settings.server.public_url.as_str());
        let token = settings.served().token;
        let body = MetadataBody {
            issuer: settings.tokens.issuer.clone(),
            jwks_uri: url(JWKS_PATH),
            token_endpoint: url(if token { TOKEN_PATH } else { SERVICE_TOKEN_PATH }),
            token_endpoint_auth_methods_supported: if token {
                &["none", "client_secret_basic", "client_secret_post"]
            } else {
                &["client_secret_basic", "client_secret_post"]
            },
            grant_types_supported: if token {
                &["password", "refresh_token", "client_credentials"]
            } else {
                &["client_credentials"]
            },
            introspection_endpoint: url(INTROSPECT_PATH),
            introspection_endpoint_auth_methods_supported: ["Bearer"],
            revocation_endpoint: url(REVOKE_PATH),
            revocation_endpoint_auth_methods_supported: ["none"],
            scopes_supported: settings.service_permissions().into_iter().map(str::to_owned).collect(),
            // It is required and may not be empty (RFC 8414 §2 and §3.2).
            response_types_supported: ["none"],
        };
        Self(Arc::new(Facts { cache: cache_control(settings), body }))
    }

    pub(super) fn facts(&self) -> &Facts {
        &self.0
    }
}
