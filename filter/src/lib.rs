//! The Countersign edge: a proxy-wasm plugin that decides for every request whether Envoy may forward it.
//!
//! Everything but `plugin` is free of the host: plain values in, plain values out, `now` as an argument. The
//! way of a request is `RequestView` → `Target` → `Rule` → `Presented` → `Principal` → `Verdict`. Nothing here
//! may panic on input, because a trap kills every stream of an Envoy worker: the lints below and `clippy.toml`
//! forbid the calls that can, and `tests/tests/wasm_filter/fuzz.rs` looks for what they do not see.
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "a test may panic"))]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable,
        clippy::indexing_slicing,
        clippy::string_slice,
        clippy::arithmetic_side_effects
    )
)]

mod bytes;
pub mod cache;
pub mod config;
pub mod credential;
pub mod edge;
pub mod exchange;
pub mod feed;
#[cfg(target_arch = "wasm32")]
mod plugin;
pub mod policy;
pub mod principal;
pub mod request;
pub mod revoked;
pub mod sync;
pub mod tally;
pub mod verdict;
pub mod websocket;
