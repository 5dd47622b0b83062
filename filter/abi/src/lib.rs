//! The [proxy-wasm ABI](https://github.com/proxy-wasm/spec/tree/main/abi-versions/v0.2.1), as far as the
//! Countersign filter speaks it.
//!
//! Three things are different from the SDK, and all three are for what a request costs. A module has only the
//! callbacks that [`Plugin`] names, because a host calls each one that exists as a stream goes by. No context is kept
//! for a stream: a plugin that wants to remember one does so itself. And what the host hands over is read where it
//! lies, and its memory is used again. Besides, a status that was not expected is an error and not a panic, which
//! would stop every stream of the worker.
//!
//! The host's functions exist in WebAssembly only; the rest is tested natively.
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

#[cfg(target_arch = "wasm32")]
mod context;
pub mod pairs;
mod plugin;
mod status;

#[cfg(all(target_arch = "wasm32", not(feature = "sdk")))]
pub mod host;
#[cfg(not(feature = "sdk"))]
mod memory;
#[cfg(all(target_arch = "wasm32", feature = "sdk"))]
mod sdk;

#[cfg(not(feature = "sdk"))]
pub use memory::Received;
pub use plugin::{Action, Plugin};
#[cfg(all(target_arch = "wasm32", feature = "sdk"))]
pub use sdk::{Received, host};
pub use status::Status;

/// What [`plugin!`] needs; not for use by hand.
#[doc(hidden)]
pub mod export {
    #[cfg(not(feature = "sdk"))]
    pub use crate::memory::lend;
    #[cfg(all(target_arch = "wasm32", feature = "sdk"))]
    pub use crate::sdk::{begin, root};
}
