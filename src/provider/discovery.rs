//! Where an agent CLI may lie on this machine. Looks at files, starts nothing.
//!
//! A daemon has not the PATH of the person who installed the CLI, so the folders in which package managers put
//! programs are searched as well. What is executed must not be for everybody to choose: relative folders and
//! folders or files that all users may write are passed over.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::provider::ProviderId;

/// How many programs of one name are asked for their version.
const MAX_CANDIDATES: usize = 12;
/// Largest file that may be a wrapper script, in bytes.
const MAX_WRAPPER_BYTES: u64 = 4096;

/// Variables that name a folder of programs, with the part to add.
const DIR_VARIABLES: &[(&str, &str)] = &[
    ("PNPM_HOME", ""),
    ("NPM_CONFIG_PREFIX", "bin"),
    ("npm_config_prefix", "bin"),
    ("VOLTA_HOME", "bin"),
    ("BUN_INSTALL", "bin"),
    ("HOMEBREW_PREFIX", "bin"),
    ("BREW_PREFIX", "bin"),
    ("ASDF_DATA_DIR", "shims"),
];
const MACOS_DIRS: &[&str] = &["/opt/homebrew/bin", "/usr/local/bin", "~/Library/pnpm"];
const UNIX_DIRS: &[&str] = &[
    "/usr/local/bin",
    "/usr/bin",
    "/bin",
    "~/.local/bin",
    "~/bin",
    "~/.npm-global/bin",
    "~/.nvm/versions/node/current/bin",
    "~/.asdf/shims",
    "~/.nix-profile/bin",
];
/// Places where Claude Code installs itself.
const CLAUDE_HOMES: &[&str] = &["~/.claude/local/claude", "~/.claude/claude"];

/// Folders of programs and the home directory, in the order of the search.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Places {
    home: Option<PathBuf>,
    dirs: Vec<PathBuf>,
}

impl Places {
    /// Reads the places out of an environment that the caller hands in.
    pub fn from_environment(home: Option<&Path>, lookup: impl Fn(&str) -> Option<String>) -> Self {
        let mut places = Self {
            home: home.map(Path::to_path_buf),
            dirs: Vec::new(),
        };
        for (variable, below) in DIR_VARIABLES {
            if let Some(root) = lookup(variable).filter(|root| !root.is_empty()) {
                places.add(&format!("{}/{below}", root.trim_end_matches('/')));
            }
        }
        let fixed = if cfg!(target_os = "macos") { MACOS_DIRS } else { &[] };
        for dir in fixed.iter().chain(UNIX_DIRS) {
            places.add(dir);
        }
        for dir in lookup("PATH").unwrap_or_default().split(':') {
            places.add(dir);
        }
        places
    }

    /// Only these folders, and no home.
    #[must_use]
    pub fn only(dirs: Vec<PathBuf>) -> Self {
        Self { home: None, dirs }
    }

    fn add(&mut self, dir: &str) {
        let Some(dir) = self.expand(dir) else { return };
        // Joined and split again, so that `/usr/bin/` and `/usr/bin` are one.
        let dir: PathBuf = dir.components().collect();
        if !self.dirs.contains(&dir) {
            self.dirs.push(dir);
        }
    }

    /// An absolute path with `~/` replaced; none for everything else.
    fn expand(&self, path: &str) -> Option<PathBuf> {
        let expanded = match path.strip_prefix("~/") {
            Some(inside) => self.home.as_ref()?.join(inside),
            None => PathBuf::from(path),
        };
        expanded.is_absolute().then_some(expanded)
    }

    /// The home directory, if there is one.
    #[must_use]
    pub fn home(&self) -> Option<&Path> {
        self.home.as_deref()
    }

    /// The programs that may be this provider, each real file once, best places first.
    #[must_use]
    pub fn candidates(&self, provider: ProviderId) -> Vec<PathBuf> {
        let own_homes = match provider {
            ProviderId::ClaudeCode => CLAUDE_HOMES,
            ProviderId::Codex | ProviderId::Gemini => &[],
        };
        let own = own_homes.iter().filter_map(|path| self.expand(path));
        let named = self.dirs.iter().map(|dir| dir.join(provider.program()));
        let mut seen = BTreeSet::new();
        own.chain(named)
            .filter(|path| is_trusted_program(path))
            .filter(|path| fs::canonicalize(path).is_ok_and(|real| seen.insert(real)))
            .take(MAX_CANDIDATES)
            .collect()
    }

    /// What a person named instead of the search: a path, `~/` included, or a bare name from the folders.
    #[must_use]
    pub fn named(&self, command: &str) -> Option<PathBuf> {
        if command.contains('/') {
            let path = self.expand(command).unwrap_or_else(|| PathBuf::from(command));
            return path.is_file().then_some(path);
        }
        self.dirs
            .iter()
            .map(|dir| dir.join(command))
            .find(|path| is_program(path))
    }

    /// The given program, or another one of the provider when it is a wrapper script around nothing.
    #[must_use]
    pub fn around_broken_wrapper(&self, provider: ProviderId, program: PathBuf) -> PathBuf {
        if provider != ProviderId::ClaudeCode || !self.is_broken_wrapper(&program) {
            return program;
        }
        let real = fs::canonicalize(&program).ok();
        let other = self
            .candidates(provider)
            .into_iter()
            .find(|path| *path != program && fs::canonicalize(path).ok() != real && !self.is_broken_wrapper(path));
        other.unwrap_or(program)
    }

    /// A short script that hands over to an absolute path at which there is nothing.
    #[must_use]
    pub fn is_broken_wrapper(&self, program: &Path) -> bool {
        let small = fs::metadata(program).is_ok_and(|meta| meta.is_file() && meta.len() <= MAX_WRAPPER_BYTES);
        let Some(text) = small.then(|| fs::read_to_string(program).ok()).flatten() else {
            return false;
        };
        exec_target(&text)
            .and_then(|target| self.expand(target))
            .is_some_and(|target| !target.exists())
    }
}

/// The word behind the first `exec` of a script, without its quotes.
fn exec_target(script: &str) -> Option<&str> {
    let after = script
        .lines()
        .find_map(|line| line.trim_start().strip_prefix("exec "))?;
    let after = after.trim_start();
    let target = match after.chars().next()? {
        quote @ ('"' | '\'') => after.get(1..)?.split(quote).next()?,
        _ => after.split_whitespace().next()?,
    };
    // A variable is for the shell to know.
    (!target.contains('$')).then_some(target)
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

fn is_trusted_program(path: &Path) -> bool {
    let closed = |path: &Path| fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o002 == 0);
    is_program(path) && closed(path) && path.parent().is_some_and(closed)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;

    fn program(dir: &Path, name: &str, mode: u32, text: &str) -> PathBuf {
        fs::create_dir_all(dir).unwrap();
        let path = dir.join(name);
        #[expect(clippy::disallowed_methods, reason = "a fake program of a test")]
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    fn places(home: &Path, path: &str) -> Places {
        let path = path.to_owned();
        Places::from_environment(Some(home), |name| match name {
            "PATH" => Some(path.clone()),
            "VOLTA_HOME" => Some(home.join("volta").display().to_string()),
            _ => None,
        })
    }

    #[test]
    fn folders_of_package_managers_come_before_path() {
        let home = TempDir::new().unwrap();
        let places = places(home.path(), "relative:/opt/x/bin/::/usr/bin");
        let at = |dir: &Path| places.dirs.iter().position(|other| other == dir).unwrap();
        assert_eq!(at(&home.path().join("volta/bin")), 0);
        assert!(at(&home.path().join(".local/bin")) < at(Path::new("/opt/x/bin")));
        assert_eq!(
            places.dirs.iter().filter(|dir| **dir == Path::new("/usr/bin")).count(),
            1
        );
        assert!(places.dirs.iter().all(|dir| dir.is_absolute()));
    }

    #[test]
    fn candidates_are_programs_each_real_file_once() {
        let home = TempDir::new().unwrap();
        let real = program(&home.path().join(".claude/local"), "claude", 0o755, "x");
        let bin = home.path().join("volta/bin");
        fs::create_dir_all(&bin).unwrap();
        symlink(&real, bin.join("claude")).unwrap();
        program(&home.path().join("bin"), "claude", 0o644, "not executable");
        program(
            &home.path().join(".local/bin"),
            "claude",
            0o757,
            "for everybody to write",
        );
        let second = program(&home.path().join(".asdf/shims"), "claude", 0o755, "y");
        let found = places(home.path(), "").candidates(ProviderId::ClaudeCode);
        let ours: Vec<_> = found.into_iter().filter(|path| path.starts_with(home.path())).collect();
        assert_eq!(ours, [real, second]);
    }

    #[test]
    fn a_named_command_is_a_path_or_a_name() {
        let home = TempDir::new().unwrap();
        let own = program(&home.path().join("bin"), "my-claude", 0o755, "x");
        let places = places(home.path(), "");
        assert_eq!(places.named("~/bin/my-claude"), Some(own.clone()));
        assert_eq!(places.named("my-claude"), Some(own));
        assert_eq!(places.named("/nowhere/claude"), None);
    }

    #[test]
    fn a_wrapper_around_nothing_gives_way() {
        let home = TempDir::new().unwrap();
        let wrapper = |text: &str| program(&home.path().join("wrappers"), "claude", 0o755, text);
        let places = places(home.path(), "");
        for broken in [
            "exec \"/gone/claude\" \"$@\"",
            "  exec '~/gone/claude'",
            "#!/bin/sh\nexec /gone/claude $*",
        ] {
            assert!(places.is_broken_wrapper(&wrapper(broken)), "{broken}");
        }
        for fine in [
            "exec /bin/sh",
            "exec \"$HOME/x\"",
            "exec node /gone.js",
            "no wrapper at all",
        ] {
            assert!(!places.is_broken_wrapper(&wrapper(fine)), "{fine}");
        }
        let broken = wrapper("exec /gone/claude");
        let other = program(&home.path().join(".claude"), "claude", 0o755, "works");
        assert_eq!(
            places.around_broken_wrapper(ProviderId::ClaudeCode, broken.clone()),
            other
        );
        assert_eq!(places.around_broken_wrapper(ProviderId::Codex, broken.clone()), broken);
        fs::remove_file(other).unwrap();
        let alone = Places::only(Vec::new());
        assert_eq!(
            alone.around_broken_wrapper(ProviderId::ClaudeCode, broken.clone()),
            broken
        );
    }
}
