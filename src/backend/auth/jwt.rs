//! How long an access token lives, read without verifying it: it is ours, and only the server's opinion counts.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::Deserialize;

/// Longest time before its end at which a token is refreshed.
const MARGIN: Duration = Duration::from_secs(90);

/// Life of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) struct Life {
    exp: i64,
    #[serde(default)]
    iat: Option<i64>,
}

impl Life {
    /// Reads the claims; `None` for a token that is no JWT or has no end.
    pub(super) fn of(token: &str) -> Option<Self> {
        let claims = token.split('.').nth(1)?;
        let json = URL_SAFE_NO_PAD.decode(claims.trim_end_matches('=')).ok()?;
        serde_json::from_slice(&json).ok()
    }

    /// Whether it is time to refresh: 90 s before the end, for short tokens a third of their life.
    pub(super) fn is_due(self, now: Timestamp) -> bool {
        let whole = self.iat.map_or(i64::MAX, |iat| self.exp.saturating_sub(iat).max(0));
        let margin = i64::try_from(MARGIN.as_secs()).unwrap_or(i64::MAX).min(whole / 3);
        self.left(now) < margin
    }

    /// Whether it is over.
    pub(super) fn is_over(self, now: Timestamp) -> bool {
        self.left(now) <= 0
    }

    fn left(self, now: Timestamp) -> i64 {
        self.exp.saturating_sub(now.as_second())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(claims: &str) -> String {
        format!("h.{}.s", URL_SAFE_NO_PAD.encode(claims))
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn due_ninety_seconds_before_the_end() {
        let life = Life::of(&token(r#"{"exp":4600,"iat":1000}"#)).unwrap();
        assert!(!life.is_due(at(4510)));
        assert!(life.is_due(at(4511)));
        assert!(!life.is_over(at(4599)));
        assert!(life.is_over(at(4600)));
    }

    #[test]
    fn a_short_token_is_not_due_at_birth() {
        let life = Life::of(&token(r#"{"exp":1060,"iat":1000}"#)).unwrap();
        assert!(!life.is_due(at(1000)));
        assert!(life.is_due(at(1041)));
    }

    #[test]
    fn opaque_tokens_have_no_life() {
        assert_eq!(Life::of("gwop_abc"), None);
        assert_eq!(Life::of(&token("{}")), None);
    }
}
