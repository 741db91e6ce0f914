//! The environment of children: what the user has, minus what belongs to the gateway.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::domain::secret::Secret;
use crate::process::mark;

/// Names that begin like this are the gateway's own.
const OWN_PREFIXES: &[&str] = &["PANORAMA_", "SUPABASE_"];
/// Further names that are the gateway's own, or secrets of the platform.
const OWN_NAMES: &[&str] = &[
    "DATABASE_URL",
    "DATABASE_CA_CERT",
    "GATEWAY_DATABASE_URL",
    "OPENROUTER_API_KEY",
    "BRAVE_SEARCH_API_KEY",
    "GATEWAY_TOKEN",
    // Each job gets its own; ours is there when we were started by a job ourselves.
    mark::NAME,
];
/// Words in the names of secrets, and in those of keys that everybody may know.
const SECRET_WORDS: &[&str] = &[
    "TOKEN",
    "SECRET",
    "PASS",
    "PWD",
    "KEY",
    "CREDENTIAL",
    "JWT",
    "DSN",
    "DATABASE_URL",
    "DB_URL",
];
const PUBLIC_WORDS: &[&str] = &["ANON_KEY", "PUBLISHABLE", "PUBLIC"];
/// Where children put temporary files.
const TEMP_NAMES: &[&str] = &["TMPDIR", "TMP", "TEMP"];

/// A complete environment for a child. Cheap to clone; `Debug` shows names only, values may be secrets of the user.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct ChildEnv(Arc<BTreeMap<OsString, OsString>>);

impl ChildEnv {
    /// Builds a child's environment from the environment the gateway was given.
    ///
    /// The user's own things stay (HOME, PATH, locale, proxies, agent settings). What goes: the gateway's own names
    /// by prefix and list, and every name in `from_env_file`, because that file was written for the gateway.
    /// Temporary files go to `temp_dir`.
    #[must_use]
    pub fn for_user(
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        from_env_file: &BTreeSet<String>,
        temp_dir: &Path,
    ) -> Self {
        let kept: BTreeMap<_, _> = environment
            .into_iter()
            .filter(|(name, _)| !is_own(name) && !is_in(from_env_file, name))
            .collect();
        Self(Arc::new(kept)).with_temp_dir(temp_dir)
    }

    /// The same environment with another place for temporary files.
    #[must_use]
    pub fn with_temp_dir(self, dir: &Path) -> Self {
        TEMP_NAMES.iter().fold(self, |env, name| env.with(name, dir))
    }

    /// Exactly these variables: for our own background processes and for children that need little.
    #[must_use]
    pub fn exactly(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        Self(Arc::new(variables.into_iter().collect()))
    }

    /// The same environment with one variable set.
    #[must_use]
    pub fn with(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        Arc::make_mut(&mut self.0).insert(name.into(), value.into());
        self
    }

    /// The same environment with one variable less.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        Arc::make_mut(&mut self.0).remove(OsStr::new(name));
        self
    }

    /// One variable.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        self.0.get(OsStr::new(name)).map(OsString::as_os_str)
    }

    /// Every variable, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.0.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()))
    }
}

impl fmt::Debug for ChildEnv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// The secrets among what [`ChildEnv::for_user`] leaves out. A job of the same account can still read them where the
/// gateway has them from: in its process, or in the env file.
pub fn withheld_secrets<'a>(
    environment: impl IntoIterator<Item = (&'a OsStr, &'a OsStr)>,
    from_env_file: &BTreeSet<String>,
) -> impl Iterator<Item = Secret> {
    let withheld = environment
        .into_iter()
        .filter(move |(name, _)| is_own(name) || is_in(from_env_file, name));
    let secret = withheld.filter(|(name, _)| name.to_str().is_some_and(names_secret));
    secret.filter_map(|(_, value)| value.to_str().map(Secret::new))
}

fn names_secret(name: &str) -> bool {
    let has = |words: &[&str]| words.iter().any(|word| name.to_ascii_uppercase().contains(word));
    has(SECRET_WORDS) && !has(PUBLIC_WORDS)
}

fn is_own(name: &OsStr) -> bool {
    let bytes = name.as_encoded_bytes();
    OWN_PREFIXES.iter().any(|prefix| bytes.starts_with(prefix.as_bytes()))
        || OWN_NAMES.iter().any(|own| bytes == own.as_bytes())
}

fn is_in(names: &BTreeSet<String>, name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| names.contains(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrubbed(names: &[&str], from_file: &[&str]) -> Vec<String> {
        let environment = names.iter().map(|name| (OsString::from(name), OsString::from("v")));
        let from_file = from_file.iter().map(|name| (*name).to_owned()).collect();
        ChildEnv::for_user(environment, &from_file, Path::new("/state/tmp"))
            .iter()
            .map(|(name, _)| name.to_str().unwrap().to_owned())
            .filter(|name| !TEMP_NAMES.contains(&name.as_str()))
            .collect()
    }

    #[test]
    fn the_gateways_own_names_go_by_prefix() {
        for prefix in [
            "PANORAMA_",
            "PANORAMA_GATEWAY_",
            "PANORAMA_VM_BOOTSTRAP_",
            "SUPABASE_",
            "SUPABASE_JWT_",
        ] {
            for suffix in ["", "X", "URL", "SECRET"] {
                assert_eq!(scrubbed(&[&format!("{prefix}{suffix}")], &[]), [""; 0]);
            }
        }
        assert_eq!(scrubbed(OWN_NAMES, &[]), [""; 0]);
    }

    #[test]
    fn the_users_own_names_stay() {
        let kept = [
            "ANTHROPIC_API_KEY",
            "DATABASE_URL_X",
            "GATEWAY_TOKENS",
            "HOME",
            "HTTPS_PROXY",
            "MY_PANORAMA_X",
            "PATH",
            "http_proxy",
            "panorama_x",
        ];
        assert_eq!(scrubbed(&kept, &[]), kept);
    }

    #[test]
    fn what_an_env_file_brought_goes() {
        assert_eq!(scrubbed(&["A", "B"], &["A"]), ["B"]);
    }

    #[test]
    fn withheld_secrets_are_known_and_what_is_public_or_the_users_is_not() {
        let named = [
            "PANORAMA_VM_BOOTSTRAP_TOKEN",
            "SUPABASE_SERVICE_ROLE_KEY",
            "DATABASE_URL",
            "from_file_password",
            "FROM_FILE_NAME",
            "PANORAMA_SUPABASE_ANON_KEY",
            "PANORAMA_GATEWAY_CONCURRENCY",
            "GITHUB_TOKEN",
        ];
        let environment = named.iter().map(|name| (OsStr::new(name), OsStr::new(name)));
        let from_file = ["from_file_password", "FROM_FILE_NAME"].map(str::to_owned).into();
        let found: Vec<_> = withheld_secrets(environment, &from_file).collect();
        let found: Vec<_> = found.iter().map(Secret::expose).collect();
        assert_eq!(found, &named[..4]);
    }

    #[test]
    fn temporary_files_go_to_the_given_directory() {
        let given = [(OsString::from("TMPDIR"), OsString::from("/elsewhere"))];
        let env = ChildEnv::for_user(given, &BTreeSet::new(), Path::new("/state/tmp"));
        for name in TEMP_NAMES {
            assert_eq!(env.get(name), Some(OsStr::new("/state/tmp")));
        }
    }

    #[test]
    fn debug_shows_no_value() {
        let env = ChildEnv::default().with("KEY", "hunter2");
        assert_eq!(format!("{env:?}"), "{\"KEY\"}");
    }
}
