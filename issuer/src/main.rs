//! The operator's command. Everything it does is in the library, where tests reach it.

use std::alloc::System;
use std::process::ExitCode;

use zeroizing_alloc::ZeroAlloc;

/// Wipes whatever is freed: passwords and credentials pass through buffers that are not ours to wipe, those of the HTTP
/// library first of all.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> ExitCode {
    countersign_issuer::cli::main()
}
