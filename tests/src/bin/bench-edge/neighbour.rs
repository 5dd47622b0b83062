//! A process beside Envoy that wants the memory, too, as on a machine that has other things to do.

use std::hint::black_box;
use std::path::Path;

use anyhow::{Context, Result};
use countersign_stack::process::{self, Service};
use countersign_tests::bench::edge::{self, Processor};

/// More than the caches of any processor hold.
const BYTES: usize = 256 << 20;
const CACHE_LINE: usize = 64;

/// The hidden argument with which this program is the neighbour.
pub(crate) const ARGUMENT: &str = "--sweep";

/// Reads and writes one word of every cache line, over and over, until the process is ended.
pub(crate) fn sweep() -> ! {
    let mut memory = vec![0_u64; BYTES / size_of::<u64>()];
    loop {
        for word in memory.iter_mut().step_by(CACHE_LINE / size_of::<u64>()) {
            *word = word.wrapping_add(1);
        }
        black_box(&mut memory);
    }
}

/// Starts the neighbour on the processor of the load: it is to take memory from Envoy, and no time.
pub(crate) fn start(folder: &Path) -> Result<Service> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut command = process::command(Path::new("/usr/bin/env"));
    command.args(edge::pinned(Processor::Only(0))).arg(program).arg(ARGUMENT);
    Service::start("neighbour", &mut command, folder, false)
}
