//! Text from a stream of bytes that comes in pieces cut anywhere.

use crate::domain::escape::without_partial_character;

/// Turns pieces into text: a character over a border stays whole, a NUL becomes `\0` and an invalid byte `\xNN`, as in
/// every result.
#[derive(Debug, Default)]
pub struct Decoder {
    /// The beginning of a character that the next piece may complete.
    begun: Vec<u8>,
}

impl Decoder {
    /// The text that is complete with this piece.
    pub fn push(&mut self, piece: &[u8]) -> String {
        let mut bytes = std::mem::take(&mut self.begun);
        bytes.extend_from_slice(piece);
        self.begun = bytes.split_off(without_partial_character(&bytes));
        escaped(&bytes)
    }

    /// What is left when nothing more comes.
    pub fn finish(&mut self) -> String {
        escaped(&std::mem::take(&mut self.begun))
    }
}

fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for part in bytes.utf8_chunks() {
        text.push_str(&part.valid().replace('\0', "\\0"));
        for byte in part.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_character_over_a_border_stays_whole_and_the_rest_is_escaped() {
        let mut decoder = Decoder::default();
        assert_eq!(decoder.push(b"a\xe2\x82"), "a");
        assert_eq!(decoder.push(b"\xac\0"), "€\\0");
        assert_eq!(decoder.push(b"\xff\xe2"), "\\xff");
        assert_eq!(decoder.finish(), "\\xe2");
        assert_eq!(decoder.finish(), "");
    }

    proptest! {
        #[test]
        fn borders_change_nothing(bytes in prop::collection::vec(any::<u8>(), 0..60), text in any::<String>(), step in 1..9usize) {
            let whole = [bytes.as_slice(), text.as_bytes()].concat();
            let mut decoder = Decoder::default();
            let mut pieces: String = whole.chunks(step).map(|piece| decoder.push(piece)).collect();
            pieces.push_str(&decoder.finish());
            prop_assert_eq!(pieces, escaped(&whole));
        }
    }
}
