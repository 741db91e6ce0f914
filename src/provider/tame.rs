//! JSON that is none for the readers here: a number beyond all numbers, or more levels than anybody nests.
//!
//! A whole line, be it the last word of a run, would be lost for it. What cannot be read becomes null.

use serde::de::DeserializeOwned;

/// Levels that are kept. Readers take 127, and what is read here is wrapped in more.
const MAX_DEPTH: usize = 100;

/// Reads JSON, or what can be read of it.
///
/// # Errors
/// It is no JSON of that form.
pub(crate) fn read<T: DeserializeOwned>(json: &[u8]) -> serde_json::Result<T> {
    let openings = json.iter().filter(|byte| matches!(byte, b'[' | b'{')).count();
    if openings > MAX_DEPTH {
        return serde_json::from_slice(&tamed(json));
    }
    serde_json::from_slice(json).or_else(|_odd| serde_json::from_slice(&tamed(json)))
}

fn tamed(json: &[u8]) -> Vec<u8> {
    let mut tamed = Vec::with_capacity(json.len());
    let (mut at, mut depth) = (0, 0_usize);
    while let Some(byte) = json.get(at) {
        let rest = json.get(at..).unwrap_or_default();
        let token = token(rest);
        let closes = matches!(byte, b']' | b'}');
        depth += usize::from(matches!(byte, b'[' | b'{'));
        let level = depth;
        depth = depth.saturating_sub(usize::from(closes));
        if level <= MAX_DEPTH {
            let kept = if is_endless(token) { b"null" } else { token };
            tamed.extend_from_slice(kept);
        } else if level == MAX_DEPTH + 1 && closes {
            tamed.extend_from_slice(b"null");
        }
        at += token.len();
    }
    tamed
}

/// A text, a number, or one byte.
fn token(rest: &[u8]) -> &[u8] {
    let length = match rest {
        [b'"', text @ ..] => 1 + text_length(text),
        [b'-' | b'0'..=b'9', ..] => rest.iter().take_while(|byte| is_of_number(**byte)).count(),
        _ => 1,
    };
    rest.get(..length).unwrap_or(rest)
}

/// With the quote that ends it.
fn text_length(text: &[u8]) -> usize {
    let mut escaped = false;
    let end = text.iter().position(|byte| {
        let ends = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        ends
    });
    end.map_or(text.len(), |end| end + 1)
}

const fn is_of_number(byte: u8) -> bool {
    matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9')
}

fn is_endless(token: &[u8]) -> bool {
    let number = token.first().is_some_and(|byte| is_of_number(*byte));
    let text = std::str::from_utf8(token).ok().filter(|_| number);
    text.and_then(|text| text.parse::<f64>().ok())
        .is_some_and(f64::is_infinite)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_no_reader_takes_becomes_null_and_the_rest_stays() {
        let line = br#"{"a": 1e400, "b": [-1E999, 1.5e3, -7], "c": "1e400 \" [", "d": 1e-400}"#;
        let read: Value = read(line).unwrap();
        assert_eq!(
            read,
            json!({"a": null, "b": [null, 1500.0, -7], "c": "1e400 \" [", "d": 0.0})
        );
    }

    #[test]
    fn what_is_nested_for_ever_ends() {
        let nested = |levels: usize| format!("{{\"a\":{}1{}}}", "[".repeat(levels), "]".repeat(levels));
        let depth = |levels| {
            let mut value: Value = read(nested(levels).as_bytes()).unwrap();
            let mut inner = value["a"].take();
            let mut depth = 1;
            while let Some(next) = inner.get_mut(0) {
                inner = next.take();
                depth += 1;
            }
            (depth, inner)
        };
        assert_eq!(depth(99), (100, json!(1)));
        assert_eq!(depth(100), (100, Value::Null));
        assert_eq!(depth(100_000), (100, Value::Null));
    }

    #[test]
    fn what_is_no_json_stays_none() {
        for text in ["", "{", "see {x}", "[\"a", "1e", "{\"a\":1e400"] {
            assert!(read::<Value>(text.as_bytes()).is_err(), "{text}");
        }
    }
}
