//! The shipped module, through the host's front door: what a request, a configuration and a key set do.

mod api_keys;
mod builds;
mod cache;
mod config;
mod credentials;
mod fuzz;
mod growth;
mod identity;
mod key_callers;
mod key_outages;
mod keys;
mod metrics;
mod module;
mod observed;
mod requests;
mod revocations;
mod rules;
mod services;
mod signatures;
mod sources;
mod streams;

#[path = "../../../shared/tests/corpus/mod.rs"]
mod corpus;

use countersign_tests::host::{Issuer, Process, Worker, jwks};
use serde_json::{Value, json};

/// The issuer whose key is in [`edge_config`].
fn issuer() -> Issuer {
    Issuer::new("k1", 1)
}

fn rules() -> Value {
    json!([
        {"name": "public", "match": {"prefix": "/public"}, "allow": "anyone"},
        {"name": "quotes", "match": {"prefix": "/ws/", "upgrade": "websocket"},
         "credentials": ["bearer", "query:token", "subprotocol"], "allow": "authenticated"},
        {"name": "plain-ws", "match": {"prefix": "/plain-ws/", "upgrade": "websocket"}, "allow": "authenticated"},
        {"name": "api", "match": {"prefix": "/api/"}, "allow": "authenticated"},
        {"name": "files", "match": {"prefix": "/files/"}, "credentials": ["bearer", "query:token"],
         "allow": "authenticated"},
        {"name": "alerts", "match": {"prefix": "/alerts", "methods": ["GET", "POST"]},
         "allow": {"permission": ["alerts:read", "alerts:write"]}},
        {"name": "admin", "match": {"prefix": "/admin"}, "allow": {"role": ["admin", "support"]}},
        {"name": "watched", "match": {"prefix": "/watched"}, "credentials": ["bearer", "query:token"],
         "allow": {"permission": "nobody:has"}, "mode": "observe"},
        {"name": "strong", "match": {"prefix": "/strong"}, "allow": {"amr": "otp"}},
        {"name": "recent", "match": {"prefix": "/recent"}, "allow": {"max_age": "60s"}},
    ])
}

/// A configuration with the key of [`issuer`] in it.
fn edge_config() -> Value {
    json!({
        "issuer": "user_service",
        "audiences": ["trading_platform"],
        "clock_skew": "0s",
        "keys": {"inline": jwks([&issuer()])},
        "rules": rules(),
    })
}

/// One worker with [`edge_config`].
fn edge() -> Worker {
    worker(&edge_config())
}

fn worker(config: &Value) -> Worker {
    Process::new().worker(config).expect("a sound configuration")
}
