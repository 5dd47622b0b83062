//! Which rooms there are, on which listener, with which limits.

mod refusals;

use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::middleware::from_fn;
use axum::response::IntoResponse as _;
use axum::routing::get;
use http::header::CONTENT_TYPE;
use tower::{ServiceExt as _, service_fn};
use utoipa::openapi::OpenApi;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::app::App;
use crate::compat::http::{API_DOCS_PATH, API_OPENAPI_PATH};
use crate::config::Served;
use crate::web::{self, Limits};
use crate::{
    access, accounts, admin, api_keys, audit, compat, feed, health, login, mfa, oauth, passwords, services,
    sessions, tokens, trading_accounts, verification,
};

use refusals::By;

/// What clients and our own machines may call.
const API: Limits = Limits { body: 64 * 1024, deadline: Duration::from_secs(20) };

/// What waits for something to happen.
const WAITS: Limits =
    Limits { body: 0, deadline: feed::LONGEST_WAIT.saturating_add(Duration::from_secs(10)) };

/// Pages and documents: nothing is sent to them.
const PAGES: Limits = Limits { body: 0, deadline: Duration::from_secs(10) };

/// Below the grace of a refresh, in seconds: who was not answered in time may still try again.
fn within(grace: i64) -> Limits {
    let deadline = Duration::from_secs(grace.saturating_mul(2).max(0).unsigned_abs() / 3);
    Limits { deadline: deadline.min(API.deadline), ..API }
}

const OPENAPI_PATH: &str = "/v1/openapi.json";
const INTERNAL_OPENAPI_PATH: &str = "/v1/internal/openapi.json";
const DOCS_PATH: &str = "/docs";

const METRICS_PATH: &str = "/metrics";
const INTERNAL_PREFIX: &str = "/v1/internal/";

/// The keys and the probes are there whatever else is.
fn public_api(served: Served) -> OpenApiRouter<App> {
    let mut routes = OpenApiRouter::new().merge(tokens::http::routes()).merge(health::routes());
    if served.api {
        routes = routes
            .merge(accounts::http::routes())
            .merge(login::http::routes())
            .merge(mfa::http::routes())
            .merge(verification::http::routes())
            .merge(passwords::http::routes())
            .merge(sessions::http::routes())
            .merge(access::http::routes())
            .merge(api_keys::http::routes())
            .merge(trading_accounts::http::routes())
            .merge(audit::http::routes())
            .merge(admin::http::routes())
            .merge(oauth::http::routes());
    }
    if served.token {
        routes = routes.merge(oauth::http::token_routes());
    }
    if served.auth {
        routes = routes.merge(compat::http::auth_routes());
    }
    if served.api_auth {
        routes = routes.merge(compat::http::api_auth_routes());
    }
    routes
}

/// The pages that describe what is served, each group of routes in its own place.
fn pages(served: Served, document: &OpenApi) -> Router<App> {
    let mut pages = Router::new();
    if served.api {
        pages = pages.merge(description(document, OPENAPI_PATH, DOCS_PATH));
    }
    if served.api_auth {
        let document = described(compat::http::api_auth_routes::<App>().split_for_parts().1);
        pages = pages.merge(description(&document, API_OPENAPI_PATH, API_DOCS_PATH));
    }
    pages
}

/// A document for programs, and a page that shows it to people.
fn description(document: &OpenApi, path: &'static str, page: &'static str) -> Router<App> {
    let text = document.to_json().unwrap_or_default();
    let openapi = move || async move { ([(CONTENT_TYPE, "application/json")], text).into_response() };
    let swagger: Router<App> = SwaggerUi::new(page).config(Config::from(path)).into();
    Router::new().route(path, get(openapi)).merge(swagger)
}

fn internal_api() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .merge(health::routes())
        .merge(health::internal_routes())
        .merge(access::http::internal_routes())
        .merge(api_keys::http::internal_routes())
        .merge(trading_accounts::http::internal_routes())
}

fn internal_waits() -> OpenApiRouter<App> {
    feed::http::internal_routes()
}

/// What clients reach, through the edge.
pub fn public(app: App) -> Router {
    let (api, document) = public_api(app.served).split_for_parts();
    let pages = pages(app.served, &described(document));
    let cors = app.origins.cors();
    let around = |routes, limits| web::around(routes, limits, app.ids.clone(), app.requests.clone());
    let unknown = Router::new().fallback(web::not_found);
    let api = api.method_not_allowed_fallback(web::method_not_allowed).layer(from_fn(services::misplaced));
    let routes =
        around(api, within(app.grants.rules.grace)).merge(around(pages, PAGES)).merge(around(unknown, API));
    // Outside of everything, because a browser must be told of refusals, too.
    routes.layer(cors).with_state(app)
}

/// What only our own machines reach: the edge never routes it.
pub fn internal(app: App) -> Router {
    let (api, _) = internal_api().split_for_parts();
    let (waits, _) = internal_waits().split_for_parts();
    let pages = description(&internal_openapi(), INTERNAL_OPENAPI_PATH, DOCS_PATH);
    let around = |routes: Router<App>, limits| {
        let routes = routes.method_not_allowed_fallback(web::method_not_allowed);
        web::around(routes, limits, app.ids.clone(), app.requests.clone())
    };
    let unknown = Router::new().fallback(web::not_found);
    let routes =
        around(api, API).merge(around(waits, WAITS)).merge(around(pages, PAGES)).merge(around(unknown, API));
    routes.with_state(app)
}

/// Both, for a while, where existing services call `/v1/internal` at the address that clients use: what is internal is told
/// apart by its path, and needs a service token there as well.
pub fn both(app: App) -> Router {
    let (public, internal) = (public(app.clone()), internal(app));
    let route = move |request: Request| {
        let path = request.uri().path();
        let is_internal = path == METRICS_PATH || path.starts_with(INTERNAL_PREFIX);
        let router = if is_internal { internal.clone() } else { public.clone() };
        router.oneshot(request)
    };
    Router::new().fallback_service(service_fn(route))
}

/// The document of the public API (OpenAPI 3.1), made from the routes themselves.
pub fn openapi(served: Served) -> OpenApi {
    described(public_api(served).split_for_parts().1)
}

/// The document of what the internal listener serves.
pub fn internal_openapi() -> OpenApi {
    let about = "What the edge and other services of ours ask the issuer, each with the secret that \
                 `countersign services add` has given it.";
    let document = internal_api().merge(internal_waits()).split_for_parts().1;
    let mut document = entitled(document, "Countersign issuer, internal", about);
    let token =
        ApiKeyValue::with_description("x-service-token", "A service token with the scope of the call");
    let components = document.components.get_or_insert_default();
    components.add_security_scheme("service_token", SecurityScheme::ApiKey(ApiKey::Header(token)));
    refusals::complete(&mut document, By::Services);
    document
}

fn entitled(mut document: OpenApi, title: &str, about: &str) -> OpenApi {
    let refusals = "A refusal is `application/problem+json` (RFC 9457) with `reason` for programs and `detail` \
                    for people.";
    document.info.title = title.to_owned();
    document.info.version = env!("CARGO_PKG_VERSION").to_owned();
    document.info.description = Some(format!("{about} {refusals}"));
    document
}

fn described(document: OpenApi) -> OpenApi {
    let about = "Accounts, logins, sessions and the keys that verify their tokens.";
    let mut document = entitled(document, "Countersign issuer", about);
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
    let components = document.components.get_or_insert_default();
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    refusals::complete(&mut document, By::People);
    document
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_call_takes_as_long_as_the_grace_of_a_refresh() {
        for grace in [10, 30, 300] {
            let deadline = within(grace).deadline.as_secs();
            assert!(0 < deadline && deadline.cast_signed() < grace, "{grace}: {deadline}");
        }
    }
}
