//! Prints what this crate decides on the Ed25519 corpus, and on the public vectors.
//!
//! A program rather than a test, so that it can run inside a sandbox: `tests/tests/ed25519_in_wasm.rs` holds what it
//! prints there against what is decided outside.

use std::io::Write;

#[path = "../tests/corpus/mod.rs"]
mod corpus;

fn main() -> std::io::Result<()> {
    std::io::stdout().write_all(&corpus::decisions())?;
    std::io::stdout().write_all(&corpus::decisions_on_public_vectors())
}
