//! Why a statement was refused: a PostgREST code or an SQLSTATE, with PostgREST's words and status.

use crate::domain::text::cut;
use crate::wire::problem::RestProblem;

/// A refusal, as it goes into the answer's body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Problem {
    /// SQLSTATE or `PGRSTnnn`.
    pub code: String,
    /// One sentence.
    pub message: String,
    /// More, if there is more.
    pub details: Option<String>,
    /// What to do, if that is known.
    pub hint: Option<String>,
}

impl Problem {
    /// A problem of a code and a sentence.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
            details: None,
            hint: None,
        }
    }

    /// The same, with details.
    #[must_use]
    pub fn details(mut self, details: impl Into<String>) -> Self {
        self.details = Some(details.into());
        self
    }

    /// The same, with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// A part of PostgREST that this server does not have.
    #[must_use]
    pub fn unsupported(feature: &str) -> Self {
        Self::new("PGRST127", format!("Feature not implemented: {feature}"))
    }

    /// The query string makes no sense.
    #[must_use]
    pub fn unparsable(what: &str, text: &str) -> Self {
        Self::new("PGRST100", format!("failed to parse {what} ({})", shorten(text)))
    }

    /// The caller's role may not do that.
    #[must_use]
    pub fn forbidden(table: &str) -> Self {
        Self::new("42501", format!("permission denied for table {table}"))
    }

    /// The row would not be the caller's.
    #[must_use]
    pub fn foreign_row(table: &str) -> Self {
        Self::new(
            "42501",
            format!("new row violates row-level security policy for table \"{table}\""),
        )
    }

    /// A literal is not of the column's type.
    #[must_use]
    pub fn bad_literal(kind: &str, text: &str) -> Self {
        Self::new(
            "22P02",
            format!("invalid input syntax for type {kind}: \"{}\"", shorten(text)),
        )
    }

    /// The HTTP status that goes with the code.
    #[must_use]
    pub fn status(&self, anonymous: bool) -> u16 {
        match self.code.as_str() {
            "23505" | "23503" => 409,
            "42501" if anonymous => 401,
            "42501" => 403,
            "42P01" | "42883" | "PGRST202" | "PGRST205" | "PGRST125" => 404,
            "PGRST103" => 416,
            "PGRST106" | "PGRST107" | "PGRST116" => 406,
            "PGRST117" => 405,
            "PGRST301" | "PGRST302" | "PGRST303" => 401,
            "57P01" => 503,
            "25006" => 405,
            "54000" => 413,
            code if code.starts_with("PGRST") => 400,
            code => by_class(code),
        }
    }

    /// The body of the answer.
    #[must_use]
    pub fn body(&self) -> RestProblem {
        RestProblem {
            code: self.code.clone(),
            details: self.details.clone(),
            hint: self.hint.clone(),
            message: self.message.clone(),
        }
    }
}

fn by_class(code: &str) -> u16 {
    match code.get(..2) {
        Some("08" | "53") => 503,
        Some("22" | "23" | "42" | "P0") => 400,
        Some("40" | "55" | "57" | "58" | "XX") | Some(_) | None => 500,
    }
}

/// Client text in messages is cut: it may be megabytes.
pub(crate) fn shorten(text: &str) -> String {
    const LONGEST: usize = 200;
    cut(text, LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_become_the_documented_statuses() {
        let status = |code: &str| Problem::new(code, "").status(false);
        let expected = [
            ("23505", 409),
            ("23503", 409),
            ("42501", 403),
            ("42P01", 404),
            ("42883", 404),
            ("PGRST202", 404),
            ("PGRST205", 404),
            ("42703", 400),
            ("22P02", 400),
            ("23502", 400),
            ("23514", 400),
            ("P0001", 400),
            ("PGRST204", 400),
            ("08006", 503),
            ("53300", 503),
            ("57P01", 503),
            ("57014", 500),
            ("PGRST103", 416),
            ("PGRST116", 406),
            ("PGRST127", 400),
            ("PGRST303", 401),
        ];
        for (code, wanted) in expected {
            assert_eq!(status(code), wanted, "{code}");
        }
        assert_eq!(Problem::forbidden("t").status(true), 401);
    }
}
