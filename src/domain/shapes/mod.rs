//! Keys of well-known services, known by their shape and masked in whatever leaves the host.
//!
//! What merely has a suspect name stays: texts of agents and outputs of commands remain what they are.

mod border;
mod kinds;
mod stream;

use std::borrow::Cow;
use std::ops::Range;
use std::sync::LazyLock;

use regex::{Match, Regex};

pub use self::stream::Stream;

use self::border::begins_word;
use self::kinds::{Alphabet, Body, KINDS, Met, NAME_HINTS, NAMES, run};
use crate::domain::redact::MARKER;

struct Patterns {
    /// Whatever has none of these has no key in it; plain words are found fastest.
    hint: Option<Regex>,
    names: Vec<(Regex, Body)>,
}

/// Constants, compiled by the tests below; one that did not compile would hide nothing.
static PATTERNS: LazyLock<Patterns> = LazyLock::new(|| {
    let begins: Vec<_> = KINDS.iter().map(|kind| regex::escape(kind.begins)).collect();
    let names = NAMES.iter();
    Patterns {
        hint: Regex::new(&format!("{}|{NAME_HINTS}", begins.join("|"))).ok(),
        names: names
            .filter_map(|(name, body)| Some((Regex::new(name).ok()?, *body)))
            .collect(),
    }
});

/// The text with the keys in it masked.
#[must_use]
pub fn masked(text: &str) -> Cow<'_, str> {
    let found = scan(text, 0).keys;
    if found.is_empty() {
        return Cow::Borrowed(text);
    }
    Cow::Owned(rendered(text, &found, 0))
}

/// Whether there is a key in the text.
#[must_use]
pub fn holds_key(text: &str) -> bool {
    !scan(text, 0).keys.is_empty()
}

/// What stands behind `from`, with the marker in place of keys.
fn rendered(text: &str, keys: &[Range<usize>], from: usize) -> String {
    let mut clean = String::with_capacity(text.len().saturating_sub(from));
    let mut at = from;
    for key in keys.iter().filter(|key| key.end > from) {
        clean.push_str(text.get(at..key.start).unwrap_or_default());
        clean.push_str(MARKER);
        at = key.end;
    }
    clean.push_str(text.get(at..).unwrap_or_default());
    clean
}

/// What may be a key, once its body is looked at.
struct Candidate {
    /// Where its name or itself begins.
    begins: usize,
    /// Where what is taken out begins.
    secret: usize,
    /// Where the body begins.
    body_at: usize,
    body: Body,
}

impl Candidate {
    fn at(text: &str, hit: &Match<'_>) -> Option<Self> {
        match KINDS.iter().find(|kind| kind.begins == hit.as_str()) {
            Some(kind) => {
                let begins = !kind.is_common || begins_word(text.as_bytes(), hit.start());
                begins.then_some(Self {
                    begins: hit.start(),
                    secret: hit.start(),
                    body_at: hit.end(),
                    body: kind.body,
                })
            }
            None => Self::named(text, hit.start().checked_sub(1)?),
        }
    }

    fn named(text: &str, at: usize) -> Option<Self> {
        let rest = text.get(at..)?;
        PATTERNS.names.iter().find_map(|(name, body)| {
            let secret = at + name.find(rest)?.end();
            Some(Self {
                begins: at,
                secret,
                body_at: secret,
                body: *body,
            })
        })
    }
}

/// What stands in a text.
#[derive(Default)]
struct Found {
    /// Keys, in order and apart.
    keys: Vec<Range<usize>>,
    /// What goes to the end of the text.
    open: Option<Open>,
}

/// More may belong to it, or make it a key.
struct Open {
    /// Where its name or itself begins.
    begins: usize,
    /// Where what is taken out begins.
    secret: usize,
    /// What more of it consists of; nothing as long as it is no key.
    more: Option<Alphabet>,
}

/// One look for beginnings from `at` on, and one at what stands behind each.
fn scan(text: &str, mut at: usize) -> Found {
    let mut found = Found::default();
    let Some(hint) = &PATTERNS.hint else { return found };
    // Up to where another one of a kind would fail like the one before it: however long a text, it is read once.
    let mut barren = ("", 0);
    while let Some(hit) = hint.find_at(text, at) {
        at = hit.start() + 1;
        if barren.0 == hit.as_str() && hit.start() < barren.1 {
            continue;
        }
        let Some(candidate) = Candidate::at(text, &hit) else {
            continue;
        };
        let body = text.as_bytes().get(candidate.body_at..).unwrap_or_default();
        let met = candidate.body.follow(body);
        let is_key = met == Met::Key(body.len());
        if is_key || met == Met::Begun {
            found.open.get_or_insert(Open {
                begins: candidate.begins,
                secret: candidate.secret,
                more: is_key.then(|| candidate.body.alphabet()),
            });
        }
        match met {
            Met::Key(length) => {
                at = candidate.body_at + length;
                found.keys.push(candidate.secret..at);
            }
            Met::Begun => barren = (hit.as_str(), candidate.body_at + run(body, candidate.body.alphabet())),
            Met::Apart(length) => barren = (hit.as_str(), candidate.body_at + length),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_compiles() {
        assert!(PATTERNS.hint.is_some());
        assert_eq!(PATTERNS.names.len(), NAMES.len());
    }

    #[test]
    fn keys_are_known_by_their_shape() {
        let aws = ["wJalrXUtnFEMI/K7MDENG/", "bPxRfiCYEXAMPLEKEY"].concat();
        for (given, shown) in [
            (["AKIA", "IOSFODNN7EXAMPLE"].concat(), MARKER),
            (
                format!("aws_secret_access_key = {aws}"),
                "aws_secret_access_key = [REDACTED]",
            ),
            (
                format!(r#""SecretAccessKey": "{aws}","#),
                r#""SecretAccessKey": "[REDACTED]","#,
            ),
            (
                ["-H 'Authorization: Bearer ", "x'"].concat(),
                "-H 'Authorization: Bearer [REDACTED]'",
            ),
            (["bearer ", "abcdefghij0123456789"].concat(), "bearer [REDACTED]"),
            (["IQoJ", &"b3JpZ2lu".repeat(20), "=="].concat(), MARKER),
            (["ya29.", "a0AfH6SMBabcdefghij"].concat(), MARKER),
            (["AIzaSyA-", "bcdefghijklmnopqrstu"].concat(), MARKER),
            (["sk-ant-", "api03-abcdefghij"].concat(), MARKER),
            (
                ["sk-proj-", "ABCDEFGHIJKLMNOP, gho_", &"a".repeat(36)].concat(),
                "[REDACTED], [REDACTED]",
            ),
        ] {
            assert_eq!(masked(&given), shown, "{given}");
        }
    }

    #[test]
    fn a_key_is_known_behind_an_escape() {
        let key = ["sk-ant-", "api03-abcdefghij"].concat();
        let token = ["ghp_", &"a".repeat(36)].concat();
        let web = ["eyJhbGciOi", ".eyJzdWIiOi.c2lnbmF0dXJl"].concat();
        for before in [
            "key:\\n",
            "\\\\t",
            "\x1b[31m",
            "\x1b[01;31m\x1b[K",
            "\\u001b[1m",
            "a%3D",
            "\\0",
        ] {
            for key in [&key, &token, &web] {
                assert_eq!(masked(&format!("{before}{key}\\n")), format!("{before}[REDACTED]\\n"));
            }
        }
        assert_eq!(masked(&format!("MY{token}")), "MY[REDACTED]");
        assert_eq!(masked(&format!(r"\nBearer {key}")), r"\nBearer [REDACTED]");
        let header = r#"{\"Authorization\": \"Bearer x\"}"#;
        assert_eq!(masked(header), r#"{\"Authorization\": \"Bearer [REDACTED]\"}"#);
    }

    #[test]
    fn a_key_is_found_behind_what_only_looks_like_one() {
        let key = ["sk-ant-", "api03-abcdefghij"].concat();
        assert_eq!(masked(&format!("task-{key}")), "task-[REDACTED]");
        assert_eq!(masked(&format!("eyJabcdef-{key}.")), "eyJabcdef-[REDACTED].");
    }

    #[test]
    fn what_is_no_key_is_looked_at_once() {
        for word in ["-eyJ", "AKIAx", "task-", "secret ", "bearer a/"] {
            for behind in ["", " ", ".x ", ".abcdefgh"] {
                let text = word.repeat(50_000) + behind;
                assert!(scan(&text, 0).keys.is_empty(), "{word} {behind}");
            }
        }
    }

    #[test]
    fn names_alone_are_no_keys() {
        for plain in [
            "the bearer internationalization",
            "basic usage of secrets",
            "session: 5, token=getToken()",
            "Authorization: Bearer $TOKEN",
            "task-management-of-things sk-8",
            "risk-management-of-things desk-organiser-for-two disk-encryption-at-rest",
            r"C:\task-management-of-things \x1b[31mdesk-organiser-for-two",
            "hotkeyJumplist.prototype.something",
            "100%desk-organiser-for-two",
            "a clearer /usr/lib/python3.11/site-packages",
            "EURASIABCDEFGHIJKLMNOPQ",
            "größe",
        ] {
            assert_eq!(masked(plain), plain);
        }
    }
}
