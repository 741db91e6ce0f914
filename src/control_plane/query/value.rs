//! Literals: checked here, before any SQL, so that both stores say the same about them.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use uuid::Uuid;

use super::sql::Arg;
use crate::control_plane::problem::{Problem, shorten};
use crate::control_plane::registry::{Check, Column, ColumnType, Fill, Table};
use crate::domain::clock;

/// The stored form of an instant: sorts, compares and prints alike in both stores.
#[must_use]
pub fn stored_time(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC)
        .strftime("%Y-%m-%dT%H:%M:%S%.6f+00:00")
        .to_string()
}

/// Now, in the stored form.
#[must_use]
pub fn stored_now() -> String {
    stored_time(clock::now())
}

/// Reads a literal of the query string, or a JSON text, for a column of that type.
///
/// # Errors
/// 22P02 and its relatives.
pub fn literal(kind: ColumnType, text: &str) -> Result<Arg, Problem> {
    if text.contains('\0') {
        return Err(Problem::new(
            "22021",
            "invalid byte sequence for encoding \"UTF8\": 0x00",
        ));
    }
    match kind {
        ColumnType::Text | ColumnType::Jsonb => Ok(Arg::Text(text.to_owned())),
        ColumnType::Uuid => match Uuid::try_parse(text) {
            Ok(id) => Ok(Arg::Text(id.hyphenated().to_string())),
            Err(_) => Err(Problem::bad_literal("uuid", text)),
        },
        ColumnType::Int8 => integer(text),
        ColumnType::Bool => truth(text),
        ColumnType::Timestamptz => instant(text),
    }
}

fn integer(text: &str) -> Result<Arg, Problem> {
    let trimmed = text.trim();
    if let Ok(number) = trimmed.parse() {
        return Ok(Arg::Int(number));
    }
    let digits = trimmed.strip_prefix(['-', '+']).unwrap_or(trimmed);
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        let message = format!("value \"{}\" is out of range for type bigint", shorten(text));
        return Err(Problem::new("22003", message));
    }
    Err(Problem::bad_literal("bigint", text))
}

fn truth(text: &str) -> Result<Arg, Problem> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "t" | "yes" | "on" | "1" => Ok(Arg::Bool(true)),
        "false" | "f" | "no" | "off" | "0" => Ok(Arg::Bool(false)),
        _ => Err(Problem::bad_literal("boolean", text)),
    }
}

/// RFC 3339 with a `T` or a blank; a time without an offset is UTC, as the session's time zone is.
fn instant(text: &str) -> Result<Arg, Problem> {
    let trimmed = text.trim();
    let parsed = trimmed
        .parse::<Timestamp>()
        .ok()
        .or_else(|| {
            let civil = trimmed.parse::<jiff::civil::DateTime>().ok()?;
            Some(civil.to_zoned(TimeZone::UTC).ok()?.timestamp())
        })
        .and_then(|at| at.round(jiff::Unit::Microsecond).ok())
        .filter(|at| at.to_zoned(TimeZone::UTC).year() >= 1);
    match parsed {
        Some(at) => Ok(Arg::Text(stored_time(at))),
        None => Err(Problem::new(
            "22007",
            format!(
                "invalid input syntax for type timestamp with time zone: \"{}\"",
                shorten(text)
            ),
        )),
    }
}

/// The value of a column that an insert did not name.
#[must_use]
pub fn filled(column: &Column, now: &str) -> Arg {
    match column.fill {
        Fill::Nothing => Arg::Null,
        Fill::NewUuid => Arg::Text(Uuid::new_v4().hyphenated().to_string()),
        Fill::Now => Arg::Text(now.to_owned()),
        Fill::Literal(text) => literal(column.kind, text).unwrap_or(Arg::Null),
    }
}

/// NOT NULL and CHECK of one value.
///
/// # Errors
/// 23502, 23514.
pub fn check(table: &Table, column: &Column, arg: &Arg) -> Result<(), Problem> {
    let text = match arg {
        Arg::Null if column.nullable => return Ok(()),
        Arg::Null => {
            let message = format!(
                "null value in column \"{}\" of relation \"{}\" violates not-null constraint",
                column.name, table.name
            );
            return Err(Problem::new("23502", message));
        }
        Arg::Text(text) => text,
        Arg::Int(_) | Arg::Bool(_) => return Ok(()),
    };
    let fine = match column.check {
        Check::Any => true,
        Check::OneOf(allowed) => allowed.contains(&text.as_str()),
        Check::JsonObject => text.trim_start().starts_with('{'),
    };
    if fine {
        return Ok(());
    }
    let message = format!(
        "new row for relation \"{0}\" violates check constraint \"{0}_{1}_check\"",
        table.name, column.name
    );
    Err(Problem::new("23514", message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_normalised() {
        let cases = [
            ("2026-11-21T01:08:28.234Z", "2026-11-21T01:08:28.234000+00:00"),
            ("2026-11-21 01:08:28+02:00", "2026-11-20T23:08:28.000000+00:00"),
            ("2026-11-21T01:08:28.2336714", "2026-11-21T01:08:28.233671+00:00"),
            ("2026-11-21", "2026-11-21T00:00:00.000000+00:00"),
        ];
        for (given, wanted) in cases {
            assert_eq!(
                literal(ColumnType::Timestamptz, given),
                Ok(Arg::Text(wanted.to_owned())),
                "{given}"
            );
        }
        assert_eq!(literal(ColumnType::Timestamptz, "soon").unwrap_err().code, "22007");
    }

    #[test]
    fn literals_are_checked() {
        let code = |kind, text| literal(kind, text).unwrap_err().code;
        assert_eq!(code(ColumnType::Uuid, "x"), "22P02");
        assert_eq!(code(ColumnType::Int8, "1.5"), "22P02");
        assert_eq!(code(ColumnType::Int8, "9223372036854775808"), "22003");
        assert_eq!(code(ColumnType::Bool, "maybe"), "22P02");
        assert_eq!(code(ColumnType::Text, "a\0b"), "22021");
        let upper = literal(ColumnType::Uuid, "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11").unwrap();
        assert_eq!(upper, Arg::Text("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11".to_owned()));
    }
}
