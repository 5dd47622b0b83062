//! What a rule may say, and what it means.

use super::*;

#[test]
fn a_rule_for_get_is_for_head_too() {
    let methods = |listed: &[&str]| {
        let document = with("/rules/0/match", json!({"prefix": "/", "methods": listed}));
        parse(&document).unwrap().policy.rules()[0].matcher.methods.join(" ")
    };
    assert_eq!(methods(&["GET", "POST"]), "GET POST HEAD");
    assert_eq!(methods(&["HEAD", "GET"]), "HEAD GET");
    assert_eq!(methods(&["HEAD"]), "HEAD");
    assert_eq!(methods(&["POST"]), "POST");
}

#[test]
fn a_rule_is_for_users_unless_it_says_service() {
    let callers = |allow: Value| {
        let config = parse(&with("/rules/0/allow", allow)).unwrap();
        config.policy.rules()[0].access.demands().unwrap().callers.clone()
    };
    let names = |names: &[&str]| names.iter().map(|name| Box::from(*name)).collect::<Vec<_>>();
    assert_eq!(callers(json!("authenticated")), Callers::Users);
    assert_eq!(callers(json!({"permission": "a"})), Callers::Users);
    assert_eq!(callers(json!({"service": true})), Callers::Services(names(&[])));
    assert_eq!(
        callers(json!({"service": "ticker", "permission": "a"})),
        Callers::Services(names(&["ticker"]))
    );
    let both = json!({"service": ["ticker", "engine"], "user": true});
    assert_eq!(callers(both), Callers::Both(names(&["ticker", "engine"])));
}

#[test]
fn a_public_rule_takes_no_credentials() {
    for (field, value) in [("credentials", json!(["bearer"])), ("forward_token", json!(true))] {
        let mut document = with("/rules/0/allow", json!("anyone"));
        document["rules"][0][field] = value;
        assert!(parse(&document).unwrap_err().starts_with(&format!("rules[0].{field}: ")));
    }
}

#[test]
fn a_claim_takes_no_header_that_somebody_else_has_a_use_for() {
    for name in [
        "x-user-id",
        "X-User-Roles",
        "x-service-name",
        "x-auth-method",
        "x-request-id",
        "Authorization",
        "cookie",
        "host",
        "connection",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "proxy-authorization",
        "content-length",
        "content-type",
        "x-api-key",
        "x-service-token",
        "x-forwarded-for",
        "x-envoy-original-path",
        "sec-websocket-protocol",
        "access-control-allow-origin",
        "grpc-timeout",
        ":path",
        "",
    ] {
        let document = with("/claim_headers", json!([{"name": name, "claim": "name"}]));
        assert!(parse(&document).expect_err(name).starts_with("claim_headers[0].name: "), "{name}");
    }
}

#[test]
fn two_rules_with_one_name_are_refused() {
    let mut document = minimal();
    let again = document["rules"][0].clone();
    document["rules"].as_array_mut().unwrap().push(again);
    assert!(parse(&document).unwrap_err().starts_with("rules[1].name: "));
}

#[test]
fn a_rule_that_can_never_match_is_refused() {
    let read = |first: Value, second: Value| {
        let rule = |name, matcher| json!({"name": name, "match": matcher, "allow": "authenticated"});
        parse(&with("/rules", json!([rule("first", first), rule("second", second)]))).map(|_| ())
    };
    let never = Err("rules[1]: never matches: rules[0] \"first\" comes first".to_owned());
    for (first, second) in [
        (json!({"prefix": "/a"}), json!({"prefix": "/a"})),
        (json!({"prefix": "/a"}), json!({"prefix": "/a/secret"})),
        (json!({"prefix": "/a"}), json!({"path": "/a", "methods": ["GET"]})),
        (json!({"prefix": "/a/"}), json!({"prefix": "/a/secret", "upgrade": "websocket"})),
        (json!({"prefix": "/", "methods": ["GET", "POST"]}), json!({"path": "/a", "methods": ["POST"]})),
        (json!({"prefix": "/", "methods": ["GET"]}), json!({"prefix": "/ws", "upgrade": "websocket"})),
        (json!({"path": "/a/{id}"}), json!({"path": "/a/7"})),
        (json!({"path": "/a/{id}"}), json!({"path": "/a/{name}"})),
        (json!({"prefix": "/{tenant}"}), json!({"path": "/{a}/{b}"})),
        (json!({"prefix": "/"}), json!({"prefix": "/", "host": "a.example"})),
        (
            json!({"prefix": "/", "host": "*.example"}),
            json!({"path": "/a", "host": ["a.example", "b.a.example"]}),
        ),
    ] {
        assert_eq!(read(first.clone(), second.clone()), never, "{first} {second}");
    }
    for (first, second) in [
        (json!({"prefix": "/a/"}), json!({"prefix": "/a"})),
        (json!({"prefix": "/a"}), json!({"prefix": "/ab"})),
        (json!({"path": "/a"}), json!({"prefix": "/a"})),
        (json!({"prefix": "/a", "upgrade": "websocket"}), json!({"prefix": "/a"})),
        (json!({"prefix": "/a", "methods": ["GET"]}), json!({"prefix": "/a/b"})),
        (json!({"prefix": "/a", "methods": ["GET"]}), json!({"path": "/a", "methods": ["GET", "POST"]})),
        (json!({"path": "/a/7"}), json!({"path": "/a/{id}"})),
        (json!({"path": "/a/{id}"}), json!({"prefix": "/a/{id}"})),
        (json!({"prefix": "/", "host": "a.example"}), json!({"prefix": "/"})),
        (
            json!({"prefix": "/", "host": "*.example"}),
            json!({"prefix": "/", "host": ["a.example", "example"]}),
        ),
    ] {
        assert_eq!(read(first.clone(), second.clone()), Ok(()), "{first} {second}");
    }
}
