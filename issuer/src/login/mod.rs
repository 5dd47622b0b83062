//! Proving who one is with e-mail and password. An unknown address must cost and answer the same as a wrong
//! password.

mod attempt;
pub mod http;
mod metrics;

pub use attempt::{Attempt, attempt};
pub use metrics::Metrics;
