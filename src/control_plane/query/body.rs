//! JSON bodies into arguments. A JSON column keeps the text it came in: no tree is built of it.

use serde_json::value::RawValue;

use super::sql::Arg;
use super::value;
use crate::control_plane::problem::Problem;
use crate::control_plane::registry::{Column, ColumnType};

/// One object of a body, its members in order, their values untouched.
pub type Members<'a> = Vec<(String, &'a RawValue)>;

/// A body: one object or a list of them.
#[derive(Debug)]
pub enum Body<'a> {
    /// `{...}`
    One(Members<'a>),
    /// `[{...}, ...]`
    Many(Vec<Members<'a>>),
}

/// Most objects in one body.
const MOST_ROWS: usize = 1000;
/// Most members of one object: no table has as many columns.
const MOST_MEMBERS: usize = 100;

/// Splits a body into its members.
///
/// # Errors
/// PGRST102 when it is no object and no list of objects.
pub fn split(text: &[u8]) -> Result<Body<'_>, Problem> {
    let invalid = || Problem::new("PGRST102", "Empty or invalid json");
    let first = text.iter().find(|byte| !byte.is_ascii_whitespace());
    if first == Some(&b'[') {
        let rows: Vec<&RawValue> = serde_json::from_slice(text).map_err(|_problem| invalid())?;
        if rows.len() > MOST_ROWS {
            let message = format!("{} rows in one request, at most {MOST_ROWS} are taken", rows.len());
            return Err(Problem::new("54000", message));
        }
        let rows = rows
            .into_iter()
            .map(|row| members(row.get().as_bytes()))
            .collect::<Option<_>>();
        return rows.map(Body::Many).ok_or_else(invalid);
    }
    members(text).map(Body::One).ok_or_else(invalid)
}

fn members(text: &[u8]) -> Option<Members<'_>> {
    let map: Ordered<'_> = serde_json::from_slice(text).ok()?;
    Some(map.0)
}

/// A JSON object as a list; a repeated name wins by being last, as in jsonb.
struct Ordered<'a>(Members<'a>);

struct Visitor;
impl<'de> serde::de::Visitor<'de> for Visitor {
    type Value = Ordered<'de>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members: Members<'de> = Vec::new();
        while let Some((name, value)) = map.next_entry::<String, &'de RawValue>()? {
            if members.len() == MOST_MEMBERS {
                return Err(serde::de::Error::custom("too many members"));
            }
            members.retain(|(known, _)| *known != name);
            members.push((name, value));
        }
        Ok(Ordered(members))
    }
}

impl<'de> serde::Deserialize<'de> for Ordered<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Visitor)
    }
}

/// The argument for one member.
///
/// # Errors
/// 22P02 and its relatives when the value is not of the column's type; 22P05 for a NUL character.
pub fn argument(column: &Column, raw: &RawValue) -> Result<Arg, Problem> {
    let text = raw.get();
    if text == "null" {
        return Ok(Arg::Null);
    }
    if column.kind == ColumnType::Jsonb {
        storable(text)?;
        return Ok(Arg::Text(text.to_owned()));
    }
    if !text.starts_with('"') {
        return value::literal(column.kind, text);
    }
    match serde_json::from_str::<String>(text) {
        Ok(text) if column.kind == ColumnType::Text && !text.contains('\0') => Ok(Arg::Text(text)),
        Ok(text) if text.contains('\0') => Err(unstorable()),
        Ok(text) => value::literal(column.kind, &text),
        Err(_) => Err(lone_surrogate()),
    }
}

fn unstorable() -> Problem {
    Problem::new("22P05", "unsupported Unicode escape sequence").details("\\u0000 cannot be converted to text.")
}

fn lone_surrogate() -> Problem {
    Problem::new("22P02", "invalid input syntax for type json")
        .details("Unicode high surrogate must not follow a high surrogate, or a low one stand alone.")
}

/// What PostgreSQL's jsonb refuses, refused for both stores: `\u0000` and halves of surrogate pairs.
fn storable(text: &str) -> Result<(), Problem> {
    let bytes = text.as_bytes();
    let mut at = 0;
    let mut high = None;
    while let Some(offset) = bytes
        .get(at..)
        .and_then(|rest| rest.iter().position(|byte| *byte == b'\\'))
    {
        let escape = at + offset;
        let unit = (bytes.get(escape + 1) == Some(&b'u'))
            .then(|| text.get(escape + 2..escape + 6))
            .flatten()
            .and_then(|hex| u16::from_str_radix(hex, 16).ok());
        let follows = high == Some(escape);
        match unit {
            Some(0) => return Err(unstorable()),
            Some(0xDC00..=0xDFFF) if follows => high = None,
            Some(0xDC00..=0xDFFF) => return Err(lone_surrogate()),
            Some(_) | None if high.is_some() => return Err(lone_surrogate()),
            Some(0xD800..=0xDBFF) => high = Some(escape + 6),
            Some(_) | None => {}
        }
        at = escape + if unit.is_some() { 6 } else { 2 };
    }
    high.map_or(Ok(()), |_| Err(lone_surrogate()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control_plane::registry::GATEWAY_JOBS;

    fn arg(column: &str, json: &str) -> Result<Arg, String> {
        let raw = serde_json::from_str(json).map_err(|error| error.to_string())?;
        let column = GATEWAY_JOBS.column(column).ok_or("no such column")?;
        argument(column, raw).map_err(|problem| problem.code)
    }

    #[test]
    fn json_keeps_its_text_and_is_checked_for_what_no_store_takes() {
        assert_eq!(
            arg("result", r#"{"b":1,  "a":1.0}"#),
            Ok(Arg::Text(r#"{"b":1,  "a":1.0}"#.into()))
        );
        for bad in [r#"{"a":"\u0000"}"#, r#"{"a":"\\\u0000"}"#] {
            assert_eq!(arg("result", bad), Err("22P05".into()), "{bad}");
        }
        for bad in [
            r#"["\ud800"]"#,
            r#"["\ud800x\udc00"]"#,
            r#"["\udc00"]"#,
            r#"["\ud800\n"]"#,
            r#"["\ud800\ud800"]"#,
        ] {
            assert_eq!(arg("result", bad), Err("22P02".into()), "{bad}");
        }
        for good in [
            r#"["\ud83d\ude00"]"#,
            r#"["\\u0000"]"#,
            r#"["\\ud800"]"#,
            r#"["\u0041\n"]"#,
        ] {
            assert!(arg("result", good).is_ok(), "{good}");
        }
    }

    #[test]
    fn plain_columns_take_strings_and_scalars() {
        assert_eq!(arg("error", r#""a\nb""#), Ok(Arg::Text("a\nb".into())));
        assert_eq!(arg("error", r#""\u0000""#), Err("22P05".into()));
        assert_eq!(arg("error", "12"), Ok(Arg::Text("12".into())));
        assert_eq!(arg("attempt", "3"), Ok(Arg::Int(3)));
        assert_eq!(arg("attempt", "\"3\""), Ok(Arg::Int(3)));
        assert_eq!(arg("attempt", "{}"), Err("22P02".into()));
        assert_eq!(arg("id", "null"), Ok(Arg::Null));
    }

    #[test]
    fn bodies_are_split() {
        assert!(matches!(split(b" {\"a\":1,\"a\":2}"), Ok(Body::One(members)) if members.len() == 1));
        assert!(matches!(split(b"[{},{}]"), Ok(Body::Many(rows)) if rows.len() == 2));
        let wide: Vec<String> = (0..=MOST_MEMBERS).map(|n| format!("\"{n}\":1")).collect();
        assert_eq!(
            split(format!("{{{}}}", wide.join(",")).as_bytes()).unwrap_err().code,
            "PGRST102"
        );
        for bad in [&b""[..], b"1", b"[1]", b"{", b"\xff"] {
            assert_eq!(split(bad).unwrap_err().code, "PGRST102");
        }
    }
}
