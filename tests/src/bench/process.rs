//! What the kernel tells of a process: a number, or `self`.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// The time that all its threads have spent on a processor, as the scheduler counts it.
pub fn cpu_time(process: &str) -> Result<Duration> {
    let mut total = Duration::ZERO;
    for task in fs::read_dir(format!("/proc/{process}/task"))? {
        // A thread may end meanwhile.
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
        total += parse_schedstat(&text).with_context(|| format!("schedstat of {process}"))?;
    }
    Ok(total)
}

/// Resident memory in bytes.
pub fn resident_bytes(process: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    parse_resident(&status).context("the kernel tells no VmRSS")
}

/// Nanoseconds on a processor are the first of three numbers.
fn parse_schedstat(text: &str) -> Option<Duration> {
    text.split_ascii_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

fn parse_resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kernel_tells() {
        assert_eq!(parse_schedstat("32085329 3196857 122\n"), Some(Duration::from_nanos(32_085_329)));
        assert_eq!(parse_resident("Name:\tenvoy\nVmRSS:\t   1024 kB\n"), Some(1 << 20));
    }
}
