//! Filters of a `postgres_changes` binding, judged on the logged row: `col=op.value`, several joined by commas.
//!
//! The logic is SQL's, with three values: a comparison with null is neither true nor false, and only true passes.

use std::cmp::Ordering;

use jiff::Timestamp;
use serde_json::{Map, Value};

/// Longest filter text accepted, in bytes.
const MAX_FILTER_BYTES: usize = 4096;
/// Most conditions in one filter.
const MAX_CONDITIONS: usize = 16;

/// A filter text that cannot be judged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid filter: {0}")]
pub struct FilterError(String);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Eq,
    Neq,
    Lt,
    Lte,
    Gt,
    Gte,
    In,
    Like,
    Ilike,
    Is,
}

/// One `col=op.value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// The column it looks at.
    pub column: String,
    negated: bool,
    op: Op,
    operands: Vec<String>,
}

/// Reads a filter; all conditions must hold.
///
/// # Errors
/// [`FilterError`] in words for the person who wrote the filter.
pub fn parse(text: &str) -> Result<Vec<Condition>, FilterError> {
    if text.len() > MAX_FILTER_BYTES {
        return Err(FilterError(format!("longer than {MAX_FILTER_BYTES} bytes")));
    }
    let parts = split_top_level(text);
    if parts.len() > MAX_CONDITIONS {
        return Err(FilterError(format!("more than {MAX_CONDITIONS} conditions")));
    }
    parts.into_iter().map(condition).collect()
}

/// Whether all conditions hold on a row.
#[must_use]
pub fn holds(conditions: &[Condition], row: &Map<String, Value>) -> bool {
    conditions.iter().all(|condition| condition.verdict(row) == Some(true))
}

fn condition(text: &str) -> Result<Condition, FilterError> {
    let (column, rest) = text
        .split_once('=')
        .ok_or_else(|| FilterError(format!("`{text}` has no `=`")))?;
    let (negated, rest) = match rest.strip_prefix("not.") {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let (op, value) = rest
        .split_once('.')
        .ok_or_else(|| FilterError(format!("`{text}` has no operator")))?;
    let op = operator(op).ok_or_else(|| FilterError(format!("operator `{op}` is not supported")))?;
    let operands = match op {
        Op::In => list(value)?,
        Op::Is => vec![is_word(value)?],
        Op::Eq | Op::Neq | Op::Lt | Op::Lte | Op::Gt | Op::Gte | Op::Like | Op::Ilike => vec![unquote(value)],
    };
    Ok(Condition {
        column: column.trim().to_owned(),
        negated,
        op,
        operands,
    })
}

fn operator(word: &str) -> Option<Op> {
    Some(match word {
        "eq" => Op::Eq,
        "neq" => Op::Neq,
        "lt" => Op::Lt,
        "lte" => Op::Lte,
        "gt" => Op::Gt,
        "gte" => Op::Gte,
        "in" => Op::In,
        "like" => Op::Like,
        "ilike" => Op::Ilike,
        "is" => Op::Is,
        _ => return None,
    })
}

fn is_word(value: &str) -> Result<String, FilterError> {
    let word = value.to_ascii_lowercase();
    match word.as_str() {
        "null" | "true" | "false" | "unknown" | "not_null" => Ok(word),
        _ => Err(FilterError(format!("`is.{value}` is not null, true, false or unknown"))),
    }
}

fn list(value: &str) -> Result<Vec<String>, FilterError> {
    let inner = value
        .strip_prefix('(')
        .and_then(|rest| rest.strip_suffix(')'))
        .ok_or_else(|| FilterError(format!("`in.{value}` is not a list in parentheses")))?;
    if inner.is_empty() {
        return Ok(Vec::new());
    }
    Ok(split_top_level(inner).into_iter().map(unquote).collect())
}

/// Splits at commas that are neither inside quotes nor inside parentheses.
fn split_top_level(text: &str) -> Vec<&str> {
    let (mut quoted, mut escaped, mut depth) = (false, false, 0_u32);
    text.split(|letter: char| {
        if escaped {
            escaped = false;
            return false;
        }
        match letter {
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth = depth.saturating_sub(1),
            ',' => return !quoted && depth == 0,
            _ => {}
        }
        false
    })
    .collect()
}

fn unquote(text: &str) -> String {
    let Some(inner) = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return text.to_owned();
    };
    let mut plain = String::with_capacity(inner.len());
    let mut letters = inner.chars();
    while let Some(letter) = letters.next() {
        plain.push(if letter == '\\' {
            letters.next().unwrap_or('\\')
        } else {
            letter
        });
    }
    plain
}

impl Condition {
    fn verdict(&self, row: &Map<String, Value>) -> Option<bool> {
        let value = row.get(&self.column).unwrap_or(&Value::Null);
        let verdict = self.plain_verdict(value)?;
        Some(verdict != self.negated)
    }

    fn plain_verdict(&self, value: &Value) -> Option<bool> {
        let first = self.operands.first().map_or("", String::as_str);
        if self.op == Op::Is {
            return Some(is(value, first));
        }
        if value.is_null() {
            return None;
        }
        match self.op {
            Op::Eq => compare(value, first).map(Ordering::is_eq),
            Op::Neq => compare(value, first).map(Ordering::is_ne),
            Op::Lt => compare(value, first).map(Ordering::is_lt),
            Op::Lte => compare(value, first).map(Ordering::is_le),
            Op::Gt => compare(value, first).map(Ordering::is_gt),
            Op::Gte => compare(value, first).map(Ordering::is_ge),
            Op::In => Some(
                self.operands
                    .iter()
                    .any(|one| compare(value, one).is_some_and(Ordering::is_eq)),
            ),
            Op::Like => value.as_str().map(|text| like(text, first)),
            // As the stores have it: letters of ASCII only.
            Op::Ilike => value
                .as_str()
                .map(|text| like(&text.to_ascii_lowercase(), &first.to_ascii_lowercase())),
            Op::Is => None,
        }
    }
}

fn is(value: &Value, word: &str) -> bool {
    match word {
        "true" => *value == Value::Bool(true),
        "false" => *value == Value::Bool(false),
        "not_null" => !value.is_null(),
        _ => value.is_null(),
    }
}

/// The order of a value and a literal, by the value's own kind; times are compared as instants.
fn compare(value: &Value, literal: &str) -> Option<Ordering> {
    match value {
        Value::Null => None,
        Value::Bool(value) => boolean(literal).map(|literal| value.cmp(&literal)),
        Value::Number(number) => match (number.as_i64(), literal.parse::<i64>()) {
            (Some(number), Ok(literal)) => Some(number.cmp(&literal)),
            (Some(_) | None, Ok(_) | Err(_)) => number.as_f64()?.partial_cmp(&literal.parse().ok()?),
        },
        Value::String(text) => Some(compare_text(text, literal)),
        Value::Array(_) | Value::Object(_) => {
            let literal: Value = serde_json::from_str(literal).ok()?;
            (*value == literal).then_some(Ordering::Equal).or(Some(Ordering::Less))
        }
    }
}

fn boolean(literal: &str) -> Option<bool> {
    match literal.to_ascii_lowercase().as_str() {
        "true" | "t" => Some(true),
        "false" | "f" => Some(false),
        _ => None,
    }
}

fn compare_text(text: &str, literal: &str) -> Ordering {
    if text == literal {
        return Ordering::Equal;
    }
    if let (Ok(left), Ok(right)) = (uuid::Uuid::try_parse(text), uuid::Uuid::try_parse(literal)) {
        return left.cmp(&right);
    }
    // Only texts that begin like a date are worth a parse.
    let dated = |text: &str| text.len() >= 19 && text.as_bytes().get(4) == Some(&b'-');
    if dated(text)
        && dated(literal)
        && let (Ok(left), Ok(right)) = (text.parse::<Timestamp>(), literal.parse::<Timestamp>())
    {
        return left.cmp(&right);
    }
    text.cmp(literal)
}

/// A part of a pattern.
#[derive(PartialEq, Eq)]
enum Part {
    /// `%` or `*`
    Run,
    /// `_`
    One,
    Letter(char),
}

fn parts(pattern: &str) -> Vec<Part> {
    let mut letters = pattern.chars().map(|letter| if letter == '*' { '%' } else { letter });
    let mut parts = Vec::new();
    while let Some(letter) = letters.next() {
        parts.push(match letter {
            '%' => Part::Run,
            '_' => Part::One,
            '\\' => Part::Letter(letters.next().unwrap_or('\\')),
            letter => Part::Letter(letter),
        });
    }
    parts
}

/// SQL `LIKE`; linear in practice, no recursion.
fn like(text: &str, pattern: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    let pattern = parts(pattern);
    let (mut at, mut wanted) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while let Some(letter) = text.get(at) {
        match pattern.get(wanted) {
            Some(Part::Run) => {
                wanted += 1;
                retry = Some((at, wanted));
            }
            Some(part) if *part == Part::One || *part == Part::Letter(*letter) => {
                at += 1;
                wanted += 1;
            }
            Some(_) | None => match retry {
                Some((from, after)) => {
                    at = from + 1;
                    wanted = after;
                    retry = Some((at, after));
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(wanted).all(|part| *part == Part::Run)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn passes(filter: &str) -> bool {
        let row = json!({
            "id": "0b5e6f0a-7f5e-4c0e-9d4a-111111111111", "status": "queued", "attempt": 3, "error": null,
            "done": false, "created_at": "2026-11-21T01:08:28.233671+00:00", "big": 9_007_199_254_740_993_i64,
            "name": "a,b"
        });
        holds(&parse(filter).unwrap(), row.as_object().unwrap())
    }

    #[test]
    fn every_operator_judges() {
        for filter in [
            "status=eq.queued",
            "status=neq.running",
            "attempt=lt.4",
            "attempt=lte.3",
            "attempt=gt.2.5",
            "attempt=gte.3",
            "status=in.(running,queued)",
            "status=like.que*",
            "status=ilike.QUE%",
            "status=like.q_eued",
            "error=is.null",
            "done=is.false",
            "done=eq.f",
            "id=eq.0B5E6F0A-7F5E-4C0E-9D4A-111111111111",
            "created_at=lt.2026-11-21T02:08:28Z",
            "created_at=eq.2026-11-21T02:08:28.233671+01:00",
            "big=eq.9007199254740993",
            "status=not.in.(running)",
            "name=eq.\"a,b\"",
            "name=in.(x,\"a,b\")",
            "error=not.is.not_null",
        ] {
            assert!(passes(filter), "{filter}");
        }
        for filter in [
            "status=eq.running",
            "error=eq.null",
            "error=not.eq.x",
            "error=neq.x",
            "missing=eq.1",
            "attempt=eq.x",
            "status=in.()",
            "big=eq.9007199254740992",
            "status=like.ueue",
            "done=is.true",
            "status=eq.queued,attempt=eq.4",
        ] {
            assert!(!passes(filter), "{filter}");
        }
    }

    #[test]
    fn what_cannot_be_judged_is_refused() {
        for filter in [
            "",
            "status",
            "status=queued",
            "status=match.x",
            "status=in.a",
            "error=is.x",
            "a=eq.1,b",
        ] {
            assert!(parse(filter).is_err(), "{filter}");
        }
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_parser(text in ".{0,80}") {
            let _verdict = parse(&text).map(|conditions| holds(&conditions, &Map::new()));
        }

        #[test]
        fn a_list_that_was_written_is_the_list_that_is_read(texts in proptest::collection::vec(".{0,12}", 1..6)) {
            let quoted = texts.iter().map(|text| format!("\"{}\"", text.replace('\\', r"\\").replace('"', r#"\""#)));
            let text = format!("a=in.({})", quoted.collect::<Vec<_>>().join(","));
            let read = parse(&text).unwrap();
            prop_assert_eq!(read.len(), 1);
            prop_assert_eq!(&read[0].operands, &texts);
        }

        #[test]
        fn like_agrees_with_a_plain_reading(text in "[ab]{0,6}", pattern in "[ab%_]{0,6}") {
            fn plain(text: &[u8], pattern: &[u8]) -> bool {
                match pattern {
                    [] => text.is_empty(),
                    [b'%', rest @ ..] => (0..=text.len()).any(|skip| plain(&text[skip..], rest)),
                    [b'_', rest @ ..] => !text.is_empty() && plain(&text[1..], rest),
                    [one, rest @ ..] => text.first() == Some(one) && plain(&text[1..], rest),
                }
            }
            prop_assert_eq!(like(&text, &pattern), plain(text.as_bytes(), pattern.as_bytes()));
        }
    }
}
