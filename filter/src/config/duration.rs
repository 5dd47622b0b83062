//! Durations as people write them: a whole number and a unit, `30s`.

use std::time::Duration;

use super::InvalidConfig;
use super::json::Node;

/// Reads `200ms`, `30s`, `5m` or `1h`, and holds it to the given bounds.
#[inline(never)]
pub(super) fn read(node: &Node<'_>, least: Duration, most: Duration) -> Result<Duration, InvalidConfig> {
    let duration = parse(node.text()?)
        .ok_or_else(|| node.invalid("is not a duration such as \"200ms\", \"30s\", \"5m\" or \"1h\""))?;
    if duration < least || duration > most {
        let (least, most) = (least.as_millis(), most.as_millis());
        return Err(node.invalid(&format!("must be between {least}ms and {most}ms")));
    }
    Ok(duration)
}

fn parse(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u64 = number.parse().ok()?;
    let seconds = match unit {
        "ms" => return Some(Duration::from_millis(number)),
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return None,
    };
    Some(Duration::from_secs(number.checked_mul(seconds)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_number_and_a_unit_and_nothing_else() {
        assert_eq!(parse("200ms"), Some(Duration::from_millis(200)));
        assert_eq!(parse("0s"), Some(Duration::ZERO));
        assert_eq!(parse("30s"), Some(Duration::from_secs(30)));
        assert_eq!(parse("5m"), Some(Duration::from_secs(300)));
        assert_eq!(parse("1h"), Some(Duration::from_secs(3600)));
        for text in [
            "",
            "s",
            "30",
            "30 s",
            "-1s",
            "+1s",
            "1.5s",
            "1d",
            "1h30m",
            "99999999999999999999s",
            "9999999999999999999h",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
