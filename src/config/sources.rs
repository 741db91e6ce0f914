//! The environment as a value. The process environment is read here, once, and nowhere else.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use directories::BaseDirs;
use nix::unistd::gethostname;

/// A snapshot of environment variables, plus those an env file added.
#[derive(Clone, Default)]
pub struct Environment {
    vars: BTreeMap<OsString, OsString>,
    from_file: BTreeSet<String>,
}

/// Names only: values may be secrets.
impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.vars.keys()).finish()
    }
}

impl Environment {
    /// The environment this process was started with.
    #[must_use]
    pub fn of_process() -> Self {
        std::env::vars_os().collect()
    }

    /// The trimmed value of `name`; a blank or non-UTF-8 value counts as absent.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let value = self.vars.get(OsStr::new(name))?.to_str()?.trim();
        (!value.is_empty()).then_some(value)
    }

    /// The first of `names` that has a value, with that value.
    #[must_use]
    pub fn first<'a>(&self, names: &[&'a str]) -> Option<(&'a str, &str)> {
        names.iter().find_map(|name| Some((*name, self.get(name)?)))
    }

    /// The value of `name` as a path, which need not be UTF-8.
    #[must_use]
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        let value = self.vars.get(OsStr::new(name))?;
        (!value.is_empty()).then(|| PathBuf::from(value))
    }

    /// Every variable as it came, for building the environment of a child.
    pub fn vars(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.vars
            .iter()
            .map(|(name, value)| (name.as_os_str(), value.as_os_str()))
    }

    /// Adds what an env file holds. A variable that is set already wins over the file.
    #[must_use]
    pub fn with_file(mut self, entries: impl IntoIterator<Item = (String, String)>) -> Self {
        for (name, value) in entries {
            if !self.vars.contains_key(OsStr::new(&name)) {
                self.vars.insert(OsString::from(&name), OsString::from(value));
                self.from_file.insert(name);
            }
        }
        self
    }

    /// Names that only the env file brought in; children do not get them.
    #[must_use]
    pub const fn names_from_file(&self) -> &BTreeSet<String> {
        &self.from_file
    }

    /// The home directory: `HOME`, else the password database.
    #[must_use]
    pub fn home(&self) -> Option<PathBuf> {
        self.path("HOME")
            .or_else(|| Some(BaseDirs::new()?.home_dir().to_path_buf()))
            .filter(|home| home.is_absolute())
    }
}

impl<K: Into<OsString>, V: Into<OsString>> FromIterator<(K, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        Self {
            vars: pairs
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
            from_file: BTreeSet::new(),
        }
    }
}

/// The name of this host, the last resort for a device name.
#[must_use]
pub fn hostname() -> String {
    gethostname().map_or_else(
        |_unknown| "gateway".to_owned(),
        |name| name.to_string_lossy().into_owned(),
    )
}

/// `1/true/yes/on` and `0/false/no/off`, in any case; anything else is no boolean.
#[must_use]
pub fn parse_bool(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Some(true),
        "0" | "false" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// The integer a text begins with (`30s` is 30); no digits, no integer. Too many digits saturate.
#[must_use]
pub fn parse_leading_integer(text: &str) -> Option<u64> {
    let text = text.trim();
    let text = text.strip_prefix('+').unwrap_or(text);
    let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
    (!digits.is_empty()).then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blank_value_is_no_value() {
        let env: Environment = [("A", "  "), ("B", " b ")].into_iter().collect();
        assert_eq!(env.get("A"), None);
        assert_eq!(env.first(&["A", "B"]), Some(("B", "b")));
    }

    #[test]
    fn a_file_never_overrides_and_its_names_are_known() {
        let env: Environment = [("A", "process")].into_iter().collect();
        let env = env.with_file([("A", "file"), ("B", "file")].map(|(k, v)| (k.to_owned(), v.to_owned())));
        assert_eq!(env.get("A"), Some("process"));
        assert_eq!(env.get("B"), Some("file"));
        assert_eq!(env.names_from_file().iter().collect::<Vec<_>>(), ["B"]);
    }

    #[test]
    fn booleans_and_integers_follow_their_rules() {
        assert_eq!(parse_bool(" YES "), Some(true));
        assert_eq!(parse_bool("off"), Some(false));
        assert_eq!(parse_bool("maybe"), None);
        assert_eq!(parse_leading_integer("30s"), Some(30));
        assert_eq!(parse_leading_integer("-3"), None);
        assert_eq!(parse_leading_integer(""), None);
    }

    #[test]
    fn a_home_is_absolute_or_none() {
        let home = |home: &str| [("HOME", home)].into_iter().collect::<Environment>().home();
        assert_eq!(home("/home/a"), Some(PathBuf::from("/home/a")));
        assert_eq!(home("home/a"), None);
        assert!(Environment::default().home().is_some_and(|home| home.is_absolute()));
    }

    #[test]
    fn debug_shows_names_only() {
        let env: Environment = [("TOKEN", "hunter2")].into_iter().collect();
        assert_eq!(format!("{env:?}"), "{\"TOKEN\"}");
    }
}
