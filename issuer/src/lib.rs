//! The Countersign issuer: accounts, login, sessions, tokens and keys.
//!
//! Walls: [`config`], [`db`], [`http`], [`cli`], [`log`]. Rooms, one per capability, each with its rules in
//! `mod.rs` (no I/O), its SQL in `store.rs` and its routes in `http.rs`: [`accounts`], [`login`], [`sessions`],
//! [`tokens`], [`passwords`], [`access`]. Time and randomness come from [`ambient`] and nowhere else.
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
pub mod ambient;
pub mod app;
pub mod cli;
pub mod config;
pub mod db;
pub mod http;
pub mod log;
pub mod login;
pub mod passwords;
pub mod sessions;
pub mod tokens;
