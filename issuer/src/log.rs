//! Where log lines go: standard error, as text on a terminal and as JSON otherwise. They are written by a thread of
//! their own, and lost rather than waited for when nobody reads them.

use std::io::IsTerminal as _;

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

/// Lines that may wait for a reader; more are lost.
const WAITING: usize = 16 * 1024;

/// Installs the subscriber for the rest of the process; the lines that wait are written when the guard is dropped. The
/// level was checked with the configuration.
pub fn install(log: &Log) -> WorkerGuard {
    let filter = EnvFilter::builder().parse_lossy(&log.level);
    let terminal = std::io::stderr().is_terminal();
    let text = match log.format {
        LogFormat::Auto => terminal,
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    let (lines, guard) =
        NonBlockingBuilder::default().lossy(true).buffered_lines_limit(WAITING).finish(std::io::stderr());
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(lines);
    // A subscriber that is there already, as in a test, stays.
    let _ = if text {
        builder.with_ansi(terminal).with_target(false).try_init()
    } else {
        builder.json().flatten_event(true).with_span_list(false).try_init()
    };
    guard
}
