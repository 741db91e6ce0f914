//! Results as JSON that every backend can store.
//!
//! JSON can carry a NUL character and PostgreSQL's `jsonb` cannot; neither can carry bytes that are no UTF-8.
//! A NUL becomes `\0` (two characters), an invalid byte becomes `\xNN` (four), everything else stays exact.
//! Nothing is escaped in advance: five megabytes of NUL would be fifteen as text, so the text is made chunk by
//! chunk while it is sent.

use std::sync::Arc;

use crate::domain::job::{JobResult, RawField};

/// About how much text one chunk holds.
pub const CHUNK_BYTES: usize = 64 * 1024;
/// Raw bytes read for one chunk: few enough that even a window of NULs is not much more than a chunk.
const WINDOW_BYTES: usize = CHUNK_BYTES / 4;

/// Whether the bytes hold anything that text cannot carry as it is.
#[must_use]
pub fn needs_escape(bytes: &[u8]) -> bool {
    bytes.contains(&0) || std::str::from_utf8(bytes).is_err()
}

/// The result as JSON, in chunks of about [`CHUNK_BYTES`] made one at a time.
pub fn json_chunks(result: Arc<JobResult>) -> impl Iterator<Item = Vec<u8>> + Send {
    let mut cursor = Cursor::default();
    std::iter::from_fn(move || {
        let mut chunk = Vec::new();
        while chunk.len() < CHUNK_BYTES {
            if !cursor.step(&result, &mut chunk) {
                break;
            }
        }
        (!chunk.is_empty()).then_some(chunk)
    })
}

/// Exact length of what [`json_chunks`] makes, without making it.
#[must_use]
pub fn json_len(result: &JobResult) -> u64 {
    let mut cursor = Cursor::default();
    let mut count = Count(0);
    while cursor.step(result, &mut count) {}
    count.0
}

/// Takes pieces of JSON text: a chunk keeps them, a count only measures.
trait Sink {
    fn put(&mut self, piece: &[u8]);
}

impl Sink for Vec<u8> {
    fn put(&mut self, piece: &[u8]) {
        self.extend_from_slice(piece);
    }
}

struct Count(u64);

impl Sink for Count {
    fn put(&mut self, piece: &[u8]) {
        self.0 = self.0.saturating_add(piece.len() as u64);
    }
}

/// Where in the document the writer stands.
#[derive(Default)]
enum Cursor {
    /// Nothing written yet.
    #[default]
    Start,
    /// The small members and `index` raw members are written.
    Member { index: usize },
    /// Inside the text of a raw member, `offset` of its bytes are written.
    Text { index: usize, offset: usize },
    /// The document is complete.
    Done,
}

impl Cursor {
    /// Writes the next piece. False when there was none left.
    fn step(&mut self, result: &JobResult, sink: &mut impl Sink) -> bool {
        *self = match *self {
            Self::Start => {
                put_fields(result, sink);
                Self::Member { index: 0 }
            }
            Self::Member { index } => open_member(result, index, sink),
            Self::Text { index, offset } => {
                let rest = result.raw.get(index).and_then(|raw| raw.bytes.get(offset..));
                let written = put_window(rest.unwrap_or_default(), sink);
                if written == 0 {
                    sink.put(b"\"");
                    Self::Member { index: index + 1 }
                } else {
                    Self::Text {
                        index,
                        offset: offset + written,
                    }
                }
            }
            Self::Done => return false,
        };
        true
    }
}

/// The small members as one piece, without the closing brace.
fn put_fields(result: &JobResult, sink: &mut impl Sink) {
    // Infallible: a map with text keys always serialises. An empty object is the honest answer to the impossible.
    let text = serde_json::to_string(&result.fields).unwrap_or_else(|_| "{}".to_owned());
    let open = text.strip_suffix('}').unwrap_or(&text);
    put_without_nul(open, sink);
}

/// Copies JSON text, turning the escape `\u0000` into the escaped form of `\0`.
fn put_without_nul(json: &str, sink: &mut impl Sink) {
    let mut rest = json;
    // Every backslash in JSON starts an escape of two characters (or six), so stepping over pairs keeps in phase.
    while let Some((before, after)) = rest.split_once('\\') {
        sink.put(before.as_bytes());
        if let Some(tail) = after.strip_prefix("u0000") {
            sink.put(br"\\0");
            rest = tail;
        } else {
            let mut characters = after.chars();
            let escaped = characters.next().map_or(0, char::len_utf8);
            sink.put(b"\\");
            sink.put(after.as_bytes().get(..escaped).unwrap_or_default());
            rest = characters.as_str();
        }
    }
    sink.put(rest.as_bytes());
}

fn open_member(result: &JobResult, index: usize, sink: &mut impl Sink) -> Cursor {
    let Some(RawField { key, .. }) = result.raw.get(index) else {
        sink.put(b"}");
        return Cursor::Done;
    };
    if index > 0 || !result.fields.is_empty() {
        sink.put(b",");
    }
    sink.put(b"\"");
    put_text(key, sink);
    sink.put(b"\":\"");
    Cursor::Text { index, offset: 0 }
}

/// Writes at most a window of `rest` and answers how many of its bytes that were; 0 means `rest` is empty.
fn put_window(rest: &[u8], sink: &mut impl Sink) -> usize {
    let window = rest.get(..WINDOW_BYTES).unwrap_or(rest);
    let cut = window.len() < rest.len();
    let mut written = 0;
    for part in window.utf8_chunks() {
        put_text(part.valid(), sink);
        written += part.valid().len();
        let at_edge = written + part.invalid().len() == window.len();
        if cut && at_edge && is_unfinished(part.invalid()) {
            // The character goes on behind the window: leave it whole to the next one.
            return written;
        }
        for byte in part.invalid() {
            sink.put(&[b'\\', b'\\', b'x', hex_digit(byte >> 4), hex_digit(byte & 0x0f)]);
        }
        written += part.invalid().len();
    }
    written
}

/// Whether the bytes are the beginning of a character that more bytes could complete.
fn is_unfinished(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
}

/// Longest prefix of `bytes` that does not end inside a character, for cutting at a limit.
#[must_use]
pub fn without_partial_character(bytes: &[u8]) -> usize {
    let longest = bytes.len().min(3);
    for tail in 1..=longest {
        let at = bytes.len() - tail;
        if bytes.get(at..).is_some_and(is_unfinished) {
            return at;
        }
    }
    bytes.len()
}

/// Bytes at the beginning of `bytes` that end a character begun before, for cutting at a limit.
#[must_use]
pub fn end_of_partial_character(bytes: &[u8]) -> usize {
    let is_continuation = |byte: &&u8| **byte & 0b1100_0000 == 0b1000_0000;
    bytes.iter().take(3).take_while(is_continuation).count()
}

/// Valid text as the inside of a JSON string.
fn put_text(text: &str, sink: &mut impl Sink) {
    let mut rest = text.as_bytes();
    while let Some(plain) = rest.iter().position(|byte| is_special(*byte)) {
        let (before, after) = rest.split_at(plain);
        sink.put(before);
        let Some((special, tail)) = after.split_first() else {
            return;
        };
        put_special(*special, sink);
        rest = tail;
    }
    sink.put(rest);
}

const fn is_special(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

fn put_special(byte: u8, sink: &mut impl Sink) {
    match byte {
        0 => sink.put(br"\\0"),
        b'"' => sink.put(br#"\""#),
        b'\\' => sink.put(br"\\"),
        b'\n' => sink.put(br"\n"),
        b'\r' => sink.put(br"\r"),
        b'\t' => sink.put(br"\t"),
        0x08 => sink.put(br"\b"),
        0x0c => sink.put(br"\f"),
        other => sink.put(&[b'\\', b'u', b'0', b'0', hex_digit(other >> 4), hex_digit(other & 0x0f)]),
    }
}

const fn hex_digit(nibble: u8) -> u8 {
    if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::*;

    /// The simple way: the whole text first, then the whole document.
    fn reference(result: &JobResult) -> Value {
        let mut members = strip_nul(&Value::from(result.fields.clone()))
            .as_object()
            .unwrap()
            .clone();
        for raw in &result.raw {
            let mut text = String::new();
            for part in raw.bytes.utf8_chunks() {
                text.push_str(&part.valid().replace('\0', "\\0"));
                for byte in part.invalid() {
                    text.push_str(&format!("\\x{byte:02x}"));
                }
            }
            members.insert(raw.key.clone(), Value::from(text));
        }
        Value::from(members)
    }

    fn strip_nul(value: &Value) -> Value {
        match value {
            Value::String(text) => Value::from(text.replace('\0', "\\0")),
            Value::Object(members) => members
                .iter()
                .map(|(key, value)| (key.replace('\0', "\\0"), strip_nul(value)))
                .collect::<Map<_, _>>()
                .into(),
            Value::Array(items) => items.iter().map(strip_nul).collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        }
    }

    fn result(fields: &Value, raw: &[(&str, &[u8])]) -> JobResult {
        JobResult {
            fields: fields.as_object().unwrap().clone(),
            raw: raw
                .iter()
                .map(|(key, bytes)| RawField {
                    key: (*key).to_owned(),
                    bytes: bytes.to_vec(),
                })
                .collect(),
            run: None,
        }
    }

    fn check(result: JobResult) {
        let length = json_len(&result);
        let expected = serde_json::to_string(&reference(&result)).unwrap();
        let result = Arc::new(result);
        let chunks: Vec<_> = json_chunks(Arc::clone(&result)).collect();
        assert!(chunks.iter().all(|chunk| chunk.len() <= 3 * CHUNK_BYTES));
        let text = String::from_utf8(chunks.concat()).unwrap();
        assert_eq!(text.len() as u64, length);
        // Compared as equal or not: a diff of megabytes helps nobody.
        assert!(text == expected, "differs for {} raw members", result.raw.len());
    }

    #[test]
    fn documents_of_every_shape_are_json() {
        check(JobResult::default());
        check(result(&json!({"a": 1}), &[]));
        check(result(&json!({}), &[("stdout", b"")]));
        check(result(
            &json!({"m": "x", "n": null}),
            &[("stdout", b"hi\n\0\x1b\xff\"\\"), ("stderr", b"\xe2\x82")],
        ));
    }

    #[test]
    fn nul_in_small_members_is_escaped_and_a_spelt_out_one_is_kept() {
        check(result(
            &json!({"command": "a\0b", "k\0": ["\\u0000", "\\\0", {"x": "\\"}]}),
            &[],
        ));
    }

    #[test]
    fn the_texts_are_as_documented() {
        let result = Arc::new(result(&json!({}), &[("o", b"\0\xff")]));
        assert_eq!(json_chunks(result).collect::<Vec<_>>().concat(), br#"{"o":"\\0\\xff"}"#);
    }

    #[test]
    fn characters_over_window_borders_stay_whole() {
        for character in ["é", "€", "🦀"] {
            for shift in 0..=character.len() {
                let mut bytes = vec![b'a'; WINDOW_BYTES - shift];
                bytes.extend(character.repeat(3 * WINDOW_BYTES / character.len()).as_bytes());
                check(result(&json!({"m": 1}), &[("stdout", &bytes)]));
            }
        }
    }

    #[test]
    fn big_members_of_one_byte_stream() {
        for byte in [0, b'a', b'"', 0xff, 0xe2, 0x01] {
            check(result(
                &json!({"m": 1}),
                &[("stdout", &vec![byte; 5 * WINDOW_BYTES + 7])],
            ));
        }
    }

    #[test]
    fn a_cut_leaves_no_partial_character() {
        let text = "a🦀".as_bytes();
        assert_eq!(without_partial_character(text), 5);
        for cut in 1..5 {
            assert_eq!(without_partial_character(&text[..cut]), 1);
        }
        assert_eq!(without_partial_character(b"a\xff\xff"), 3);
        assert_eq!(without_partial_character(b""), 0);
        assert_eq!(
            [0, 1, 2, 3, 4, 5].map(|cut| end_of_partial_character(&text[cut..])),
            [0, 0, 3, 2, 1, 0]
        );
    }

    #[test]
    fn only_text_without_nul_goes_unescaped() {
        assert!(!needs_escape("tab\t ü".as_bytes()));
        assert!(needs_escape(b"\0") && needs_escape(b"\xc3"));
    }

    fn pieces() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            any::<String>().prop_map(String::into_bytes),
            prop::collection::vec(any::<u8>(), 0..40),
            (0usize..WINDOW_BYTES).prop_map(|length| vec![b'x'; length]),
            (0usize..6000).prop_map(|length| "€🦀é".repeat(length).into_bytes()),
        ];
        prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn streaming_equals_the_simple_way(message in any::<String>(), stdout in pieces(), stderr in pieces()) {
            check(result(&json!({"message": message, "n": 1.5}), &[("stdout", &stdout), ("stderr", &stderr)]));
        }
    }
}
