//! Where agents work: a directory of their own that stays as long as they do, or one below a root the owner allowed.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::state::document::{Document, DocumentError};
use crate::state::fs::{FsError, OwnerDir};

const ROOTS: &str = "workspaces.json";
/// Below the state directory.
pub(super) const OWN: &str = "workspaces";
/// Roots that are kept.
const MOST_ROOTS: usize = 256;

/// A directory in which no agent may work, or a root that cannot be one.
#[derive(Debug, thiserror::Error)]
pub enum WorkspaceError {
    /// The file of roots cannot be used.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// The agent's own directory cannot be made.
    #[error(transparent)]
    File(#[from] FsError),
    /// It is not there, or no directory.
    #[error("no agent can work in {}: {source}", path.display())]
    Missing {
        /// The directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Its place depends on where one stands.
    #[error("no agent can work in {}: it is no absolute path", .0.display())]
    Relative(PathBuf),
    /// The owner allowed nothing around it.
    #[error(
        "no agent may work in {}: it lies under no directory that the owner of this host allowed. \
         Allow it there with: gateway workspace add {}",
        .0.display(), .0.display()
    )]
    NotAllowed(PathBuf),
    /// Sessions, keys and other agents' work lie there.
    #[error("no agent may work in {}: it is in the gateway's own state directory", .0.display())]
    OwnState(PathBuf),
    /// Its name cannot be stored.
    #[error("the name of {} is no UTF-8 text", .0.display())]
    Unspeakable(PathBuf),
    /// Too many.
    #[error("{MOST_ROOTS} directories are allowed already; remove one with: gateway workspace remove DIR")]
    Full,
}

/// Work directories of this host.
#[derive(Debug, Clone)]
pub struct Workspaces {
    roots: Document,
}

impl Workspaces {
    /// Those of a state directory.
    #[must_use]
    pub fn new(state: &Arc<OwnerDir>) -> Self {
        Self {
            roots: Document::new(state, ROOTS),
        }
    }

    /// Where a subagent works. The roots are read anew each time.
    ///
    /// # Errors
    /// [`WorkspaceError`] when it may not work where it wants to.
    pub fn place(&self, subagent_id: &str, wanted: Option<&Path>) -> Result<PathBuf, WorkspaceError> {
        match wanted {
            None => self.own(subagent_id),
            Some(wanted) => self.allowed(wanted),
        }
    }

    fn own(&self, subagent_id: &str) -> Result<PathBuf, WorkspaceError> {
        let own = self.roots.dir().sub(OWN)?.sub(subagent_id)?;
        Ok(std::path::absolute(own.path()).unwrap_or_else(|_no_current_dir| own.path().to_path_buf()))
    }

    fn allowed(&self, wanted: &Path) -> Result<PathBuf, WorkspaceError> {
        if !wanted.is_absolute() {
            return Err(WorkspaceError::Relative(wanted.to_path_buf()));
        }
        let real = real_directory(wanted)?;
        if std::fs::canonicalize(self.roots.dir().path()).is_ok_and(|state| real.starts_with(state)) {
            return Err(WorkspaceError::OwnState(real));
        }
        if self.list()?.iter().any(|root| real.starts_with(root)) {
            return Ok(real);
        }
        Err(WorkspaceError::NotAllowed(real))
    }

    /// The allowed roots, as their links resolved when they were added.
    ///
    /// # Errors
    /// [`DocumentError`].
    pub fn list(&self) -> Result<BTreeSet<PathBuf>, DocumentError> {
        self.roots.load()
    }

    /// Allows a directory and everything below it; gives it with its links resolved, and whether that is new.
    ///
    /// # Errors
    /// [`WorkspaceError`] when it is no directory that can be allowed.
    pub fn add(&self, directory: &Path) -> Result<(PathBuf, bool), WorkspaceError> {
        let real = real_directory(directory)?;
        if real.to_str().is_none() {
            return Err(WorkspaceError::Unspeakable(real));
        }
        self.roots.update(|roots: &mut BTreeSet<PathBuf>| {
            let is_new = !roots.contains(&real);
            if is_new && roots.len() >= MOST_ROOTS {
                return Err(WorkspaceError::Full);
            }
            roots.insert(real.clone());
            Ok((real, is_new))
        })
    }

    /// Takes a root back; whether it was one. The directory itself may be gone.
    ///
    /// # Errors
    /// [`DocumentError`].
    pub fn remove(&self, directory: &Path) -> Result<bool, DocumentError> {
        let real = std::fs::canonicalize(directory).unwrap_or_else(|_gone| directory.to_path_buf());
        self.roots
            .update(|roots: &mut BTreeSet<PathBuf>| Ok(roots.remove(&real) | roots.remove(directory)))
    }
}

fn real_directory(path: &Path) -> Result<PathBuf, WorkspaceError> {
    let missing = |source| WorkspaceError::Missing {
        path: path.to_path_buf(),
        source,
    };
    let real = std::fs::canonicalize(path).map_err(missing)?;
    if std::fs::metadata(&real).map_err(missing)?.is_dir() {
        Ok(real)
    } else {
        Err(missing(io::ErrorKind::NotADirectory.into()))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use tempfile::TempDir;

    use super::*;

    fn host() -> (TempDir, Workspaces) {
        let home = TempDir::new().unwrap();
        let state = OwnerDir::open_or_create(&home.path().join("state")).unwrap();
        let workspaces = Workspaces::new(&Arc::new(state));
        (home, workspaces)
    }

    fn directory(home: &TempDir, name: &str) -> PathBuf {
        let path = home.path().join(name);
        std::fs::create_dir_all(&path).unwrap();
        std::fs::canonicalize(path).unwrap()
    }

    #[test]
    fn without_a_wish_a_subagent_has_a_directory_that_stays() {
        let (_home, workspaces) = host();
        let place = workspaces.place("s1", None).unwrap();
        assert_eq!(std::fs::metadata(&place).unwrap().permissions().mode() & 0o7777, 0o700);
        std::fs::create_dir(place.join("kept")).unwrap();
        assert_eq!(workspaces.place("s1", None).unwrap(), place);
        assert!(place.join("kept").is_dir());
        assert_ne!(workspaces.place("s2", None).unwrap(), place);
        assert!(workspaces.place("../s1", None).is_err());
    }

    #[test]
    fn a_wish_must_lie_under_an_allowed_root_when_its_links_are_resolved() {
        let (home, workspaces) = host();
        let (inside, outside) = (directory(&home, "code/app"), directory(&home, "other"));
        let refused = workspaces.place("s", Some(&inside)).unwrap_err().to_string();
        assert!(
            refused.contains(&format!("gateway workspace add {}", inside.display())),
            "{refused}"
        );
        let (root, is_new) = workspaces.add(&home.path().join("code")).unwrap();
        assert!(is_new && !workspaces.add(&root).unwrap().1);
        assert_eq!(workspaces.place("s", Some(&inside)).unwrap(), inside);
        symlink(&outside, inside.join("way-out")).unwrap();
        let refused = workspaces.place("s", Some(&inside.join("way-out"))).unwrap_err();
        assert!(matches!(refused, WorkspaceError::NotAllowed(path) if path == outside));
        let beside = directory(&home, "code-other");
        assert!(workspaces.place("s", Some(&beside)).is_err());
        assert!(workspaces.place("s", Some(&inside.join("none"))).is_err());
        assert!(workspaces.place("s", Some(Path::new("code/app"))).is_err());
        std::fs::remove_dir_all(&root).unwrap();
        assert!(workspaces.remove(&root).unwrap(), "also when it is gone");
        assert!(workspaces.list().unwrap().is_empty());
    }

    #[test]
    fn nobody_works_in_the_state_directory() {
        let (home, workspaces) = host();
        workspaces.add(home.path()).unwrap();
        let own = workspaces.place("other", None).unwrap();
        for inside in [home.path().join("state"), own] {
            let refused = workspaces.place("s", Some(&inside)).unwrap_err();
            assert!(matches!(refused, WorkspaceError::OwnState(_)), "{refused}");
        }
    }

    #[test]
    fn a_damaged_file_allows_nothing() {
        let (home, workspaces) = host();
        let inside = directory(&home, "code");
        workspaces.add(&inside).unwrap();
        workspaces.roots.dir().replace(ROOTS, b"{").unwrap();
        let refused = workspaces.place("s", Some(&inside)).unwrap_err().to_string();
        assert!(refused.contains("mv "), "{refused}");
    }
}
