//! What a request costs in the shipped module, inside wasmtime: `cargo bench -p countersign-tests`. The host's part
//! is in it, and the counting of instructions by which tests end what runs away.

use countersign_claims::AccessClaims;
use countersign_tests::host::{Build, Issuer, Process, Request, Worker, jwks};
use criterion::{Criterion, criterion_group, criterion_main};
use serde_json::json;

fn worker(cache_bytes: usize) -> Worker {
    let config = json!({
        "issuer": "user_service",
        "audiences": ["trading_platform"],
        "keys": {"inline": jwks([&Issuer::new("k1", 1)])},
        "cache": {"max_bytes": cache_bytes},
        "rules": [
            {"name": "public", "match": {"prefix": "/public"}, "allow": "anyone"},
            {"name": "api", "match": {"prefix": "/api/"}, "allow": "authenticated"},
        ],
    });
    Process::alone(Build::Own).worker(&config).expect("a sound configuration")
}

fn requests(c: &mut Criterion) {
    let ada = Issuer::new("k1", 1).token(&AccessClaims { name: None, ..Issuer::claims() });
    let forged = Issuer::new("k1", 2).ada();
    for (name, cache_bytes, request, reason) in [
        ("public", 0, Request::get("/public/x"), "forwarded"),
        ("token known", 1 << 20, Request::get("/api/x").bearer(&ada), "forwarded"),
        ("token new", 0, Request::get("/api/x").bearer(&ada), "forwarded"),
        ("token forged", 1 << 20, Request::get("/api/x").bearer(&forged), "bad_signature"),
        ("token missing", 0, Request::get("/api/x"), "missing_token"),
    ] {
        let mut worker = worker(cache_bytes);
        c.bench_function(name, |b| b.iter(|| assert_eq!(worker.send(&request).reason(), reason)));
    }
}

criterion_group!(benches, requests);
criterion_main!(benches);
