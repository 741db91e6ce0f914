//! Keys of well-known services, known by their shape and masked in whatever leaves the host.
//!
//! What merely has a suspect name stays: texts of agents and outputs of commands remain what they are.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::{Captures, Regex};

use crate::domain::redact::MARKER;

/// Tokens of Google, GitHub, Anthropic, OpenAI, AWS, Slack, of Supabase and of this program.
pub(super) const TOKENS: &str = r"(?-u:\b)(?:eyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}|sk-[A-Za-z0-9_-]{16,}|AIza[A-Za-z0-9_-]{20,}|ya29\.[A-Za-z0-9_-]{16,}|gh[opsur]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|gwop_[A-Za-z0-9_-]{16,}|xox[abprs]-[A-Za-z0-9-]{10,}|A(?:KIA|SIA)[A-Z0-9]{16}(?-u:\b)|(?:IQoJ|FwoG)[A-Za-z0-9/+]{100,}=*)";
/// How those begin.
const BEGINNINGS: &str = r"eyJ|sk-|AIza|ya29\.|gh[opsur]_|github_pat_|gwop_|xox[abprs]-|A(?:KIA|SIA)";
/// A text without any of these has nothing of a known shape in it; plain words are found fastest.
const HINT: &str = r"eyJ|sk-|AIza|ya29\.|gho_|ghp_|ghs_|ghu_|ghr_|github_pat_|gwop_|xox|AKIA|ASIA|IQoJ|FwoG|earer|EARER|uthorization|UTHORIZATION|ecret|ECRET";
/// A key that is still being written is held back up to so many bytes.
const LONGEST_KEY: usize = 4_096;

struct Patterns {
    hint: Option<Regex>,
    header: Option<Regex>,
    bearer: Option<Regex>,
    aws: Option<Regex>,
    token: Option<Regex>,
    unfinished: Option<Regex>,
}

/// Constants, compiled by the tests below; one that did not compile would hide nothing.
static PATTERNS: LazyLock<Patterns> = LazyLock::new(|| {
    let pattern = |text: &str| Regex::new(text).ok();
    Patterns {
        hint: pattern(HINT),
        header: pattern(
            r#"((?i-u:authorization)["']?[ \t]*[:=][ \t]*["']?(?i-u:Bearer|Basic|token)[ \t]+)[A-Za-z0-9._~+/=-]+"#,
        ),
        bearer: pattern(r"((?-u:\b)(?i-u:Bearer)[ \t]+)([A-Za-z0-9._~+/=-]{16,})"),
        aws: pattern(r#"((?i-u:secret[_-]?access[_-]?key)["']?[ \t]*[:=][ \t]*["']?)[A-Za-z0-9/+]{40}"#),
        token: pattern(TOKENS),
        unfinished: pattern(&format!(r"(?-u:\b)(?:{BEGINNINGS})[A-Za-z0-9._-]*$")),
    }
});

/// The text with the keys in it masked.
#[must_use]
pub fn masked(text: &str) -> Cow<'_, str> {
    let patterns = &*PATTERNS;
    if patterns.hint.as_ref().is_some_and(|hint| !hint.is_match(text)) {
        return Cow::Borrowed(text);
    }
    let mut clean = Cow::Borrowed(text);
    let mut step = |pattern: &Option<Regex>, with: fn(&Captures<'_>) -> String| {
        if let Some(pattern) = pattern
            && let Cow::Owned(changed) = pattern.replace_all(&clean, with)
        {
            clean = Cow::Owned(changed);
        }
    };
    step(&patterns.header, behind_its_name);
    step(&patterns.bearer, unless_prose);
    step(&patterns.aws, behind_its_name);
    step(&patterns.token, |_| MARKER.to_owned());
    clean
}

fn behind_its_name(found: &Captures<'_>) -> String {
    format!("{}{MARKER}", group(found, 1))
}

/// "Bearer" before a long word is prose.
fn unless_prose(found: &Captures<'_>) -> String {
    if group(found, 2).bytes().any(|byte| byte.is_ascii_digit()) {
        return behind_its_name(found);
    }
    group(found, 0).to_owned()
}

fn group<'a>(found: &Captures<'a>, number: usize) -> &'a str {
    found.get(number).map_or("", |group| group.as_str())
}

/// Where a key begins that the text ends with, as long as more may belong to it.
#[must_use]
pub fn unfinished(text: &str) -> Option<usize> {
    let near = text.ceil_char_boundary(text.len().saturating_sub(LONGEST_KEY));
    let found = PATTERNS.unfinished.as_ref()?.find(text.get(near..)?)?;
    Some(near + found.start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_compiles() {
        let p = &*PATTERNS;
        let all = [&p.hint, &p.header, &p.bearer, &p.aws, &p.token, &p.unfinished];
        assert!(all.into_iter().all(Option::is_some));
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
    fn names_alone_are_no_keys() {
        for plain in [
            "the bearer internationalization",
            "basic usage of secrets",
            "session: 5, token=getToken()",
            "Authorization: Bearer $TOKEN",
            "task-management-of-things sk-8",
            "größe",
        ] {
            assert_eq!(masked(plain), plain);
        }
    }

    #[test]
    fn a_key_that_is_being_written_is_seen() {
        assert_eq!(unfinished("größe sk-ant-a"), Some("größe ".len()));
        assert_eq!(unfinished("sk-ant-a "), None);
        assert_eq!(unfinished("ask-me"), None);
    }
}
