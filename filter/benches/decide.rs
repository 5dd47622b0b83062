//! What deciding about a request consists of, natively: `cargo bench -p countersign-filter`. The same inside the
//! sandbox: `cargo bench -p countersign-tests`; inside Envoy: `cargo bench-edge`.

use std::hint::black_box;

use countersign_claims::{AccessClaims, Alg, Audience, Jwk, JwkSet, SigningKey, VerifyingKey, mint};
use countersign_filter::cache::Seeds;
use countersign_filter::config::Config;
use countersign_filter::edge::{Edge, Waiting};
use countersign_filter::policy::path::Target;
use countersign_filter::request::RequestView;
use countersign_filter::verdict::Decision;
use criterion::{Criterion, criterion_group, criterion_main};
use serde_json::json;

const NOW: i64 = 1_800_000_000;
const PATH: &[u8] = b"/api/accounts/42/positions?from=2027-01-01";

/// An edge with one key and one rule, and a token that it accepts.
fn edge(cache_bytes: usize) -> (Edge, String) {
    let key = SigningKey::from_bytes(&[7; 32]);
    let public = VerifyingKey::from_bytes(key.verifying_key().as_bytes()).unwrap();
    let config = json!({
        "issuer": "user_service",
        "audiences": ["trading_platform"],
        "keys": {"inline": JwkSet { keys: vec![Jwk::ed25519("k1", &public, Alg::EdDsa)] }},
        "cache": {"max_bytes": cache_bytes},
        "rules": [{"name": "api", "match": {"prefix": "/api/"}, "allow": "authenticated"}],
    });
    let claims = AccessClaims {
        iss: "user_service".into(),
        aud: Audience::One("trading_platform".into()),
        sub: "0195f2c4-7a31-7c3e-9b1d-000000000001".into(),
        exp: NOW + 900,
        nbf: None,
        iat: Some(NOW),
        jti: Some("t-1".into()),
        client_id: Some("first-party".into()),
        session_id: Some("0195f2c4-7a31-7c3e-9b1d-000000000002".into()),
        credential_id: None,
        email: Some("ada@example.com".into()),
        name: Some("Ada".into()),
        roles: vec!["user".into(), "trader".into()],
        scope: Some("alerts:read alerts:write".into()),
        amr: vec!["pwd".into()],
        auth_time: Some(NOW),
    };
    let config = Config::parse(config.to_string().as_bytes()).unwrap();
    (Edge::new(config, Seeds([1, 2])), mint("k1", &claims, &key, Alg::EdDsa).unwrap())
}

fn view<'r>(authorization: &'r str) -> RequestView<'r> {
    let mut view = RequestView::default();
    for (name, value) in [
        (":authority", "edge.example".as_bytes()),
        (":path", PATH),
        (":method", b"GET"),
        (":scheme", b"https"),
        ("accept", b"application/json"),
        ("accept-encoding", b"gzip, br"),
        ("accept-language", b"en"),
        ("authorization", authorization.as_bytes()),
        ("user-agent", b"bench/1.0 (load)"),
        ("x-forwarded-proto", b"https"),
        ("x-request-id", b"0195f2c4-7a31-7c3e-9b1d-000000000003"),
    ] {
        view.add(name.as_bytes(), value);
    }
    view
}

fn decide(c: &mut Criterion) {
    c.bench_function("path", |b| b.iter(|| Target::parse(black_box(PATH)).is_ok()));
    let authorization = format!("Bearer {}", edge(0).1);
    c.bench_function("headers", |b| b.iter(|| view(black_box(&authorization)).is_websocket()));

    let request = view(&authorization);
    for (name, cache_bytes) in [("request/token known", 1 << 20), ("request/token new", 0)] {
        let (mut edge, _) = edge(cache_bytes);
        c.bench_function(name, |b| {
            b.iter(|| {
                let verdict = edge.judge(black_box(&request), Waiting::Allowed, || NOW);
                assert_eq!(verdict.decision, Decision::Admitted);
            });
        });
    }
}

criterion_group!(benches, decide);
criterion_main!(benches);
