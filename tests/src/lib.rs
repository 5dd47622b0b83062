//! Black-box tests and benchmarks: what they share.

pub mod bench;
pub mod host;
