//! The ways in which a secret may be written, and how one of them is followed through a text.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// One way in which a secret may be written.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Form {
    pub(super) bytes: Vec<u8>,
    /// Programs that write base64 begin a new line every 64 or 76 characters.
    pub(super) wraps: bool,
}

/// How far a form and a text go together.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Met {
    /// To the form's end, which takes so many bytes of the text.
    Whole(usize),
    /// To the text's end, by so many bytes of the form.
    Begun(usize),
    /// Not that far.
    Apart,
}

/// Raw, in percent form, and in base64 as part of a text that begins zero, one or two bytes earlier.
pub(super) fn of(secret: &str) -> Vec<Form> {
    let plain = |bytes| Form { bytes, wraps: false };
    let mut forms = vec![plain(secret.as_bytes().to_vec())];
    for kept in [&b"-._~"[..], b""] {
        forms.push(plain(percent(secret, kept, "0123456789ABCDEF")));
        forms.push(plain(percent(secret, kept, "0123456789abcdef")));
    }
    for before in 0..3 {
        let text = [vec![0; before].as_slice(), secret.as_bytes()].concat();
        for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            let encoded = engine.encode(&text).into_bytes();
            // What stands before and behind shares the outermost characters.
            let own = (before * 8).div_ceil(6)..text.len() * 8 / 6;
            let bytes = encoded.get(own).unwrap_or_default().to_vec();
            forms.push(Form { bytes, wraps: true });
        }
    }
    let mut distinct: Vec<Form> = Vec::new();
    for form in forms {
        if !distinct.contains(&form) {
            distinct.push(form);
        }
    }
    distinct
}

/// Percent form; letters, digits and `kept` stay as they are.
fn percent(secret: &str, kept: &[u8], digits: &str) -> Vec<u8> {
    let digit = |value: u8| digits.as_bytes().get(usize::from(value)).copied().unwrap_or(b'0');
    let mut written = Vec::new();
    for byte in secret.bytes() {
        if byte.is_ascii_alphanumeric() || kept.contains(&byte) {
            written.push(byte);
        } else {
            written.extend([b'%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
    written
}

/// Follows `form` through `text` from where both begin; a line may end within a form that wraps.
pub(super) fn follow(mut form: impl Iterator<Item = u8>, text: impl Iterator<Item = u8>, wraps: bool) -> Met {
    let (mut wanted, mut taken, mut matched) = (form.next(), 0, 0);
    for (at, byte) in text.enumerate() {
        match wanted {
            None => break,
            Some(next) if next == byte => {
                matched += 1;
                taken = at + 1;
                wanted = form.next();
            }
            Some(_) if wraps && matches!(byte, b'\n' | b'\r') => {}
            Some(_) => return Met::Apart,
        }
    }
    if wanted.is_none() {
        Met::Whole(taken)
    } else {
        Met::Begun(matched)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(secret: &str) -> Vec<String> {
        let forms = of(secret).into_iter();
        forms.map(|form| String::from_utf8(form.bytes).unwrap()).collect()
    }

    #[test]
    fn every_alignment_and_alphabet_is_a_form() {
        let secret = "a/b+c~d>e?f-g.h";
        let forms = written(secret);
        for lead in ["", "x", "xy", "xyz"] {
            let text = format!("{lead}{secret}tail");
            for encoded in [STANDARD_NO_PAD.encode(&text), URL_SAFE_NO_PAD.encode(&text)] {
                assert!(forms.iter().any(|form| encoded.contains(form)), "{lead} {encoded}");
            }
        }
        for form in [secret, "a%2Fb%2Bc~d%3Ee%3Ff-g.h", "a%2fb%2bc%7ed%3ee%3ff%2dg%2eh"] {
            assert!(forms.iter().any(|found| found == form), "{form} in {forms:?}");
        }
    }

    #[test]
    fn a_plain_secret_has_few_forms() {
        assert_eq!(written("abcdefgh0123").len(), 4);
    }

    #[test]
    fn a_form_is_followed_over_the_end_of_a_line() {
        let met = |form: &str, text: &str, wraps| follow(form.bytes(), text.bytes(), wraps);
        assert_eq!(met("abc", "ab\r\ncd", true), Met::Whole(5));
        assert_eq!(met("abc", "ab\ncd", false), Met::Apart);
        assert_eq!(met("abc", "ab\n", true), Met::Begun(2));
        assert_eq!(met("", "ab", false), Met::Whole(0));
    }
}
