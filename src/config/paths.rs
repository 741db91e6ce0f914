//! Where everything lives. Resolved once per command, from flags, environment and defaults, and then
//! handed on as a value: the choice is never written back into the environment.

use std::path::{Component, Path, PathBuf};

use crate::config::sources::Environment;

/// The file whose presence in the fallback directory says "the state lives here".
pub const FALLBACK_MARKER: &str = "in-use";

/// Paths given as flags.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--config-dir`.
    pub config_dir: Option<PathBuf>,
    /// `--config-path`.
    pub config_path: Option<PathBuf>,
    /// `--log-path`.
    pub log_path: Option<PathBuf>,
    /// `--pid-path`.
    pub pid_path: Option<PathBuf>,
}

/// Every path of this gateway, absolute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// The state directory.
    pub dir: PathBuf,
    /// The session file, `gateway.json`.
    pub config_file: PathBuf,
    /// The log.
    pub log_file: PathBuf,
    /// The pid file, for people.
    pub pid_file: PathBuf,
    /// Where the state may go when `dir` cannot be written; none when a path was chosen by hand.
    pub fallback_dir: Option<PathBuf>,
}

/// Paths could not be resolved.
#[derive(Debug, thiserror::Error)]
pub enum PathsError {
    /// No `HOME` and no password entry.
    #[error("the home directory of this user is unknown; set HOME, or name a directory with --config-dir")]
    NoHome,
    /// The working directory is gone, and a relative path was given.
    #[error("the current directory cannot be used to make a path absolute: {0}")]
    NoCurrentDir(#[source] std::io::Error),
}

impl Paths {
    /// Resolves every path: flag, then environment, then default.
    ///
    /// # Errors
    /// [`PathsError`] when neither a directory was chosen nor a home is known.
    pub fn resolve(flags: &Overrides, env: &Environment) -> Result<Self, PathsError> {
        let pick = |flag: &Option<PathBuf>, name: &str| {
            let chosen = flag.clone().filter(|path| !path.as_os_str().is_empty());
            chosen.or_else(|| env.path(name)).map(absolute).transpose()
        };
        let chosen_dir = pick(&flags.config_dir, "PANORAMA_GATEWAY_CONFIG_DIR")?;
        let chosen_file = pick(&flags.config_path, "PANORAMA_GATEWAY_CONFIG_PATH")?;
        let by_hand = chosen_dir.is_some() || chosen_file.is_some();
        let (dir, fallback_dir) = match chosen_dir {
            Some(dir) => (dir, None),
            None => default_dirs(env, by_hand)?,
        };
        let mut paths = Self::in_dir(dir);
        if let Some(file) = chosen_file {
            paths.set_config_file(file);
        }
        if let Some(log) = pick(&flags.log_path, "PANORAMA_GATEWAY_LOG_PATH")? {
            paths.log_file = log;
        }
        if let Some(pid) = pick(&flags.pid_path, "PANORAMA_GATEWAY_PID_PATH")? {
            paths.pid_file = pid;
        }
        paths.fallback_dir = fallback_dir;
        Ok(paths)
    }

    /// The default layout inside one directory.
    #[must_use]
    pub fn in_dir(dir: impl Into<PathBuf>) -> Self {
        let dir = dir.into();
        Self {
            config_file: dir.join("gateway.json"),
            log_file: dir.join("gateway.log"),
            pid_file: dir.join("gateway.pid"),
            dir,
            fallback_dir: None,
        }
    }

    /// The same choices with the fallback directory in place of the default one. A log or pid path
    /// chosen by hand stays.
    #[must_use]
    pub fn moved_to_fallback(&self) -> Option<Self> {
        let fallback = self.fallback_dir.clone()?;
        let before = Self::in_dir(self.dir.clone());
        let mut moved = Self::in_dir(fallback);
        if self.log_file != before.log_file {
            moved.log_file.clone_from(&self.log_file);
        }
        if self.pid_file != before.pid_file {
            moved.pid_file.clone_from(&self.pid_file);
        }
        Some(moved)
    }

    /// Log and pid file lie beside the session file unless chosen by hand.
    fn set_config_file(&mut self, file: PathBuf) {
        self.log_file = file.with_file_name("gateway.log");
        self.pid_file = file.with_file_name("gateway.pid");
        self.config_file = file;
    }

    /// The directory of the session file.
    #[must_use]
    pub fn config_file_dir(&self) -> &Path {
        self.config_file.parent().unwrap_or(&self.dir)
    }

    /// Owner-only Unix socket of the daemon.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.dir.join("gateway.sock")
    }

    /// The journal of jobs and unreported results.
    #[must_use]
    pub fn journal(&self) -> PathBuf {
        self.dir.join("journal.sqlite")
    }

    /// The lock a running daemon holds.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.dir.join("gateway.lock")
    }

    /// The owner's book of what was done.
    #[must_use]
    pub fn audit(&self) -> PathBuf {
        self.dir.join("audit.log")
    }

    /// Temporary files of children.
    #[must_use]
    pub fn tmp(&self) -> PathBuf {
        self.dir.join("tmp")
    }

    /// Work directories of jobs.
    #[must_use]
    pub fn work(&self) -> PathBuf {
        self.dir.join("work")
    }

    /// The operator's credential.
    #[must_use]
    pub fn operator_file(&self) -> PathBuf {
        self.dir.join("operator.json")
    }

    /// State of the embedded control plane.
    #[must_use]
    pub fn control_plane_dir(&self) -> PathBuf {
        self.dir.join("control-plane")
    }

    /// Why the last daemon ended.
    #[must_use]
    pub fn last_exit(&self) -> PathBuf {
        self.dir.join("last_exit.json")
    }

    /// What provider probes found, remembered.
    #[must_use]
    pub fn probes(&self) -> PathBuf {
        self.dir.join("probes.json")
    }
}

/// The default directory and, unless something was chosen by hand, its fallback.
fn default_dirs(env: &Environment, by_hand: bool) -> Result<(PathBuf, Option<PathBuf>), PathsError> {
    let home = env.home().ok_or(PathsError::NoHome)?;
    let dir = home.join(".panorama").join("gateway");
    if by_hand {
        return Ok((dir, None));
    }
    let fallback = fallback_dir(&home, env);
    if is_in_use(&fallback) {
        return Ok((fallback, None));
    }
    Ok((dir, Some(fallback)))
}

fn fallback_dir(home: &Path, env: &Environment) -> PathBuf {
    if cfg!(target_os = "macos") {
        return home
            .join("Library")
            .join("Application Support")
            .join("Panorama Gateway");
    }
    let data = env.path("XDG_DATA_HOME").filter(|path| path.is_absolute());
    data.unwrap_or_else(|| home.join(".local").join("share"))
        .join("panorama-gateway")
}

/// A marker left by the command that moved there makes every later command look there too.
fn is_in_use(fallback: &Path) -> bool {
    std::fs::symlink_metadata(fallback.join(FALLBACK_MARKER)).is_ok_and(|found| found.is_file())
}

/// Absolute and without `.` and `..`, by text alone: links are judged when the path is opened.
fn absolute(path: PathBuf) -> Result<PathBuf, PathsError> {
    let full = std::path::absolute(path).map_err(PathsError::NoCurrentDir)?;
    let mut clean = PathBuf::new();
    for part in full.components() {
        match part {
            Component::ParentDir => {
                clean.pop();
            }
            Component::CurDir => {}
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => clean.push(part),
        }
    }
    Ok(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> Environment {
        pairs.iter().copied().collect()
    }

    #[test]
    fn defaults_lie_in_the_home_directory() {
        let paths = Paths::resolve(&Overrides::default(), &env(&[("HOME", "/nowhere/home")])).unwrap();
        assert_eq!(paths.dir, Path::new("/nowhere/home/.panorama/gateway"));
        assert_eq!(paths.config_file, paths.dir.join("gateway.json"));
        assert!(paths.fallback_dir.is_some());
    }

    #[test]
    fn flag_beats_environment_and_log_follows_the_config_file() {
        let flags = Overrides {
            config_path: Some("/a/b/../g.json".into()),
            ..Overrides::default()
        };
        let env = env(&[
            ("HOME", "/nowhere"),
            ("PANORAMA_GATEWAY_CONFIG_PATH", "/z/other.json"),
            ("PANORAMA_GATEWAY_CONFIG_DIR", "/state"),
            ("PANORAMA_GATEWAY_PID_PATH", "/run/g.pid"),
        ]);
        let paths = Paths::resolve(&flags, &env).unwrap();
        assert_eq!(paths.dir, Path::new("/state"));
        assert_eq!(paths.config_file, Path::new("/a/g.json"));
        assert_eq!(paths.log_file, Path::new("/a/gateway.log"));
        assert_eq!(paths.pid_file, Path::new("/run/g.pid"));
        assert_eq!(paths.fallback_dir, None);
    }

    #[test]
    fn the_fallback_is_used_only_once_it_was_marked() {
        let home = tempfile::tempdir().unwrap();
        let env = env(&[("HOME", home.path().to_str().unwrap())]);
        let before = Paths::resolve(&Overrides::default(), &env).unwrap();
        let fallback = before.fallback_dir.clone().unwrap();
        std::fs::create_dir_all(&fallback).unwrap();
        assert_eq!(Paths::resolve(&Overrides::default(), &env).unwrap(), before);
        std::fs::File::create_new(fallback.join(FALLBACK_MARKER)).unwrap();
        assert_eq!(Paths::resolve(&Overrides::default(), &env).unwrap().dir, fallback);
    }
}
