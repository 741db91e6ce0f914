//! The table of keys: how each kind begins, and what follows.

/// What a part of a key consists of.
pub(super) type Alphabet = fn(u8) -> bool;

/// What follows the beginning of a key.
#[derive(Debug, Clone, Copy)]
pub(super) enum Body {
    /// At least so many of these.
    Run(Alphabet, usize),
    /// Three parts with dots between them.
    WebToken,
    /// Sixteen, and no more.
    AccessKey,
    /// A long one in base64.
    SessionToken,
    /// A word with a digit: "Bearer" before a long word without one is prose.
    NoWord,
}

/// A kind of key.
pub(super) struct Kind {
    pub(super) begins: &'static str,
    /// Ordinary words and base64 have that in them too.
    pub(super) is_common: bool,
    pub(super) body: Body,
}

/// Tokens of Google, GitHub, Anthropic, OpenAI, AWS, Slack, of Supabase and of this program.
pub(super) const KINDS: &[Kind] = &[
    common("eyJ", Body::WebToken),
    common("sk-", Body::Run(dashed_word, 16)),
    common("AIza", Body::Run(dashed_word, 20)),
    plain("ya29.", Body::Run(dashed_word, 16)),
    plain("gho_", Body::Run(alphanumeric, 20)),
    plain("ghp_", Body::Run(alphanumeric, 20)),
    plain("ghs_", Body::Run(alphanumeric, 20)),
    plain("ghu_", Body::Run(alphanumeric, 20)),
    plain("ghr_", Body::Run(alphanumeric, 20)),
    plain("github_pat_", Body::Run(word, 20)),
    plain("gwop_", Body::Run(dashed_word, 16)),
    plain("xoxa-", Body::Run(dashed, 10)),
    plain("xoxb-", Body::Run(dashed, 10)),
    plain("xoxp-", Body::Run(dashed, 10)),
    plain("xoxr-", Body::Run(dashed, 10)),
    plain("xoxs-", Body::Run(dashed, 10)),
    plain("AKIA", Body::AccessKey),
    common("ASIA", Body::AccessKey),
    common("IQoJ", Body::SessionToken),
    common("FwoG", Body::SessionToken),
];

const fn common(begins: &'static str, body: Body) -> Kind {
    Kind {
        begins,
        is_common: true,
        body,
    }
}

const fn plain(begins: &'static str, body: Body) -> Kind {
    Kind {
        begins,
        is_common: false,
        body,
    }
}

/// Names whose value is a key, without their first letter, which may be a capital; with what stands between, and the
/// value.
pub(super) const NAMES: &[(&str, Body)] = &[
    (
        r#"\A(?i-u:authorization)(?:\\*["'])?[ \t]*[:=][ \t]*(?:\\*["'])?(?i-u:Bearer|Basic|token)[ \t]+"#,
        Body::Run(header_word, 1),
    ),
    (r"\A(?i-u:Bearer)[ \t]+", Body::NoWord),
    (
        r#"\A(?i-u:secret[_-]?access[_-]?key)(?:\\*["'])?[ \t]*[:=][ \t]*(?:\\*["'])?"#,
        Body::Run(base64, 40),
    ),
];
/// How those go on behind their first letter.
pub(super) const NAME_HINTS: &str = "earer|EARER|uthorization|UTHORIZATION|ecret|ECRET";

/// How far a key and a text go together.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Met {
    /// It is one of so many bytes.
    Key(usize),
    /// To the end of the text: more would make it one.
    Begun,
    /// It is none, and none of its kind begins in so many bytes.
    Apart(usize),
}

impl Body {
    /// Follows it through what stands behind the beginning of a key.
    pub(super) fn follow(self, text: &[u8]) -> Met {
        match self {
            Self::WebToken => web_token(text),
            Self::AccessKey => access_key(text),
            Self::SessionToken => {
                let (length, end) = (run(text, base64), run(text, padded));
                met(length >= 100, end, end == text.len())
            }
            Self::Run(alphabet, least) => {
                let length = run(text, alphabet);
                met(length >= least, length, length == text.len())
            }
            Self::NoWord => {
                let length = run(text, header_word);
                let digits = text.iter().take(length).any(u8::is_ascii_digit);
                met(length >= 16 && digits, length, length == text.len())
            }
        }
    }

    /// What more of a key consists of.
    pub(super) fn alphabet(self) -> Alphabet {
        match self {
            Self::Run(alphabet, _) => alphabet,
            Self::WebToken => dashed_word,
            Self::AccessKey => word,
            Self::SessionToken => padded,
            Self::NoWord => header_word,
        }
    }
}

const fn met(key: bool, length: usize, is_begun: bool) -> Met {
    match (key, is_begun) {
        (true, _) => Met::Key(length),
        (false, true) => Met::Begun,
        (false, false) => Met::Apart(0),
    }
}

fn access_key(text: &[u8]) -> Met {
    // It decides that a seventeenth does not follow; words that are longer need not be read.
    let length = run(text.get(..17).unwrap_or(text), word);
    let fits = run(text.get(..length).unwrap_or_default(), |byte| {
        byte.is_ascii_uppercase() || byte.is_ascii_digit()
    }) == length;
    met(
        fits && length == 16,
        length,
        fits && length < 16 && length == text.len(),
    )
}

fn web_token(text: &[u8]) -> Met {
    let first = run(text, dashed_word);
    let mut at = 0;
    for (least, is_last) in [(5, false), (8, false), (8, true)] {
        let part = run(text.get(at..).unwrap_or_default(), dashed_word);
        at += part;
        if part >= least && is_last {
            return Met::Key(at);
        }
        match text.get(at) {
            None => return Met::Begun,
            Some(b'.') if part >= least => at += 1,
            // Another one within the first part would fail like this one.
            Some(_) => return Met::Apart(if first >= 5 { first } else { 0 }),
        }
    }
    Met::Apart(0)
}

/// How many of them the text begins with.
pub(super) fn run(text: &[u8], alphabet: Alphabet) -> usize {
    let end = text.iter().position(|byte| !alphabet(*byte));
    end.unwrap_or(text.len())
}

const fn alphanumeric(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
}

pub(super) const fn word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

const fn dashed(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-'
}

const fn dashed_word(byte: u8) -> bool {
    word(byte) || byte == b'-'
}

const fn base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'+')
}

const fn padded(byte: u8) -> bool {
    base64(byte) || byte == b'='
}

const fn header_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'~' | b'+' | b'/' | b'=' | b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_followed_to_its_end() {
        let key = Body::Run(dashed, 4);
        assert_eq!(key.follow(b"abc-d e"), Met::Key(5));
        assert_eq!(key.follow(b"abc"), Met::Begun);
        assert_eq!(key.follow(b"abc d"), Met::Apart(0));
        let id = |text: &str| Body::AccessKey.follow(text.as_bytes());
        assert_eq!(id("0123456789ABCDEF."), Met::Key(16));
        assert_eq!(id("0123456789ABCDEFG"), Met::Apart(0));
        assert_eq!(id("0123456789abcdef"), Met::Apart(0));
        assert_eq!(id("0123"), Met::Begun);
        assert_eq!(Body::NoWord.follow(b"internationalization"), Met::Begun);
        assert_eq!(Body::NoWord.follow(b"internationalization "), Met::Apart(0));
        let session = ["A".repeat(100), "== b".to_owned()].concat();
        assert_eq!(Body::SessionToken.follow(session.as_bytes()), Met::Key(102));
    }

    #[test]
    fn a_web_token_has_three_parts() {
        let met = |text: &str| Body::WebToken.follow(text.as_bytes());
        assert_eq!(met("hbGci.eyJzdWIi.c2lnbmF0 "), Met::Key(23));
        for begun in ["", "hbGci", "hbGci.", "hbGci.eyJzdWIi.c2l"] {
            assert_eq!(met(begun), Met::Begun, "{begun}");
        }
        for (other, barren) in [("oin.x", 0), ("hbGcio oo", 6), ("hbGci.short.c2lnbmF0", 5)] {
            assert_eq!(met(other), Met::Apart(barren), "{other}");
        }
    }
}
