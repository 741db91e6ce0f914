//! What a CLI leaves behind where it worked: empty directories.

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
