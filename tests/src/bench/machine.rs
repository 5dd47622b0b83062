//! The machine that all of this runs on.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::sleep;

/// A machine that is busier than this before we begin has other things to do.
const BUSY: f64 = 0.05;
const BUSY_SAMPLE: Duration = Duration::from_secs(2);

/// How busy it is before we begin. Says so if it has other things to do.
pub async fn busy_before() -> Result<f64> {
    let busy = busy_share(BUSY_SAMPLE).await?;
    if busy > BUSY {
        let percent = 100.0 * busy;
        eprintln!(
            "The machine is {percent:.0} % busy with something else: these numbers will prove nothing."
        );
    }
    Ok(busy)
}

/// How much of its processors is in use, from 0 to 1, while we do nothing.
async fn busy_share(sample: Duration) -> Result<f64> {
    let before = ticks()?;
    sleep(sample).await;
    let after = ticks()?;
    let (idle, all) = (after.idle - before.idle, after.all - before.all);
    Ok(if all > 0.0 { 1.0 - idle / all } else { 0.0 })
}

/// What the processor calls itself, if the kernel says.
pub fn processor() -> Option<String> {
    let cpu = fs::read_to_string("/proc/cpuinfo").ok()?;
    let (_, model) = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "))?;
    Some(model.to_owned())
}

/// Time since the machine started, in the kernel's ticks.
#[derive(Debug, PartialEq)]
struct Ticks {
    idle: f64,
    all: f64,
}

fn ticks() -> Result<Ticks> {
    parse_ticks(&fs::read_to_string("/proc/stat")?).context("/proc/stat has no line for all processors")
}

/// `cpu user nice system idle iowait irq …`
fn parse_ticks(stat: &str) -> Option<Ticks> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<f64> = line.split_ascii_whitespace().map_while(|number| number.parse().ok()).collect();
    Some(Ticks { idle: ticks.get(3)? + ticks.get(4)?, all: ticks.iter().sum() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_for_a_disk_is_no_work() {
        let stat = "cpu  10 5 5 60 20 0 0 0 0 0\ncpu0 1 1 1 1 1 0 0 0 0 0\n";
        assert_eq!(parse_ticks(stat), Some(Ticks { idle: 80.0, all: 100.0 }));
    }
}
