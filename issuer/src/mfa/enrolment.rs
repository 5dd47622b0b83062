//! How a secret reaches an authenticator app: as a URI, and as the QR code of that URI.

use std::sync::Arc;

use base64ct::{Base64, Encoding as _};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use qrcode::render::svg;
use qrcode::types::QrError;
use qrcode::{EcLevel, QrCode};

use super::Secret;

/// What stands for itself in a URI (RFC 3986 §2.3).
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The side of the picture, in pixels, quiet zone included; at least.
const SIDE: u32 = 240;

/// `otpauth://totp/Issuer:account?…`, as apps read it; what it does not say, they take for granted in different ways.
pub(super) fn uri(issuer: &Arc<str>, account: &str, secret: &Secret) -> String {
    let (issuer, account) = (encoded(issuer), encoded(account));
    let secret = secret.base32();
    format!(
        "otpauth://totp/{issuer}:{account}?secret={secret}&issuer={issuer}&algorithm=SHA1&digits=6&period=30"
    )
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, UNRESERVED).to_string()
}

/// The picture that a page shows, as the source of an image.
///
/// # Errors
/// If the URI is longer than any QR code: longer than an address and an issuer can be.
pub(super) fn picture(uri: &str) -> Result<String, QrError> {
    let code = QrCode::with_error_correction_level(uri, EcLevel::M)?;
    let svg = code.render::<svg::Color<'_>>().min_dimensions(SIDE, SIDE).build();
    Ok(format!("data:image/svg+xml;base64,{}", Base64::encode_string(svg.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_says_everything_and_lets_nothing_in() {
        let secret = Secret::new([0xff; 20]);
        let written = uri(&"Big & Söhne?".into(), "a+b&issuer=x@example.com", &secret);
        assert_eq!(
            written,
            "otpauth://totp/Big%20%26%20S%C3%B6hne%3F:a%2Bb%26issuer%3Dx%40example.com?\
             secret=77777777777777777777777777777777&issuer=Big%20%26%20S%C3%B6hne%3F&algorithm=SHA1&digits=6&period=30"
        );
    }

    #[test]
    fn the_longest_uri_fits_into_a_picture() {
        let account = format!("{}@example.com", "%".repeat(242));
        let longest = uri(&"語".repeat(64).into(), &account, &Secret::new([0; 20]));
        assert!(picture(&longest).unwrap().starts_with("data:image/svg+xml;base64,"));
    }
}
