//! A message as it is sent (RFC 5322): text and HTML of it, and headers that hold nothing but what we put there.

use std::time::{Duration, UNIX_EPOCH};

use lettre::address::Envelope;
use lettre::message::header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue};
use lettre::message::{Body, Mailbox, MultiPart, SinglePart};
use lettre::{Address, Message};

use super::templates::Rendered;
use super::transport::Failure;
use crate::ambient::UnixTime;

/// In bytes (RFC 5322 §2.1.1).
const LONGEST_LINE: usize = 998;

/// Puts a message together. One that is sent twice has the same `id` both times, by which a mailbox may tell.
pub(super) fn compose(
    id: &str,
    from: &Mailbox,
    recipient: &str,
    at: UnixTime,
    rendered: Rendered,
) -> Result<(Envelope, Vec<u8>), Failure> {
    let to: Address = recipient.parse().map_err(|error| Failure::permanent("no such address", error))?;
    let date = UNIX_EPOCH + Duration::from_secs(at.seconds().max(0).unsigned_abs());
    // RFC 3834 §5: so that no robot answers.
    let automatic = HeaderName::new_from_ascii_str("Auto-Submitted");
    let part = |kind, text: String| SinglePart::builder().header(kind).body(body(text));
    let text = part(ContentType::TEXT_PLAIN, rendered.text);
    let html = part(ContentType::TEXT_HTML, rendered.html);
    let message = Message::builder()
        .message_id(Some(format!("<{id}@{}>", from.email.domain())))
        .date(date)
        .from(from.clone())
        .to(Mailbox::new(None, to))
        .subject(rendered.subject)
        .raw_header(HeaderValue::new(automatic, "auto-generated".to_owned()))
        .multipart(MultiPart::alternative().singlepart(text).singlepart(html))
        .map_err(|error| Failure::permanent("the message cannot be put together", error))?;
    Ok((message.envelope().clone(), message.formatted()))
}

/// As readable as it can be: as it stands, if that may be, so that people and programs find a link in one piece.
fn body(text: String) -> Body {
    let visible = |byte: u8| byte == b'\t' || (b' '..=b'~').contains(&byte);
    let fits = |line: &str| line.len() <= LONGEST_LINE && line.bytes().all(visible);
    if text.lines().all(fits) {
        let lines: String = text.lines().flat_map(|line| [line, "\r\n"]).collect();
        return Body::dangerous_pre_encoded(lines.into_bytes(), ContentTransferEncoding::SevenBit);
    }
    Body::new_with_encoding(text, ContentTransferEncoding::QuotedPrintable).unwrap_or_else(Body::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn composed(text: &str) -> String {
        let rendered = Rendered {
            subject: "Héllo\r\nBcc: eve@example.com".into(),
            text: text.into(),
            html: "<p>x</p>".into(),
        };
        let from = "Example <no-reply@example.com>".parse().unwrap();
        let at = UnixTime::from_seconds(1_795_176_000);
        let (envelope, message) = compose("id", &from, "ada@example.com", at, rendered).unwrap();
        assert_eq!(envelope.to().len(), 1);
        String::from_utf8(message).unwrap()
    }

    #[test]
    fn a_link_stands_in_one_piece() {
        let link = format!("https://login.example.com/v1/auth/password/reset?token={}", "x".repeat(43));
        assert!(composed(&format!("Hello,\n\n{link}\n")).contains(&format!("\r\n{link}\r\n")));
    }

    #[test]
    fn nothing_in_a_message_is_a_header_or_ends_it() {
        for text in ["\r\n.\r\nBcc: eve@example.com", "a\rBcc: x", "\0", "é\nBcc: x", &"x".repeat(2000)] {
            let message = composed(text);
            let head = message.split("\r\n\r\n").next().unwrap();
            assert!(!head.lines().any(|line| line.starts_with("Bcc")), "{head}");
            assert!(message.is_ascii() && message.split("\r\n").all(|line| line.len() <= LONGEST_LINE));
            assert!(!message.replace("\r\n", "").contains(['\r', '\n', '\0']), "{message:?}");
        }
    }
}
