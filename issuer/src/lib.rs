//! The Countersign issuer: accounts, login, sessions, tokens and keys.
//!
//! Three floors, and what stands on one knows only those below. On top, what is put together: [`cli`], [`app`],
//! [`router`], and the pages of operators, [`health`] and [`metrics`]. Below, the rooms, one per capability, each with
//! its rules in `mod.rs`, its SQL in `store.rs` and its routes in `http.rs`: [`accounts`], [`login`], [`mfa`], [`limits`],
//! [`sessions`], [`tokens`], [`passwords`], [`verification`], [`mail`], [`trading_accounts`], [`access`], [`api_keys`],
//! [`services`], [`admin`], [`audit`], [`feed`], and the faces that other clients know, [`oauth`] and [`compat`]. Under them
//! the walls: [`web`], [`db`], [`envelope`], [`jobs`], [`secrets`], [`log`], [`config`], and [`ambient`], the one door to time
//! and randomness.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable,
        clippy::indexing_slicing,
        clippy::string_slice
    )
)]

pub mod access;
pub mod accounts;
pub mod admin;
pub mod ambient;
pub mod api_keys;
pub mod app;
pub mod audit;
pub mod cli;
pub mod compat;
pub mod config;
pub mod db;
pub mod envelope;
pub mod feed;
pub mod health;
pub mod jobs;
pub mod limits;
pub mod log;
pub mod login;
pub mod mail;
pub mod metrics;
pub mod mfa;
pub mod oauth;
pub mod passwords;
pub mod router;
pub mod secrets;
pub mod services;
pub mod sessions;
pub mod tokens;
pub mod trading_accounts;
pub mod verification;
pub mod web;
