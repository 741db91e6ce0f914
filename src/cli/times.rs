//! Times as people read them: to the second, or how long ago. Programs get them whole.

use jiff::Timestamp;

use crate::domain::clock::wire_time;

/// `2026-11-21T07:06:07Z`.
pub(crate) fn second(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The same for a text of any clock; a text that is no time stays as it is.
pub(crate) fn to_the_second(time: &str) -> String {
    time.parse().map_or_else(|_text| time.to_owned(), second)
}

/// With milliseconds, for steps that follow each other fast.
pub(crate) fn to_the_millisecond(time: &str) -> String {
    time.parse().map_or_else(|_text| time.to_owned(), wire_time)
}

/// `3m ago`, `in 5h`, `now`: the largest unit is enough in a list.
pub(crate) fn relative(time: &str, now: Timestamp) -> String {
    let Ok(at) = time.parse::<Timestamp>() else {
        return time.to_owned();
    };
    let seconds = now.duration_since(at).as_secs();
    let length = match seconds.unsigned_abs() {
        0 => return "now".to_owned(),
        seconds @ ..60 => format!("{seconds}s"),
        seconds @ ..3600 => format!("{}m", seconds / 60),
        seconds @ ..86400 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86400),
    };
    if seconds < 0 {
        format!("in {length}")
    } else {
        format!("{length} ago")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_enough_for_people() {
        assert_eq!(to_the_second("2026-11-21T07:08:28.847165961Z"), "2026-11-21T07:08:28Z");
        assert_eq!(
            to_the_millisecond("2026-11-21T08:08:28.8479+01:00"),
            "2026-11-21T07:08:28.847Z"
        );
        assert_eq!(to_the_second("soon"), "soon");
    }

    #[test]
    fn a_list_says_how_long_ago() {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        let shown = |time: &str| relative(time, now);
        assert_eq!(shown("2026-11-21T11:59:59.5Z"), "now");
        assert_eq!(shown("2026-11-21T11:59:18Z"), "42s ago");
        assert_eq!(shown("2026-11-21T11:01:00Z"), "59m ago");
        assert_eq!(shown("2026-11-20T11:59:00Z"), "1d ago");
        assert_eq!(shown("2026-11-21T14:00:01Z"), "in 2h");
        assert_eq!(shown("-"), "-");
    }
}
