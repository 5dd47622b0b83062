//! Black-box tests: what they share.

pub mod host;
