//! Durations as people write them: `30`, `1.5s`, `2m`, `500ms`, `1h`.

use std::time::Duration;

pub(crate) use crate::domain::clock::millis;

/// Longest duration accepted, so that no deadline overflows: a day.
pub(crate) const LONGEST: Duration = Duration::from_hours(24);

/// Reads a duration; a bare number is seconds.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let scale = match unit.trim() {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("`{text}` is no duration; write 30, 1.5s, 2m, 500ms or 1h")),
    };
    let number: f64 = number
        .parse()
        .map_err(|_no_number| format!("`{text}` is no duration; write 30, 1.5s, 2m, 500ms or 1h"))?;
    let duration = Duration::try_from_secs_f64(number * scale).map_err(|error| error.to_string())?;
    if duration > LONGEST {
        return Err(format!("`{text}` is longer than a day"));
    }
    Ok(duration)
}

/// `3h 4m`, `4m` or `5s`; days are folded into hours.
pub(crate) fn uptime(seconds: u64) -> String {
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, minutes) => format!("{minutes}m"),
        (hours, minutes) => format!("{hours}h {minutes}m"),
    }
}

/// `7ms` below one second, else `1.2s`.
pub(crate) fn brief(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        format!("{}ms", duration.as_millis())
    } else {
        format!("{:.1}s", duration.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_refused() {
        assert_eq!(parse("30").unwrap(), Duration::from_secs(30));
        assert_eq!(parse("1.5s").unwrap(), Duration::from_millis(1500));
        assert_eq!(parse("2m").unwrap(), Duration::from_mins(2));
        assert_eq!(parse("500ms").unwrap(), Duration::from_millis(500));
        for bad in ["", "x", "-1", "1d", "25h", "1.2.3"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn uptime_folds_days_into_hours() {
        assert_eq!(uptime(59), "59s");
        assert_eq!(uptime(61), "1m");
        assert_eq!(uptime(90_061), "25h 1m");
    }
}
