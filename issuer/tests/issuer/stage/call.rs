//! A request of a test, its answer, and what is read in either.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::response::Response;
use base64ct::{Base64UrlUnpadded, Encoding as _};
use http::{HeaderMap, Request, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt as _;

/// What someone who logged in holds.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    pub(crate) id: String,
    pub(crate) access_token: String,
    pub(crate) refresh_token: String,
}

impl From<&Answer> for Person {
    fn from(answer: &Answer) -> Self {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let body = answer.json();
        Self {
            id: text(&body["user"]["id"]),
            access_token: text(&body["access_token"]),
            refresh_token: text(&body["refresh_token"]),
        }
    }
}

/// A request about to be sent.
pub(crate) struct Call {
    pub(super) router: Router,
    pub(super) request: Request<Body>,
}

impl Call {
    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.request.headers_mut().append(name, value.parse().unwrap());
        self
    }

    /// With a header that is not text.
    pub(crate) fn value(mut self, name: &'static str, value: http::HeaderValue) -> Self {
        self.request.headers_mut().append(name, value);
        self
    }

    pub(crate) fn without(mut self, name: &'static str) -> Self {
        self.request.headers_mut().remove(name);
        self
    }

    pub(crate) fn json(self, body: Value) -> Self {
        self.header("content-type", "application/json").body(body.to_string())
    }

    pub(crate) fn form(self, parameters: &[(&str, &str)]) -> Self {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        let body = form.extend_pairs(parameters).finish();
        self.header("content-type", "application/x-www-form-urlencoded").body(body)
    }

    pub(crate) fn body(mut self, body: impl Into<Body>) -> Self {
        *self.request.body_mut() = body.into();
        self
    }

    pub(crate) fn by(self, person: &Person) -> Self {
        self.bearer(&person.access_token)
    }

    pub(crate) fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub(crate) fn cookie(self, refresh_token: &str) -> Self {
        self.header("cookie", &format!("theme=dark; refresh_token={refresh_token}"))
    }

    pub(crate) fn from(mut self, peer: &str) -> Self {
        let peer: std::net::SocketAddr = peer.parse().unwrap();
        self.request.extensions_mut().insert(axum::extract::ConnectInfo(peer));
        self
    }
}

impl IntoFuture for Call {
    type Output = Answer;
    type IntoFuture = std::pin::Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        let response = self.router.oneshot(self.request);
        Box::pin(async move { Answer::from(response.await.unwrap()).await })
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    async fn from(response: Response) -> Self {
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        Self { status: parts.status, headers: parts.headers, body }
    }

    pub(crate) fn expect(self, status: StatusCode) -> Self {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        self
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {:?}", self.body))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Is this problem, in all its parts.
    #[track_caller]
    pub(crate) fn refused(self, status: u16, reason: &str) -> Self {
        let body = String::from_utf8_lossy(&self.body).into_owned();
        assert_eq!(self.status.as_u16(), status, "{body}");
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["status"], status, "{body}");
        assert_eq!(problem["reason"], reason, "{body}");
        assert_eq!(problem["type"], "about:blank");
        assert!(problem["title"].is_string() && !problem["detail"].as_str().unwrap().is_empty(), "{body}");
        if status == 401 {
            let challenge = self.header("www-authenticate");
            assert!(challenge.starts_with("Bearer realm=\"countersign\""), "{challenge}");
        }
        self
    }

    /// Is a refused refresh token (RFC 6749 §5.2): a 400 that says that trying again does not help.
    #[track_caller]
    pub(crate) fn refused_grant(self, reason: &str) -> Self {
        let answer = self.refused(400, reason);
        assert_eq!(answer.json()["error"], "invalid_grant");
        assert!(!answer.headers.contains_key("www-authenticate"));
        answer
    }

    /// Is a refusal as clients of OAuth take it (RFC 6749 §5.2), beside what all refusals say.
    #[track_caller]
    pub(crate) fn refused_oauth(self, status: u16, reason: &str, error: &str) -> Self {
        let body = String::from_utf8_lossy(&self.body).into_owned();
        assert_eq!(self.status.as_u16(), status, "{body}");
        assert_eq!(self.header("content-type"), "application/json");
        let problem = self.json();
        assert_eq!((&problem["reason"], &problem["error"]), (&json!(reason), &json!(error)), "{body}");
        assert_eq!(problem["error_description"], problem["detail"], "{body}");
        assert!(!problem["detail"].as_str().unwrap().contains(['"', '\\']), "{body}");
        assert!(self.set_cookie().is_none(), "{body}");
        self
    }

    /// The names of the fields of a body, sorted.
    pub(crate) fn fields(&self) -> Vec<String> {
        let mut names: Vec<String> = self.json().as_object().unwrap().keys().cloned().collect();
        names.sort();
        names
    }

    /// The fields that a 422 names, sorted.
    #[track_caller]
    pub(crate) fn invalid_fields(self) -> Vec<String> {
        let problem = self.refused(422, "invalid_fields").json();
        let errors = problem["errors"].as_array().unwrap();
        assert!(errors.iter().all(|error| !error["message"].as_str().unwrap().is_empty()));
        let mut fields: Vec<_> =
            errors.iter().map(|error| error["field"].as_str().unwrap().to_owned()).collect();
        fields.sort();
        fields
    }

    /// The refresh cookie that was set: its value and the rest.
    pub(crate) fn set_cookie(&self) -> Option<(String, String)> {
        let cookie =
            self.headers.get("set-cookie")?.to_str().unwrap().strip_prefix("refresh_token=").unwrap();
        let (value, attributes) = cookie.split_once("; ").unwrap();
        Some((value.to_owned(), attributes.to_owned()))
    }
}

/// For how many seconds from its issue a token is good.
pub(crate) fn lifetime(token: &str) -> i64 {
    let claims = part(token, 1);
    claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap()
}

/// A part of a token, unverified: 0 the header, 1 the claims.
pub(crate) fn part(token: &str, index: usize) -> Value {
    let part = token.split('.').nth(index).unwrap();
    serde_json::from_slice(&Base64UrlUnpadded::decode_vec(part).unwrap()).unwrap()
}

pub(crate) fn kid(token: &str) -> String {
    part(token, 0)["kid"].as_str().unwrap().to_owned()
}
