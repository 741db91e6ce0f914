//! Where a word begins, also in a text with escapes: the `n` of `\n` belongs to no word, nor does the `m` of a colour.

use super::kinds::word;

/// Bytes before a place that decide about it.
pub(super) const LOOK_BEHIND: usize = 40;
/// How the escape character itself is written.
const ESCAPES: &[&[u8]] = &[
    b"\x1b", b"\\u001b", b"\\u001B", b"\\x1b", b"\\x1B", b"\\033", b"\\e", b"^[",
];

/// Whether a word may begin at `at`.
pub(super) fn begins_word(text: &[u8], at: usize) -> bool {
    let near = at.saturating_sub(LOOK_BEHIND);
    let before = text.get(near..at).unwrap_or_default();
    before.last().is_none_or(|last| !word(*last)) || ends_in_code(before) || ends_in_sequence(before)
}

/// What JSON, URLs and this program's own output write for characters.
const fn ends_in_code(before: &[u8]) -> bool {
    match before {
        [.., b'\\', b'n' | b'r' | b't' | b'0'] => true,
        [.., b'%', b'0'..=b'7', last] => last.is_ascii_hexdigit(),
        [.., b'\\', b'x', a, b] => a.is_ascii_hexdigit() && b.is_ascii_hexdigit(),
        [.., b'\\', b'u', a, b, c, d] => {
            a.is_ascii_hexdigit() && b.is_ascii_hexdigit() && c.is_ascii_hexdigit() && d.is_ascii_hexdigit()
        }
        _ => false,
    }
}

/// Colours and movements of a terminal.
fn ends_in_sequence(before: &[u8]) -> bool {
    let mut rest = before.split_last().map_or(before, |(_, rest)| rest);
    while let Some((b' '..=b'?', shorter)) = rest.split_last() {
        rest = shorter;
    }
    match rest.strip_suffix(b"[") {
        Some(introduced) => ESCAPES.iter().any(|escape| introduced.ends_with(escape)),
        None => rest.ends_with(b"\x1b"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_begins_behind_an_escape() {
        for before in [
            "",
            " ",
            "-",
            "ö",
            "\n",
            r"\n",
            r"key:\\n",
            r"\0",
            r"\xff",
            r"\u0026",
            r"\u001b[1;31m",
            "%3D",
            "%0a",
            "\x1b[31m",
            "\x1b[01;31m\x1b[K",
            "\x1b[?25h",
            "\x1b(B",
            "\x1b8",
            r"\033[0m",
            r"\e[0m",
            "^[[0m",
        ] {
            assert!(begins_word(before.as_bytes(), before.len()), "{before:?}");
        }
        for before in ["ta", "n", "m", "[31m", "ri", "100%de", r"\ta", "_", "7", "x1b[m"] {
            assert!(!begins_word(before.as_bytes(), before.len()), "{before:?}");
        }
    }
}
