//! The directory of one run: made for its owner only, gone with the run.

use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use std::os::unix::fs::OpenOptionsExt as _;

use crate::provider::plan::PlanFile;
use crate::state::fs::{FsError, OwnerDir};

/// Where the plan's files are.
const FILES: &str = "files";
/// Where the agent works when it was given no place.
const HOME: &str = "work";

/// A run's directory. Dropped, it is removed.
#[derive(Debug)]
pub(super) struct Scratch {
    root: PathBuf,
    /// How many directories above may go as well when they are empty.
    parents: usize,
    files: OwnerDir,
    work: PathBuf,
}

/// Why a run has no directory.
#[derive(Debug, thiserror::Error)]
pub(super) enum ScratchError {
    #[error("cannot prepare the directory of the run: {0}")]
    Directory(#[from] FsError),
    #[error("cannot write {}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("a file of the plan lies outside the directory of the run: {}", .0.display())]
    Outside(PathBuf),
}

impl Scratch {
    /// Makes `place` below `work`; what an earlier run has left there goes first.
    pub(super) fn create(work: &OwnerDir, place: &[String]) -> Result<Self, ScratchError> {
        let mut root = work.sub(place.first().map_or("runs", String::as_str))?;
        for name in place.iter().skip(1) {
            root = root.sub(name)?;
        }
        for name in [FILES, HOME] {
            remove(&root.path().join(name));
        }
        Ok(Self {
            files: root.sub(FILES)?,
            work: root.sub(HOME)?.path().to_path_buf(),
            parents: place.len().saturating_sub(2),
            root: root.path().to_path_buf(),
        })
    }

    /// For [`crate::provider::request::RunRequest::scratch`].
    pub(super) fn files(&self) -> &Path {
        self.files.path()
    }

    /// An empty working directory.
    pub(super) fn work(&self) -> &Path {
        &self.work
    }

    pub(super) fn write(&self, files: &[PlanFile]) -> Result<(), ScratchError> {
        for file in files {
            self.write_one(file)?;
        }
        Ok(())
    }

    fn write_one(&self, file: &PlanFile) -> Result<(), ScratchError> {
        let outside = || ScratchError::Outside(file.path.clone());
        let inside = file.path.strip_prefix(self.files()).map_err(|_stranger| outside())?;
        let mut names: Vec<_> = inside
            .iter()
            .map(|name| name.to_str().ok_or_else(outside))
            .collect::<Result<_, _>>()?;
        let name = names.pop().ok_or_else(outside)?;
        let mut dir = None;
        for name in names {
            dir = Some(dir.as_ref().unwrap_or(&self.files).sub(name)?);
        }
        let mut handle = dir.as_ref().unwrap_or(&self.files).append(name)?;
        handle.write_all(&file.contents).map_err(|source| ScratchError::File {
            path: file.path.clone(),
            source,
        })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        remove(&self.root);
        let above = self.root.ancestors().skip(1).take(self.parents);
        for parent in above {
            // Not empty: somebody else's run is in it.
            if std::fs::remove_dir(parent).is_err() {
                break;
            }
        }
    }
}

/// Removes what a run has left, if there is anything.
pub(super) fn remove(path: &Path) {
    match std::fs::remove_dir_all(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!(path = %path.display(), %error, "cannot remove what a run left"),
    }
}

/// What became of an output file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum OutputFile {
    Read(Vec<u8>),
    Unreadable(String),
    TooLarge,
}

/// Reads a file that an agent wrote: no link, nothing but a file, never more than `limit`.
pub(super) fn read_output(path: &Path, limit: usize) -> OutputFile {
    match try_read(path, limit) {
        Ok(read) => read,
        Err(error) if error.kind() == io::ErrorKind::NotFound => OutputFile::Unreadable("not found".to_owned()),
        Err(error) => OutputFile::Unreadable(error.to_string()),
    }
}

fn try_read(path: &Path, limit: usize) -> io::Result<OutputFile> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = std::fs::File::options()
        .read(true)
        .custom_flags(flags.bits())
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Ok(OutputFile::Unreadable("not a regular file".to_owned()));
    }
    let mut bytes = Vec::new();
    file.take((limit as u64).saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(if bytes.len() > limit {
        OutputFile::TooLarge
    } else {
        OutputFile::Read(bytes)
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn work() -> (tempfile::TempDir, OwnerDir) {
        let home = tempfile::tempdir().unwrap();
        let work = OwnerDir::open_or_create(&home.path().join("work")).unwrap();
        (home, work)
    }

    fn place(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn everything_is_private_and_goes_with_the_run() {
        let (_home, work) = work();
        let scratch = Scratch::create(&work, &place(&["subagents", "s", "r"])).unwrap();
        let file = PlanFile {
            path: scratch.files().join("deep/schema.json"),
            contents: b"{}".to_vec(),
        };
        scratch.write(std::slice::from_ref(&file)).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(
            (mode(&file.path), mode(scratch.work()), mode(scratch.files())),
            (0o600, 0o700, 0o700)
        );
        assert_eq!(read_output(&file.path, 2), OutputFile::Read(b"{}".to_vec()));
        assert_eq!(read_output(&file.path, 1), OutputFile::TooLarge);
        let root = scratch.root.clone();
        drop(scratch);
        assert!(!root.exists() && !root.parent().unwrap().exists() && work.path().join("subagents").exists());
    }

    #[test]
    fn places_and_files_outside_are_refused() {
        let (_home, work) = work();
        for odd in ["..", "", "a/b", "."] {
            assert!(Scratch::create(&work, &place(&["runs", odd])).is_err(), "{odd}");
        }
        let scratch = Scratch::create(&work, &place(&["runs", "j"])).unwrap();
        for path in [
            PathBuf::from("/etc/x"),
            scratch.files().join("../x"),
            scratch.files().to_path_buf(),
        ] {
            let file = PlanFile {
                path: path.clone(),
                contents: Vec::new(),
            };
            assert!(scratch.write(&[file]).is_err(), "{}", path.display());
        }
    }

    #[test]
    fn an_output_that_is_no_file_is_not_read() {
        let (home, _work) = work();
        let link = home.path().join("link");
        std::os::unix::fs::symlink("/etc/passwd", &link).unwrap();
        for path in [link, home.path().to_path_buf(), home.path().join("none")] {
            assert!(
                matches!(read_output(&path, 10), OutputFile::Unreadable(_)),
                "{}",
                path.display()
            );
        }
    }
}
