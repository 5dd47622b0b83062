//! Tokens in several places at once, and under other names of their parameter: one decides or none, and none reaches an upstream
//! or a log.

use super::stage::{HANDSHAKE, KEY, Stage, bearer, config, token};
use super::{module, raw};

/// What became of a handshake: the status, and the reason if it was refused.
async fn handshake(stage: &Stage, target: &str, headers: &[&str]) -> (u16, String) {
    let lines: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let request = format!("GET {target} HTTP/1.1\r\nhost: edge\r\n{lines}{HANDSHAKE}\r\n");
    let answer = raw::send(stage.edge.port, request.as_bytes()).await;
    let reason = answer.text.split(r#""reason":""#).nth(1).and_then(|rest| rest.split('"').next());
    (answer.status, reason.unwrap_or_default().to_owned())
}

#[tokio::test]
async fn of_several_tokens_none_is_picked() {
    let mut config = config();
    config["forward_authorization"] = false.into();
    let stage = Stage::start(module(), &[config]).await;
    let (ada, bob) = (token("ada", 900), token("bob", 900));
    let header = bearer(&ada);
    let query = |token: &str| format!("/ws/refuses?depth=1&token={token}");
    let offer = |token: &str| format!("sec-websocket-protocol: bearer, {token}");
    let ambiguous = (400, "ambiguous_credentials".to_owned());
    for (target, headers) in [
        (query(&ada), vec![header.clone()]),
        (query(&bob), vec![header.clone()]),
        (query("a.b.c"), vec![header.clone()]),
        (query(&ada), vec!["authorization: Bearer a.b.c".into()]),
        ("/ws/refuses".into(), vec![header.clone(), offer(&bob)]),
        (query(&ada), vec![offer(&ada)]),
        (format!("{}&token={bob}", query(&ada)), vec![]),
        (format!("{}&%74oken={bob}", query(&ada)), vec![]),
        ("/ws/refuses".into(), vec![offer(&ada), offer(&bob)]),
        ("/ws/refuses".into(), vec![format!("{}, bearer, {bob}", offer(&ada))]),
        ("/ws/refuses".into(), vec![header.clone(), bearer(&bob)]),
        ("/ws/refuses".into(), vec![format!("{header}, Bearer {bob}")]),
        ("/ws/refuses".into(), vec![header.clone(), "authorization: Basic YTpi".into()]),
    ] {
        let headers: Vec<_> = headers.iter().map(String::as_str).collect();
        assert_eq!(handshake(&stage, &target, &headers).await, ambiguous, "{target} {headers:?}");
    }
    assert_eq!(stage.upstream.seen(), "");

    // Those of a kind that a rule does not take count as not sent, and go no further where they could be taken for one.
    for (target, headers, name) in [
        (query(&ada), vec!["authorization: Basic YTpi".into()], "u-ada"),
        (query(&bob), vec![format!("cookie: token={ada}")], "u-bob"),
        (query(&bob), vec![format!("x-api-key: {KEY}")], "u-bob"),
    ] {
        let headers: Vec<_> = headers.iter().map(String::as_str).collect();
        assert_eq!(handshake(&stage, &target, &headers).await.0, 400, "by the upstream");
        let seen = stage.upstream.seen();
        let last = seen.trim_end().rsplit("\r\n\r\n").next().unwrap();
        assert!(last.contains(&format!("x-user-id: {name}\r\n")), "{last}");
        assert!(!last.contains("authorization") && !last.contains("x-api-key"), "{last}");
    }
    for cookie in [format!("cookie: token={ada}"), format!("cookie: Authorization=Bearer {ada}")] {
        assert_eq!(handshake(&stage, "/ws/refuses", &[&cookie]).await, (401, "missing_token".into()));
    }
    let key = format!("x-api-key: {KEY}");
    for (headers, expected) in [
        (vec![&*key, &*key], "ambiguous_credentials"),
        (vec!["authorization: Bearer a.b.c", &*key], "malformed_token"),
        (vec!["x-api_key: 1", "x.api.key: 2"], "missing_credential"),
    ] {
        let headers: Vec<_> = headers.into_iter().map(str::as_bytes).collect();
        let answer = raw::request(stage.edge.port, b"GET", b"/api/x", &headers).await;
        assert!(answer.text.contains(expected), "{}", answer.text);
    }
    let both = raw::request(stage.edge.port, b"GET", b"/api/x", &[header.as_bytes(), key.as_bytes()]).await;
    assert!(both.reached() && !both.text.contains("x-api-key"), "{}", both.text);
    assert_eq!(both.identities(), ["u-ada"]);
    stage.stop().await;
}

#[tokio::test]
async fn a_token_under_another_spelling_of_its_parameter_admits_nobody_and_goes_no_further() {
    let stage = Stage::start(module(), &[config()]).await;
    let ada = token("ada", 900);
    let encoded: String = ada.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let upper: String = ada.bytes().map(|byte| format!("%{byte:02X}")).collect();
    // These are the parameter, written as a form may write it.
    for query in [
        format!("token={ada}"),
        format!("token={encoded}"),
        format!("token={upper}"),
        format!("%74oken={ada}"),
        format!("%74%6F%6b%65%6E={encoded}"),
        format!("tok%65n={ada}&depth=1"),
        format!("depth=%zz&token={ada}"),
    ] {
        let answer = handshake(&stage, &format!("/ws/refuses?{query}"), &[]).await;
        assert_eq!(answer.0, 400, "by the upstream: {query}: {}", answer.1);
    }
    let seen = stage.upstream.seen();
    assert_eq!(seen.matches("x-user-id: u-ada\r\n").count(), 7, "{seen}");
    // These some server would take for it.
    for name in [
        "Token",
        "TOKEN",
        "tOkEn",
        "%54oken",
        "TO%4BEN",
        "token[]",
        "token%5B%5D",
        "token[0]",
        "+token",
        "%20token",
        "token%20",
        "token%00",
        "depth=1;token",
        "depth=1&amp;token",
        ";token",
    ] {
        for path in ["/ws/refuses", "/public/refuses"] {
            for value in [&ada, &encoded] {
                let target = format!("{path}?{name}={value}");
                let (status, reason) = handshake(&stage, &target, &[]).await;
                let refused = (status, &*reason) == (401, "missing_token");
                assert!(refused || path == "/public/refuses", "{target}: {status} {reason}");
            }
        }
    }
    // And these are others.
    for target in [format!("/ws/refuses?access_token={ada}"), format!("/ws/refuses?x=token={ada}")] {
        assert_eq!(handshake(&stage, &target, &[]).await, (401, "missing_token".into()), "{target}");
    }
    let seen = stage.upstream.seen();
    assert_eq!(seen.matches("x-user-id: u-ada\r\n").count(), 7, "{seen}");
    assert!(!seen.contains(&ada) && !seen.contains(&encoded) && !seen.contains("eyJ"), "{seen}");
    stage.stop().await;
}
