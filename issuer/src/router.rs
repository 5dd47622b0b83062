//! Which rooms there are, on which listener, with which limits.

use std::time::Duration;

use axum::Router;
use axum::response::IntoResponse as _;
use axum::routing::get;
use http::header::CONTENT_TYPE;
use utoipa::openapi::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::app::App;
use crate::web::{self, Limits};
use crate::{accounts, health, login, passwords, sessions, tokens, verification};

/// What clients and our own machines may call.
const API: Limits = Limits { body: 64 * 1024, deadline: Duration::from_secs(20) };

/// Pages and documents: nothing is sent to them.
const PAGES: Limits = Limits { body: 0, deadline: Duration::from_secs(10) };

/// Below the grace of a refresh, in seconds: who was not answered in time may still try again.
fn within(grace: i64) -> Limits {
    let deadline = Duration::from_secs(grace.saturating_mul(2).max(0).unsigned_abs() / 3);
    Limits { deadline: deadline.min(API.deadline), ..API }
}

const OPENAPI_PATH: &str = "/v1/openapi.json";

fn public_api() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .merge(accounts::http::routes())
        .merge(login::http::routes())
        .merge(verification::http::routes())
        .merge(passwords::http::routes())
        .merge(sessions::http::routes())
        .merge(tokens::http::routes())
        .merge(health::routes())
}

fn internal_api() -> OpenApiRouter<App> {
    OpenApiRouter::new().merge(health::routes()).merge(health::internal_routes())
}

/// What clients reach, through the edge.
pub fn public(app: App) -> Router {
    let (api, document) = public_api().split_for_parts();
    let document = described(document);
    let text = document.to_json().unwrap_or_default();
    let openapi = move || async move { ([(CONTENT_TYPE, "application/json")], text).into_response() };
    let swagger: Router<App> = SwaggerUi::new("/docs").config(Config::from(OPENAPI_PATH)).into();
    let pages = Router::new().route(OPENAPI_PATH, get(openapi)).merge(swagger);
    let cors = app.origins.cors();
    let around = |routes, limits| web::around(routes, limits, app.ids.clone(), app.requests.clone());
    let unknown = Router::new().fallback(web::not_found);
    let routes =
        around(api.method_not_allowed_fallback(web::method_not_allowed), within(app.grants.rules.grace))
            .merge(around(pages, PAGES))
            .merge(around(unknown, API));
    // Outside of everything, because a browser must be told of refusals, too.
    routes.layer(cors).with_state(app)
}

/// What only our own machines reach: the edge never routes it.
pub fn internal(app: App) -> Router {
    let (api, _) = internal_api().split_for_parts();
    let routes = api.fallback(web::not_found).method_not_allowed_fallback(web::method_not_allowed);
    web::around(routes, API, app.ids.clone(), app.requests.clone()).with_state(app)
}

/// The document of the public API (OpenAPI 3.1), made from the routes themselves.
pub fn openapi() -> OpenApi {
    described(public_api().split_for_parts().1)
}

fn described(mut document: OpenApi) -> OpenApi {
    document.info.title = "Countersign issuer".to_owned();
    document.info.version = env!("CARGO_PKG_VERSION").to_owned();
    document.info.description = Some(
        "Accounts, logins, sessions and the keys that verify their tokens. A refusal is \
         `application/problem+json` (RFC 9457) with `reason` for programs and `detail` for people."
            .to_owned(),
    );
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
    let components = document.components.get_or_insert_default();
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
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
