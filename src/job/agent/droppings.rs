//! What a CLI leaves behind: empty directories where it worked, and reports for its makers.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Paths where something may be left that was not there before.
#[derive(Debug)]
pub(super) struct Droppings(Vec<PathBuf>);

impl Droppings {
    /// Looks before the run: what is there already is somebody's.
    pub(super) fn before(cwd: &Path, names: &[&str]) -> Self {
        let paths = names.iter().map(|name| cwd.join(name));
        Self(paths.filter(|path| path.symlink_metadata().is_err()).collect())
    }

    /// Removes what came since and is empty. What is not empty was made on purpose.
    pub(super) fn remove(&self) {
        for path in self.0.iter().filter(|path| std::fs::remove_dir(path).is_ok()) {
            tracing::debug!(path = %path.display(), "removed an empty directory that a cancelled agent left");
        }
    }
}

/// Reports in the directory for temporary files. They hold what was said, and nobody reads them here.
#[derive(Debug)]
pub(super) struct Reports {
    dir: PathBuf,
    begin: &'static str,
    before: BTreeSet<OsString>,
}

impl Reports {
    /// Looks before the run: what is there already is somebody's.
    pub(super) fn before(dir: Option<PathBuf>, begin: Option<&'static str>) -> Option<Self> {
        let (dir, begin) = dir.zip(begin)?;
        let before = named(&dir, begin).collect();
        Some(Self { dir, begin, before })
    }

    /// Removes what came since.
    pub(super) fn remove(&self) {
        for name in named(&self.dir, self.begin).filter(|name| !self.before.contains(name)) {
            if let Err(error) = std::fs::remove_file(self.dir.join(&name)) {
                tracing::warn!(file = %name.display(), %error, "the report of an agent stays");
            }
        }
    }
}

fn named(dir: &Path, begin: &str) -> impl Iterator<Item = OsString> {
    let entries = std::fs::read_dir(dir).into_iter().flatten();
    let names = entries.filter_map(|entry| Some(entry.ok()?.file_name()));
    names.filter(move |name| name.as_encoded_bytes().starts_with(begin.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_new_empty_directories_go() {
        let cwd = tempfile::tempdir().unwrap();
        let make = |path: &str| std::fs::create_dir_all(cwd.path().join(path)).unwrap();
        make(".git");
        let droppings = Droppings::before(cwd.path(), &[".git", ".codex", ".aws", ".agents"]);
        make(".codex");
        make(".aws/kept");
        droppings.remove();
        let left = |path: &str| cwd.path().join(path).exists();
        assert_eq!(
            [".git", ".codex", ".aws", ".agents"].map(left),
            [true, false, true, false]
        );
    }
}
