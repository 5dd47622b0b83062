//! What the shape of a call says about how it refuses: whoever reads a body may refuse the body, whoever wants a token,
//! the token. Said here once for the OpenAPI document, so that a route describes what is its own and nothing else.

use countersign_claims::PROBLEM_JSON;
use http::StatusCode;
use utoipa::openapi::header::Header;
use utoipa::openapi::path::{Operation, ParameterIn};
use utoipa::openapi::{Content, ObjectBuilder, OpenApi, Ref, RefOr, Response, Schema, Type};
use utoipa::{PartialSchema as _, ToSchema as _};

use crate::web::ProblemBody;

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";
const HTML: &str = "text/html";

/// Who makes the calls of a document.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// With access tokens.
    People,
    /// With service tokens: which of them each call takes, it tells itself.
    Services,
}

/// Adds to every call of the document the refusals that its shape makes possible, and what each of them looks like.
pub(super) fn complete(document: &mut OpenApi, by: By) {
    let schemas = &mut document.components.get_or_insert_default().schemas;
    let mut of_a_problem = vec![(ProblemBody::name().into_owned(), ProblemBody::schema())];
    ProblemBody::schemas(&mut of_a_problem);
    schemas.extend(of_a_problem);
    for path in document.paths.paths.values_mut() {
        let calls = [&mut path.get, &mut path.post, &mut path.put, &mut path.patch, &mut path.delete];
        calls.into_iter().flatten().for_each(|call| complete_call(call, by));
    }
}

fn complete_call(call: &mut Operation, by: By) {
    let shape = Shape::of(call, by);
    let responses = &mut call.responses.responses;
    for (status, reasons) in shape.refusals() {
        let response = responses.entry(status.to_owned());
        match response.or_insert_with(|| RefOr::T(Response::new(""))) {
            RefOr::T(response) if response.description.is_empty() => {
                response.description = reasons.to_owned()
            }
            RefOr::T(response) => response.description = format!("{}; or {reasons}", response.description),
            RefOr::Ref(_) => {}
        }
    }
    for (status, response) in responses {
        let RefOr::T(response) = response else { continue };
        let status = StatusCode::from_bytes(status.as_bytes()).unwrap_or_default();
        if response.description.is_empty() {
            // It must be there (OpenAPI 3.1 §4.8.17).
            response.description = status.canonical_reason().unwrap_or_default().to_owned();
        }
        if status.is_client_error() || status.is_server_error() {
            describe(status, response, shape.kinds());
        }
    }
}

/// What a refusal looks like: its body in each of these kinds, and what its headers say.
fn describe(status: StatusCode, response: &mut Response, kinds: &[&str]) {
    for &kind in kinds {
        let schema = if kind == HTML { text() } else { Ref::from_schema_name(ProblemBody::name()).into() };
        response.content.insert(kind.to_owned(), Content::new(Some(schema)).into());
    }
    let header = match status {
        StatusCode::UNAUTHORIZED => Some(("WWW-Authenticate", Header::new(text()))),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            let seconds = ObjectBuilder::new().schema_type(Type::Integer);
            Some(("Retry-After", Header::new(seconds)))
        }
        _ => None,
    };
    response.headers.extend(header.map(|(name, header)| (name.to_owned(), header.into())));
}

fn text() -> RefOr<Schema> {
    ObjectBuilder::new().schema_type(Type::String).into()
}

/// What of a call decides how it can refuse.
struct Shape {
    reads_json: bool,
    reads_a_form: bool,
    reads_the_query: bool,
    wants_a_token: bool,
    /// Shown to people.
    is_a_page: bool,
}

impl Shape {
    fn of(call: &Operation, by: By) -> Self {
        let reads = |kind| match &call.request_body {
            Some(RefOr::T(body)) => body.content.contains_key(kind),
            _ => false,
        };
        let in_query = |parameter: &RefOr<utoipa::openapi::path::Parameter>| matches!(parameter, RefOr::T(parameter) if parameter.parameter_in == ParameterIn::Query);
        let is_a_page = match call.responses.responses.get("200") {
            Some(RefOr::T(response)) => response.content.contains_key(HTML),
            _ => false,
        };
        Self {
            reads_json: reads(JSON),
            reads_a_form: reads(FORM),
            reads_the_query: call.parameters.iter().flatten().any(in_query),
            wants_a_token: by == By::People && call.security.is_some(),
            is_a_page,
        }
    }

    /// Each status that such a call may answer, and its reasons.
    fn refusals(&self) -> Vec<(&'static str, &'static str)> {
        let mut refusals = vec![("500", "`internal`"), ("503", "`busy`: try again")];
        if self.wants_a_token {
            refusals.push(("401", "there is no access token, or not a good one"));
            refusals.push(("403", "`permission_denied` `not_by_api_key`: not for this caller"));
        }
        if self.reads_json {
            refusals.push(("400", "`invalid_json` `body_unreadable`"));
        } else if self.reads_a_form {
            refusals.push(("400", "`body_unreadable`"));
        }
        if self.reads_json || self.reads_a_form {
            refusals.push(("408", "`timeout`: the body came too slowly"));
            refusals.push(("413", "`body_too_large`: over 64 KiB"));
            refusals.push(("415", "`unsupported_media_type`"));
        }
        // A form of OAuth is refused with 400 whatever is wrong with it, and a page opens whatever its link says.
        if self.reads_json || self.reads_the_query && !self.is_a_page {
            refusals.push(("422", "`invalid_fields`: `errors` tells which, and what would be right"));
        }
        refusals
    }

    /// In which kinds it refuses: who sent a form from one of our pages gets a page, and clients of OAuth get plain JSON,
    /// but for what is refused before their form is read.
    fn kinds(&self) -> &'static [&'static str] {
        match (self.reads_json || self.is_a_page, self.reads_a_form || self.is_a_page) {
            (true, true) => &[PROBLEM_JSON, HTML],
            (false, true) => &[JSON, PROBLEM_JSON],
            (_, false) => &[PROBLEM_JSON],
        }
    }
}
