//! The HTTP wall: what every room's routes share - problems, bodies, where a request comes from, cookies, origins -
//! and how routes are served. It names no room, and no error text from inside reaches a client.

mod basic;
mod bearer;
mod client;
mod cookies;
mod device;
mod form;
mod html;
mod json;
mod layers;
mod listen;
mod metrics;
mod oauth_form;
mod origins;
mod page;
mod problem;
mod reason;
mod tls;

use http::{Method, Uri};

pub use basic::{BASIC_CHALLENGE, Basic};
pub use bearer::bearer;
pub use client::{Client, TrustedProxies};
pub use cookies::{CookieRules, values as cookie_values};
pub use form::Submission;
pub use html::{Field, HtmlPage};
pub use json::{JsonBody, JsonOrEmpty};
pub use layers::{Limits, around, install_panic_hook};
pub use listen::{Connections, ListenError, Listening, bind, serve};
pub use metrics::Metrics;
pub use oauth_form::OAuthForm;
pub use origins::{Origins, is_browser};
pub use page::{Page, Parameters, Repeated};
pub use problem::{Body as ProblemBody, Check, FieldError, Problem};
pub use reason::Reason;
pub use tls::{InvalidTls, Tls};

use layers::{REQUEST_ID, RequestId};

/// For paths that are none.
pub async fn not_found(_: Uri) -> Problem {
    Problem::new(Reason::NotFound)
}

/// For paths that have other methods.
pub async fn method_not_allowed(method: Method) -> Problem {
    if method.as_str().len() <= 16 {
        Problem::because(Reason::MethodNotAllowed, format!("{method} is not possible here"))
    } else {
        Problem::new(Reason::MethodNotAllowed)
    }
}
