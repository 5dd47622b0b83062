//! Where log lines go: standard error, as text on a terminal and as JSON otherwise. They are written by a thread of
//! their own, and lost rather than waited for when nobody reads them.

use std::io::IsTerminal as _;

use tracing::{Level, Metadata};
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

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
        builder.with_ansi(terminal).with_target(false).finish().with(filter_fn(tells_no_secret)).try_init()
    } else {
        let builder = builder.json().flatten_event(true).with_span_list(false);
        builder.finish().with(filter_fn(tells_no_secret)).try_init()
    };
    guard
}

/// The SDK of AWS shows the bodies of its requests at its finest level: to KMS, those have data keys in them.
fn tells_no_secret(metadata: &Metadata<'_>) -> bool {
    !(metadata.target().starts_with("aws_") && *metadata.level() == Level::TRACE)
}
