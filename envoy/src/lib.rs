//! The Countersign stack: what `cargo up` and `cargo ci` run.
//!
//! It provides the tools ([`tools`]), builds what we ship ([`artifacts`]), starts the platform as real processes
//! ([`stack`]) and walks through it as people would ([`tour`]). It decides nothing about a token.

pub mod artifacts;
pub mod authenticator;
pub mod ci;
pub mod postgres;
pub mod process;
pub mod stack;
pub mod standin;
pub mod tools;
pub mod tour;
pub mod up;
