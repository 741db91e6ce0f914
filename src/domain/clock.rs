//! Wall-clock time, ours and the server's. Deadlines never use it: they run on the monotonic clock.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Serializer;

/// Now by this machine's wall clock, in UTC.
#[must_use]
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// The wire form of an instant: UTC, RFC 3339, milliseconds, `Z` (`2026-11-21T01:08:28.234Z`).
#[must_use]
pub fn wire_time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// A duration as the wire counts: whole milliseconds.
#[must_use]
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Writes an instant in the wire form.
///
/// # Errors
/// The serializer's own.
pub fn serialize<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&wire_time(*at))
}

/// The same for an instant that may be missing.
///
/// # Errors
/// The serializer's own.
#[expect(clippy::ref_option, reason = "serde hands the field over by reference")]
pub fn serialize_some<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => serialize(at, serializer),
        None => serializer.serialize_none(),
    }
}

/// How far the server's clock is ahead of ours, learnt from the `Date` header of its answers.
///
/// Freshness rules compare server-written times with server time, so that a wrong host clock
/// never refuses work. `Date` has whole seconds: the estimate is good to about one second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ServerOffset(SignedDuration);

impl ServerOffset {
    /// Learns the offset from a server time and our time at the moment the answer arrived.
    #[must_use]
    pub fn observe(server: Timestamp, local: Timestamp) -> Self {
        Self(server.duration_since(local))
    }

    /// The server's time at our local time `local`.
    #[must_use]
    pub fn server_time(self, local: Timestamp) -> Timestamp {
        local.saturating_add(self.0).unwrap_or(local)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wire_time_has_milliseconds_and_z() {
        let at: Timestamp = "2026-11-21T01:08:28.2345Z".parse().unwrap();
        assert_eq!(wire_time(at), "2026-11-21T01:08:28.234Z");
    }

    #[test]
    fn server_time_follows_the_observed_offset() {
        let local: Timestamp = "2026-01-01T00:05:00Z".parse().unwrap();
        let server: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(ServerOffset::observe(server, local).server_time(local), server);
    }
}
