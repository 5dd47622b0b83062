//! Every verification rule by its name: what the README's list says, one test each.

mod forge;

use base64ct::{Base64UrlUnpadded, Encoding};
use countersign_claims::{Alg, Audience, Keyring, MAX_TOKEN_BYTES, Reject, Verifier, mint};
use forge::*;
use serde_json::json;

#[test]
fn accepts_what_the_issuer_mints() {
    assert_eq!(verify(token()), Ok(claims()));
}

#[test]
fn accepts_both_names_of_the_algorithm_and_no_other() {
    assert!(verify(with_header(json!({"alg": "Ed25519"}))).is_ok());
    for alg in ["none", "None", "HS256", "ES256", "RS256", "eddsa", "EDDSA", "Ed448", "EdDSA ", ""] {
        assert_eq!(verify(with_header(json!({"alg": alg}))), Err(Reject::AlgorithmNotAllowed), "{alg}");
    }
    assert_eq!(verify(with_header(json!({"alg": null}))), Err(Reject::Malformed));
    assert_eq!(verify(with_header(json!({"alg": ["EdDSA"]}))), Err(Reject::Malformed));
}

#[test]
fn refuses_an_array_for_header_or_claims() {
    // The fields' values in the order in which the types declare them.
    let listed = json!(["EdDSA", "at+jwt", KID]).to_string();
    assert_eq!(verify(sign(listed.as_bytes(), payload().to_string().as_bytes())), Err(Reject::Malformed));
    let listed = json!(["user_service", "trading_platform", "u-1", NOW + 900]).to_string();
    assert_eq!(verify(sign(header().to_string().as_bytes(), listed.as_bytes())), Err(Reject::InvalidClaims));
}

#[test]
fn refuses_a_header_that_brings_a_key_or_an_extension() {
    for name in ["jwk", "jku", "x5u", "x5c", "crit", "zip", "b64", "cty"] {
        for value in ["null", "false", "\"x\"", "[]", "{}"] {
            let header = format!(r#"{{"alg":"EdDSA","typ":"at+jwt","kid":"{KID}","{name}":{value}}}"#);
            let token = sign(header.as_bytes(), payload().to_string().as_bytes());
            assert_eq!(verify(token), Err(Reject::HeaderNotAllowed), "{name}: {value}");
        }
    }
}

#[test]
fn compares_typ_as_a_media_type() {
    for typ in ["at+jwt", "AT+JWT", "application/at+jwt", "Application/At+Jwt"] {
        assert!(verify(with_header(json!({"typ": typ}))).is_ok(), "{typ}");
    }
    for typ in ["JWT", "jwt", "", "at+jwt ", "application/application/at+jwt", "text/at+jwt", "logout+jwt"] {
        assert_eq!(verify(with_header(json!({"typ": typ}))), Err(Reject::WrongType), "{typ}");
    }
    assert_eq!(verify(with_header(json!({"typ": null}))), Err(Reject::WrongType), "left out");
}

#[test]
fn chooses_the_key_by_kid_from_its_own_set() {
    assert_eq!(verify(with_header(json!({"kid": "other"}))), Err(Reject::UnknownKey));
    assert_eq!(verify(with_header(json!({"kid": ""}))), Err(Reject::UnknownKey));
    assert_eq!(verify(mint(KID, &claims(), &key(2), Alg::EdDsa).unwrap()), Err(Reject::BadSignature));
}

#[test]
fn takes_a_token_without_kid_only_where_one_key_is_known() {
    let token = with_header(json!({"kid": null}));
    assert!(verify(&token).is_ok());
    let two = Keyring::new([(KID.into(), public(&key(1))), ("b".into(), public(&key(2)))]).unwrap();
    assert_eq!(verifier().verify(token.as_bytes(), &two, NOW), Err(Reject::UnknownKey));
}

#[test]
fn null_is_no_value_in_the_header_nor_in_any_claim() {
    let with_null = |part: serde_json::Value, name: &str| {
        let mut part = part;
        part[name] = json!(null);
        part.to_string()
    };
    for name in ["typ", "kid"] {
        let token = sign(with_null(header(), name).as_bytes(), payload().to_string().as_bytes());
        assert_eq!(verify(token), Err(Reject::Malformed), "{name}");
    }
    for name in payload().as_object().unwrap().keys().map(String::as_str).chain(["nbf", "credential_id"]) {
        let token = sign(header().to_string().as_bytes(), with_null(payload(), name).as_bytes());
        assert_eq!(verify(token), Err(Reject::InvalidClaims), "{name}");
    }
    let unknown = sign(header().to_string().as_bytes(), with_null(payload(), "vendor").as_bytes());
    assert!(verify(unknown).is_ok(), "what nobody reads may be anything");
}

#[test]
fn cannot_decide_without_any_key() {
    let none = Keyring::default();
    assert_eq!(verifier().verify(token().as_bytes(), &none, NOW), Err(Reject::Unavailable));
}

#[test]
fn wants_three_non_empty_parts() {
    let token = token();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let (header, payload) = signed.split_once('.').unwrap();
    for malformed in [
        String::new(),
        ".".into(),
        "..".into(),
        "...".into(),
        signed.into(),
        format!("{signed}."),
        format!(".{payload}.{signature}"),
        format!("{header}..{signature}"),
        format!("{token}."),
        format!(".{token}"),
        format!("{header}.{payload}.{signature}.{signature}"),
        format!("{token} "),
        format!("{token}\n"),
    ] {
        assert_eq!(verify(&malformed), Err(Reject::Malformed), "{malformed:?}");
    }
    assert_eq!(verify([0xff, b'.', 0xfe, b'.', 0xfd]), Err(Reject::Malformed));
}

#[test]
fn wants_strict_unpadded_base64url() {
    let token = token();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let (header, payload) = signed.split_once('.').unwrap();
    assert_eq!(verify(format!("{token}==")), Err(Reject::Malformed));
    // Signed as they stand, so that only the encoding is wrong with them.
    assert_eq!(verify(sign_parts(&format!("{header}="), payload)), Err(Reject::Malformed));
    assert_eq!(verify(sign_parts(header, &format!("{payload}=="))), Err(Reject::Malformed));
    assert_eq!(verify(sign_parts(header, &format!("{payload}+/"))), Err(Reject::Malformed));
    assert_eq!(verify(sign_parts(header, &format!(" {payload}"))), Err(Reject::Malformed));
    // 64 bytes leave four spare bits in the last character: a second spelling of the same signature.
    let last = signature.chars().last().unwrap();
    let other = if last == 'A' { 'B' } else { char::from_u32(last as u32 + 1).unwrap() };
    let respelled = format!("{signed}.{}{other}", &signature[..signature.len() - 1]);
    assert!(verify(respelled).is_err());
}

#[test]
fn a_signature_has_64_bytes() {
    let token = token();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    for bytes in (0..200).filter(|&bytes| bytes != 64) {
        let other = Base64UrlUnpadded::encode_string(&vec![0; bytes]);
        assert_eq!(verify(format!("{signed}.{other}")), Err(Reject::Malformed), "{bytes}");
    }
    for characters in (0..signature.len()).chain(87..200) {
        let other = "A".repeat(characters);
        assert_eq!(verify(format!("{signed}.{other}")), Err(Reject::Malformed), "{characters}");
    }
}

#[test]
fn refuses_a_repeated_member_in_header_and_claims() {
    let twice = |json: String, member: &str| json.replacen('{', &format!("{{{member},"), 1);
    let header = header().to_string();
    let payload = payload().to_string();
    let kid = twice(header.clone(), r#""kid":"2026-11-a""#);
    assert_eq!(verify(sign(kid.as_bytes(), payload.as_bytes())), Err(Reject::Malformed));
    for member in [r#""sub":"someone-else""#, r#""extra":1,"extra":2"#, r#""o":{"a":1,"a":1}"#] {
        let claims = twice(payload.clone(), member);
        assert_eq!(
            verify(sign(header.as_bytes(), claims.as_bytes())),
            Err(Reject::InvalidClaims),
            "{member}"
        );
    }
}

#[test]
fn bounds_size_and_depth() {
    let padded = |n: usize| with_claims(json!({"padding": "x".repeat(n)}));
    assert!(verify(padded(1_000)).is_ok());
    assert!(padded(8_000).len() > MAX_TOKEN_BYTES);
    assert_eq!(verify(padded(8_000)), Err(Reject::TooLarge));
    assert_eq!(verify("x".repeat(60_000)), Err(Reject::TooLarge));
    let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(2_000), "]".repeat(2_000));
    assert_eq!(verify(sign(header().to_string().as_bytes(), deep.as_bytes())), Err(Reject::InvalidClaims));
    assert_eq!(verify(sign(deep.as_bytes(), b"{}")), Err(Reject::Malformed));
}

#[test]
fn wants_issuer_audience_expiry_and_subject() {
    for claim in ["iss", "aud", "exp", "sub"] {
        assert_eq!(verify(with_claims(json!({claim: null}))), Err(Reject::InvalidClaims), "{claim}");
    }
    assert_eq!(verify(with_claims(json!({"sub": ""}))), Err(Reject::InvalidClaims));
    assert_eq!(verify(sign(header().to_string().as_bytes(), b"[]")), Err(Reject::InvalidClaims));
    assert_eq!(verify(sign(header().to_string().as_bytes(), b"Example")), Err(Reject::InvalidClaims));
}

#[test]
fn wants_its_own_issuer() {
    for iss in ["", "user_service ", "USER_SERVICE", "other"] {
        assert_eq!(verify(with_claims(json!({"iss": iss}))), Err(Reject::WrongIssuer));
    }
}

#[test]
fn wants_one_of_its_audiences() {
    assert!(verify(with_claims(json!({"aud": ["other", "trading_platform"]}))).is_ok());
    for aud in [json!("other"), json!(["other"]), json!([]), json!("trading_platform,other")] {
        assert_eq!(verify(with_claims(json!({"aud": aud}))), Err(Reject::WrongAudience), "{aud}");
    }
    assert_eq!(verify(with_claims(json!({"aud": 7}))), Err(Reject::InvalidClaims));
    let none = Verifier::new("user_service".into(), vec![], SKEW);
    assert_eq!(none.verify(token().as_bytes(), &keyring(), NOW), Err(Reject::WrongAudience));
}

#[test]
fn takes_whole_numbers_only_for_times() {
    for claim in ["exp", "nbf", "iat"] {
        for time in [json!(1.5), json!(2e9), json!("1900000000"), json!(true), json!(u64::MAX)] {
            let token = with_claims(json!({claim: time}));
            assert_eq!(verify(token), Err(Reject::InvalidClaims), "{claim}: {time}");
        }
    }
}

#[test]
fn a_token_ends_at_exp_plus_skew() {
    for (exp, outcome) in
        [(NOW - SKEW + 1, Ok(())), (NOW - SKEW, Err(Reject::Expired)), (0, Err(Reject::Expired))]
    {
        let token = with_claims(json!({"exp": exp, "iat": null}));
        assert_eq!(verify(token).map(drop), outcome, "{exp}");
    }
}

#[test]
fn a_token_starts_at_nbf_and_iat_minus_skew() {
    for claim in ["nbf", "iat"] {
        assert!(verify(with_claims(json!({claim: NOW + SKEW}))).is_ok());
        assert_eq!(verify(with_claims(json!({claim: NOW + SKEW + 1}))), Err(Reject::NotYetValid));
    }
}

#[test]
fn skew_may_be_zero() {
    let strict = Verifier::new("user_service".into(), vec!["trading_platform".into()], 0);
    let at = |now| strict.verify(token().as_bytes(), &keyring(), now).map(drop);
    assert_eq!(at(NOW - 1), Err(Reject::NotYetValid));
    assert_eq!(at(NOW), Ok(()));
    assert_eq!(at(NOW + 899), Ok(()));
    assert_eq!(at(NOW + 900), Err(Reject::Expired));
}

#[test]
fn times_at_the_ends_of_the_range_do_not_overflow() {
    assert!(verify(with_claims(json!({"exp": i64::MAX}))).is_ok());
    assert_eq!(verify(with_claims(json!({"exp": i64::MIN, "iat": null}))), Err(Reject::Expired));
    assert!(verify(with_claims(json!({"nbf": i64::MIN, "iat": i64::MIN}))).is_ok());
    assert_eq!(verify(with_claims(json!({"nbf": i64::MAX}))), Err(Reject::NotYetValid));
}

#[test]
fn claims_are_not_read_before_the_signature_holds() {
    let token = with_claims(json!({"exp": 0}));
    let (signed, _) = token.rsplit_once('.').unwrap();
    let forged = format!("{signed}.{}", Base64UrlUnpadded::encode_string(&[1; 64]));
    assert_eq!(verify(forged), Err(Reject::BadSignature));
}

/// The token of a service, with claims replaced or removed (null).
fn of_a_service(change: serde_json::Value) -> String {
    let mut claims = json!({
        "sub": "service:ticker", "client_id": "ticker", "credential_id": "c-1", "scope": "quotes:publish",
        "session_id": null, "email": null, "name": null, "roles": null, "amr": null, "auth_time": null,
    });
    for (name, value) in change.as_object().unwrap() {
        claims[name] = value.clone();
    }
    with_claims(claims)
}

#[test]
fn a_service_has_a_token_of_its_own_kind() {
    let claims = verify(of_a_service(json!({}))).unwrap();
    assert_eq!((claims.service(), claims.revoked_by()), (Some("ticker"), Some("c-1")));
    let user = verify(token()).unwrap();
    assert_eq!((user.service(), user.revoked_by()), (None, user.session_id.as_deref()));
}

#[test]
fn a_token_is_for_a_user_or_for_a_service_and_not_half_of_each() {
    for (claim, value) in [
        ("session_id", json!("s-1")),
        ("email", json!("ada@example.com")),
        ("name", json!("Ada")),
        ("roles", json!(["admin"])),
        ("amr", json!(["pwd"])),
        ("auth_time", json!(NOW)),
        ("client_id", json!("first-party")),
        ("client_id", json!(null)),
        ("credential_id", json!("")),
        ("credential_id", json!(null)),
        ("sub", json!("service:")),
        ("sub", json!("service:alerts")),
        ("sub", json!("ticker")),
    ] {
        let token = of_a_service(json!({claim: value}));
        assert_eq!(verify(token), Err(Reject::InvalidClaims), "{claim}: {value}");
    }
    for change in [json!({"sub": "service:ticker"}), json!({"credential_id": "c-1"})] {
        assert_eq!(verify(with_claims(change)), Err(Reject::InvalidClaims));
    }
}

#[test]
fn permissions_and_roles_are_whole_words() {
    let claims = claims();
    assert!(claims.has_permission("alerts:write"));
    assert!(!claims.has_permission("alerts"));
    assert!(!claims.has_permission(""));
    assert!(claims.has_role("user") && !claims.has_role("use"));
    assert!(Audience::Many(vec!["a".into()]).contains("a"));
}
