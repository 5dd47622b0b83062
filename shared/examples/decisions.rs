//! Prints what this crate decides on the Ed25519 corpus, a character a case: `a` accepted, `r` refused, `!` where
//! the plain equation and the table disagree.
//!
//! A program rather than a test, so that it can run inside a sandbox too: `tests/tests/ed25519_in_wasm.rs`
//! holds the two against each other.

use std::io::Write;

#[path = "../tests/corpus/mod.rs"]
mod corpus;

fn main() -> std::io::Result<()> {
    let mut ours = corpus::BothWays::default();
    let decisions = (0..corpus::count(3_000)).map(|number| match ours.decide(number) {
        (plain, by_table) if by_table.unwrap_or(plain) != plain => b'!',
        (true, _) => b'a',
        (false, _) => b'r',
    });
    std::io::stdout().write_all(&decisions.collect::<Vec<_>>())
}
