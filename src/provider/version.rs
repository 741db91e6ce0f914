//! Version numbers as CLIs print them, and which of two is newer.

use std::cmp::Ordering;

/// A version found in the text a CLI printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    numbers: [u64; 3],
    pre_release: Option<String>,
}

impl Version {
    /// Finds the first `X.Y.Z`, with an optional suffix, or else the first `X.Y`, read as `X.Y.0`.
    #[must_use]
    pub fn find(text: &str) -> Option<Self> {
        let starts = || {
            text.char_indices()
                .filter(|(at, c)| c.is_ascii_digit() && !digit_before(text, *at))
        };
        let at = |wanted: usize| starts().find_map(|(at, _)| Self::read(text.get(at..)?, wanted));
        at(3).or_else(|| at(2))
    }

    /// Reads a version of exactly `wanted` numbers from the start of the text.
    fn read(text: &str, wanted: usize) -> Option<Self> {
        let mut numbers = [0; 3];
        let mut rest = text;
        for (index, number) in numbers.iter_mut().take(wanted).enumerate() {
            if index > 0 {
                rest = rest.strip_prefix('.')?;
            }
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            *number = rest.get(..digits)?.parse().ok()?;
            rest = rest.get(digits..)?;
        }
        Some(Self {
            numbers,
            pre_release: if wanted == 3 { pre_release(rest) } else { None },
        })
    }
}

fn digit_before(text: &str, at: usize) -> bool {
    text.get(..at)
        .and_then(|before| before.chars().next_back())
        .is_some_and(|c| c.is_ascii_digit() || c == '.')
}

fn pre_release(rest: &str) -> Option<String> {
    let suffix: String = rest
        .strip_prefix('-')?
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-'))
        .collect();
    (!suffix.is_empty()).then_some(suffix)
}

impl Ord for Version {
    /// Numbers first; a pre-release is older than its release; two pre-releases compare as text.
    fn cmp(&self, other: &Self) -> Ordering {
        self.numbers
            .cmp(&other.numbers)
            .then_with(|| match (&self.pre_release, &other.pre_release) {
                (None, None) => Ordering::Equal,
                (None, Some(_)) => Ordering::Greater,
                (Some(_), None) => Ordering::Less,
                (Some(own), Some(its)) => own.cmp(its),
            })
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Version {
        Version::find(text).unwrap_or_else(|| panic!("no version in {text:?}"))
    }

    #[test]
    fn versions_are_found_inside_what_clis_print() {
        assert_eq!(found("2.1.7 (Claude Code)").numbers, [2, 1, 7]);
        assert_eq!(
            found("codex-cli v0.42.1-alpha.3+build").pre_release.as_deref(),
            Some("alpha.3")
        );
        assert_eq!(found("tool 9.8, really 1.2.3").numbers, [1, 2, 3]);
        assert_eq!(found("only 3.4 here").numbers, [3, 4, 0]);
        assert_eq!(Version::find("none, not even 7 or 99999999999999999999.1.1"), None);
    }

    #[test]
    fn newer_is_greater() {
        for (older, newer) in [
            ("1.9.9", "1.10.0"),
            ("2.0.0-rc.1", "2.0.0"),
            ("2.0.0-alpha", "2.0.0-beta"),
        ] {
            assert!(found(older) < found(newer), "{older} < {newer}");
        }
        assert_eq!(found("1.2.3+a").cmp(&found("v1.2.3")), Ordering::Equal);
    }
}
