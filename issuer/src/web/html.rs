//! Pages of ours, for people who follow a link that was sent to them. They work without scripts, load nothing, cannot be
//! framed, and tell no other site where they are: their address holds a token.

use std::fmt::Write as _;
use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use base64ct::{Base64, Encoding as _};
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY, X_FRAME_OPTIONS};
use http::{HeaderValue, StatusCode};
use minijinja::HtmlEscape;
use sha2::{Digest as _, Sha256};

use super::Problem;

const STYLE: &str = "body{font-family:sans-serif;line-height:1.5;max-width:30em;margin:3em auto;padding:0 1em}\
                     input,button{font:inherit;padding:.4em .8em;margin:.3em 0}label{display:block}";

/// Nothing but our style, which its hash names, and forms to ourselves.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let style = Base64::encode_string(&Sha256::digest(STYLE));
    format!(
        "default-src 'none'; style-src 'sha256-{style}'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    )
});

/// A page with a title, some sentences and perhaps a form.
#[derive(Debug, Clone)]
pub struct HtmlPage {
    status: StatusCode,
    title: &'static str,
    sentences: Vec<String>,
    form: Option<Form>,
}

#[derive(Debug, Clone)]
struct Form {
    /// A path of ours, so that the token does not go there in the address.
    action: &'static str,
    fields: Vec<Field>,
    button: &'static str,
}

/// A field of a form.
#[derive(Debug, Clone)]
pub enum Field {
    /// Sent along unseen.
    Hidden { name: &'static str, value: String },
    /// To be typed, a password that there is already.
    Password { name: &'static str, label: &'static str },
    /// To be typed, a new password.
    NewPassword { name: &'static str, label: &'static str },
}

impl HtmlPage {
    pub fn new(title: &'static str, sentence: impl Into<String>) -> Self {
        Self { status: StatusCode::OK, title, sentences: vec![sentence.into()], form: None }
    }

    #[must_use]
    pub fn with_form(
        self,
        action: &'static str,
        button: &'static str,
        fields: impl Into<Vec<Field>>,
    ) -> Self {
        Self { form: Some(Form { action, fields: fields.into(), button }), ..self }
    }

    /// The page after a refusal. Its form stays if another try may succeed.
    #[must_use]
    pub fn refused(self, problem: &Problem) -> Self {
        let status = problem.status();
        let again = [
            StatusCode::UNPROCESSABLE_ENTITY,
            StatusCode::TOO_MANY_REQUESTS,
            StatusCode::SERVICE_UNAVAILABLE,
        ]
        .contains(&status);
        Self { status, sentences: problem.sentences(), form: self.form.filter(|_| again), ..self }
    }

    /// The answer to who sent a form, or a program: `done` or nothing but the status, and a refusal as a page, with
    /// the form of `again`, or as it is.
    pub fn answer(is_form: bool, outcome: Result<(), Problem>, done: Self, again: Self) -> Response {
        match outcome {
            Ok(()) if is_form => done.into_response(),
            Ok(()) => StatusCode::NO_CONTENT.into_response(),
            Err(problem) if is_form => again.refused(&problem).into_response(),
            Err(problem) => problem.into_response(),
        }
    }

    fn html(&self) -> String {
        let mut html = format!(
            "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
             content=\"width=device-width\">\n<title>{title}</title>\n<style>{STYLE}</style>\n<h1>{title}</h1>\n",
            title = HtmlEscape(self.title)
        );
        for sentence in &self.sentences {
            // Writing to a string does not fail.
            let _ = writeln!(html, "<p>{}</p>", HtmlEscape(sentence));
        }
        if let Some(Form { action, fields, button }) = &self.form {
            let _ = writeln!(html, "<form method=\"post\" action=\"{action}\">");
            for field in fields {
                let _ = match field {
                    Field::Hidden { name, value } => {
                        let value = HtmlEscape(value);
                        writeln!(html, "<input type=\"hidden\" name=\"{name}\" value=\"{value}\">")
                    }
                    Field::Password { name, label } => asked(&mut html, name, label, "current-password"),
                    Field::NewPassword { name, label } => asked(&mut html, name, label, "new-password"),
                };
            }
            let _ = writeln!(html, "<button>{}</button>\n</form>", HtmlEscape(button));
        }
        html
    }
}

/// A password to be typed.
fn asked(html: &mut String, name: &str, label: &str, autocomplete: &str) -> std::fmt::Result {
    let label = HtmlEscape(label);
    writeln!(
        html,
        "<label>{label} <input type=\"password\" name=\"{name}\" autocomplete=\"{autocomplete}\" required></label>"
    )
}

impl IntoResponse for HtmlPage {
    fn into_response(self) -> Response {
        // Our own text, all of it visible ASCII.
        let policy = HeaderValue::try_from(POLICY.as_str())
            .unwrap_or_else(|_| HeaderValue::from_static("default-src 'none'"));
        let headers: [(HeaderName, HeaderValue); 4] = [
            (CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
            (CONTENT_SECURITY_POLICY, policy),
            (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
            (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
        ];
        (self.status, headers, self.html()).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_a_page_is_escaped() {
        let hidden = Field::Hidden { name: "token", value: "\"><script>".into() };
        let html = HtmlPage::new("T", "<b>").with_form("/go", "Go", [hidden]).html();
        assert!(!html.contains("<b>") && !html.contains("<script>"), "{html}");
    }
}
