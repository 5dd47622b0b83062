//! The operator's command. Everything it does is in the library, where tests reach it.

use std::process::ExitCode;

fn main() -> ExitCode {
    countersign_issuer::cli::main()
}
