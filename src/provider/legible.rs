//! JSON lines of programs whose texts are halves of characters.
//!
//! Programs in JavaScript cut texts anywhere, also inside an emoji, and write the half as an escape. No JSON reader here
//! takes that, and a whole line, be it the last word of a run, would be lost for it.

use std::borrow::Cow;

use memchr::memmem;

/// What stands for a half: U+FFFD.
const STAND_IN: &[u8] = b"fffd";

/// The line with a stand-in for every escape that is half of a character.
pub(crate) fn legible(line: &[u8]) -> Cow<'_, [u8]> {
    let suspicious = [br"\ud", br"\uD"]
        .iter()
        .any(|start| memmem::find(line, *start).is_some());
    if !suspicious {
        return Cow::Borrowed(line);
    }
    let mut mended = Cow::Borrowed(line);
    let mut at = 0;
    while let Some(next) = line.get(at..).and_then(|rest| memchr::memchr(b'\\', rest)) {
        at += next;
        at += match (escape(line, at), escape(line, at + 6)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
            (Some(0xd800..=0xdfff), _) => {
                if let Some(digits) = mended.to_mut().get_mut(at + 2..at + 6) {
                    digits.copy_from_slice(STAND_IN);
                }
                6
            }
            _ => 2,
        };
    }
    mended
}

/// The number of the `\uNNNN` at a place, if there is one.
fn escape(line: &[u8], at: usize) -> Option<u16> {
    let digits = line.get(at..at + 6)?.strip_prefix(br"\u")?;
    let digits = std::str::from_utf8(digits).ok()?;
    u16::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_halves_are_replaced() {
        for (line, expected) in [
            (r#"{"a":"\ud83d"}"#, r#"{"a":"\ufffd"}"#),
            (r#""\uDE00\uD83D\ude00\ud83dx""#, r#""\ufffd\uD83D\ude00\ufffdx""#),
            (r#""\ud83d\ud83d\ude00""#, r#""\ufffd\ud83d\ude00""#),
            (r#""\\ud83d \u00e4 \ud7ff""#, r#""\\ud83d \u00e4 \ud7ff""#),
            (r#""\ud83"#, r#""\ud83"#),
            ("plain \u{2028}", "plain \u{2028}"),
        ] {
            assert_eq!(legible(line.as_bytes()), expected.as_bytes(), "{line}");
        }
        assert!(matches!(legible(br#""\ud83d\ude00""#), Cow::Borrowed(_)));
    }
}
