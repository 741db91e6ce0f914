//! The only door to the disk: directories of ours (0700) and files in them (0600).
//!
//! Everything goes through an open directory descriptor, never follows a symbolic link, and is checked
//! on the descriptor that is then used, so that nothing can be swapped in between.

mod error;
mod raw;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use uuid::Uuid;

pub use error::FsError;

use crate::domain::clock;

/// Longest file that is read whole.
pub const MAX_READ_BYTES: u64 = 16 << 20;
/// A temporary file this old has no writer any more.
const LEFTOVER_SECONDS: i64 = 600;
const TEMP_MARK: &str = ".tmp-";

/// Whose directory it is, and so what may be done to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Custody {
    /// Ours: a loose mode is repaired.
    Ours,
    /// Chosen by hand and holds secrets: never changed, refused when others may write in it.
    Chosen,
    /// Chosen by hand, holds no secrets (`/var/log`): never changed; only our files in it are checked.
    Shared,
}

/// An open directory in which this program may keep files.
#[derive(Debug)]
pub struct OwnerDir {
    handle: File,
    path: PathBuf,
}

impl OwnerDir {
    /// Opens our own directory, creating it (and missing parents) 0700. A loose mode is repaired.
    ///
    /// # Errors
    /// [`FsError`] when it is a link, no directory, somebody else's, or cannot be made.
    pub fn open_or_create(path: &Path) -> Result<Self, FsError> {
        raw::create_dirs(path)?;
        let dir = Self::open_as(path, Custody::Ours)?.ok_or_else(|| vanished(path))?;
        dir.sweep_leftovers();
        Ok(dir)
    }

    /// Opens our own directory if it is there. A loose mode is repaired.
    ///
    /// # Errors
    /// [`FsError`] when something else is there.
    pub fn open(path: &Path) -> Result<Option<Self>, FsError> {
        Self::open_as(path, Custody::Ours)
    }

    /// Opens a directory chosen by hand for a secret file. It is created 0700 when missing, but one
    /// that exists is never changed; it must be ours (or root's), and nobody else may write in it.
    ///
    /// # Errors
    /// [`FsError`], [`FsError::Loose`] among them.
    pub fn open_chosen(path: &Path) -> Result<Self, FsError> {
        raw::create_dirs(path)?;
        Self::open_as(path, Custody::Chosen)?.ok_or_else(|| vanished(path))
    }

    /// Opens a directory chosen by hand for a log or pid file. It is created 0700 when missing and
    /// otherwise neither changed nor judged; the files in it are.
    ///
    /// # Errors
    /// [`FsError`] when it is no directory or cannot be made.
    pub fn open_shared(path: &Path) -> Result<Self, FsError> {
        raw::create_dirs(path)?;
        Self::open_as(path, Custody::Shared)?.ok_or_else(|| vanished(path))
    }

    /// As [`OwnerDir::open_chosen`], without creating anything.
    ///
    /// # Errors
    /// [`FsError`].
    pub fn find_chosen(path: &Path) -> Result<Option<Self>, FsError> {
        Self::open_as(path, Custody::Chosen)
    }

    /// As [`OwnerDir::open_shared`], without creating anything.
    ///
    /// # Errors
    /// [`FsError`].
    pub fn find_shared(path: &Path) -> Result<Option<Self>, FsError> {
        Self::open_as(path, Custody::Shared)
    }

    fn open_as(path: &Path, custody: Custody) -> Result<Option<Self>, FsError> {
        let mut options = File::options();
        options.read(true);
        let mut flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        if custody != Custody::Shared {
            flags |= OFlag::O_NOFOLLOW;
        }
        let handle = match options.custom_flags(flags.bits()).open(path) {
            Ok(handle) => handle,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(raw::explain_dir(path, error)),
        };
        raw::check_dir(&handle, path, custody)?;
        Ok(Some(Self {
            handle,
            path: path.to_path_buf(),
        }))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens or creates a directory of ours inside this one.
    ///
    /// # Errors
    /// [`FsError`].
    pub fn sub(&self, name: &str) -> Result<Self, FsError> {
        let name = plain(name)?;
        let path = self.path.join(name);
        raw::make_dir_at(&self.handle, name, &path)?;
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        let opened = raw::open_at(&self.handle, name, flags).map_err(|errno| raw::explain_dir(&path, errno.into()))?;
        raw::check_dir(&opened, &path, Custody::Ours)?;
        Ok(Self { handle: opened, path })
    }

    /// The whole content of a file, none when it is missing.
    ///
    /// # Errors
    /// [`FsError`], also for a file longer than [`MAX_READ_BYTES`].
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, FsError> {
        let Some(file) = self.open_file(name, OFlag::O_RDONLY)? else {
            return Ok(None);
        };
        let path = self.path.join(name);
        let mut bytes = Vec::new();
        file.take(MAX_READ_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(|source| FsError::io("read", &path, source))?;
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_READ_BYTES {
            return Err(FsError::TooLong {
                path,
                limit: MAX_READ_BYTES,
            });
        }
        Ok(Some(bytes))
    }

    /// Replaces a file at once and for good: a temporary file beside it, synced, renamed over it, and
    /// the directory synced. Whatever happens, the old or the new content is there, whole.
    ///
    /// # Errors
    /// [`FsError`]; the old file is then untouched.
    pub fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), FsError> {
        let target = plain(name)?;
        self.refuse_oddities(name)?;
        let temp = format!(".{name}{TEMP_MARK}{}", Uuid::new_v4().simple());
        let written = self.write_temp(&temp, bytes).and_then(|()| {
            raw::rename_at(&self.handle, OsStr::new(&temp), target)
                .map_err(|errno| FsError::io("replace", self.path.join(name), errno))
        });
        if let Err(error) = written {
            if let Err(left) = self.remove(&temp) {
                tracing::debug!(error = %left, "a temporary file stays behind");
            }
            return Err(error);
        }
        self.sync()
    }

    fn write_temp(&self, temp: &str, bytes: &[u8]) -> Result<(), FsError> {
        let path = self.path.join(temp);
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
        let mut file =
            raw::open_at(&self.handle, OsStr::new(temp), flags).map_err(|errno| FsError::io("create", &path, errno))?;
        raw::set_mode(&file, &path, raw::FILE_MODE)?;
        file.write_all(bytes)
            .and_then(|()| file.sync_all())
            .map_err(|source| FsError::io("write", &path, source))
    }

    /// A rename would silently swallow a link or a stranger's file; say so instead.
    fn refuse_oddities(&self, name: &str) -> Result<(), FsError> {
        self.open_file(name, OFlag::O_RDONLY).map(drop)
    }

    /// Removes a file; whether it was there.
    ///
    /// # Errors
    /// [`FsError`].
    pub fn remove(&self, name: &str) -> Result<bool, FsError> {
        raw::unlink_at(&self.handle, plain(name)?).map_err(|errno| FsError::io("remove", self.path.join(name), errno))
    }

    /// Renames a file inside this directory; whether it was there. An existing target is replaced.
    ///
    /// # Errors
    /// [`FsError`].
    pub fn rename(&self, from: &str, to: &str) -> Result<bool, FsError> {
        match raw::rename_at(&self.handle, plain(from)?, plain(to)?) {
            Ok(()) => Ok(true),
            Err(nix::errno::Errno::ENOENT) => Ok(false),
            Err(errno) => Err(FsError::io("rename", self.path.join(from), errno)),
        }
    }

    /// Makes sure a file exists, empty and owner-only, before a library that opens by path takes it.
    ///
    /// # Errors
    /// [`FsError`].
    pub fn create_private(&self, name: &str) -> Result<PathBuf, FsError> {
        self.create(name, OFlag::O_RDWR).map(drop)?;
        Ok(self.path.join(name))
    }

    /// Opens a file for appending, creating it if needed.
    ///
    /// # Errors
    /// [`FsError`].
    pub fn append(&self, name: &str) -> Result<File, FsError> {
        self.create(name, OFlag::O_WRONLY | OFlag::O_APPEND)
    }

    /// Opens a file for reading and writing, creating it if needed: the kind a lock is held on.
    ///
    /// # Errors
    /// [`FsError`].
    pub fn open_lock_file(&self, name: &str) -> Result<File, FsError> {
        self.create(name, OFlag::O_RDWR)
    }

    /// Opens a file that exists, for reading.
    ///
    /// # Errors
    /// [`FsError`].
    pub fn open_read(&self, name: &str) -> Result<Option<File>, FsError> {
        self.open_file(name, OFlag::O_RDONLY)
    }

    fn create(&self, name: &str, flags: OFlag) -> Result<File, FsError> {
        self.open_file(name, flags | OFlag::O_CREAT)?
            .ok_or_else(|| vanished(&self.path.join(name)))
    }

    fn open_file(&self, name: &str, flags: OFlag) -> Result<Option<File>, FsError> {
        let name = plain(name)?;
        let path = self.path.join(name);
        // A FIFO must not block the open; it is refused right after.
        match raw::open_at(&self.handle, name, flags | OFlag::O_NONBLOCK) {
            Ok(file) => raw::check_file(&file, &path).map(|()| Some(file)),
            Err(nix::errno::Errno::ENOENT) => Ok(None),
            Err(errno) => Err(raw::explain_file(&path, errno)),
        }
    }

    fn sync(&self) -> Result<(), FsError> {
        self.handle
            .sync_all()
            .map_err(|source| FsError::io("sync", &self.path, source))
    }

    /// Removes temporary files of writers that died before their rename.
    fn sweep_leftovers(&self) {
        let now = clock::now().as_second();
        for name in self.names().unwrap_or_default() {
            let Some(text) = name.to_str().filter(|name| is_temp(name)) else {
                continue;
            };
            let old = std::fs::symlink_metadata(self.path.join(&name))
                .is_ok_and(|found| found.is_file() && now.saturating_sub(found.mtime()) > LEFTOVER_SECONDS);
            if old && let Err(error) = self.remove(text) {
                tracing::debug!(%error, "a leftover temporary file stays");
            }
        }
    }

    /// Names of everything in here.
    ///
    /// # Errors
    /// [`FsError`].
    pub fn names(&self) -> Result<Vec<OsString>, FsError> {
        let unreadable = |source| FsError::io("list", &self.path, source);
        std::fs::read_dir(&self.path)
            .map_err(unreadable)?
            .map(|entry| entry.map(|entry| entry.file_name()).map_err(unreadable))
            .collect()
    }
}

fn is_temp(name: &str) -> bool {
    name.starts_with('.') && name.contains(TEMP_MARK)
}

fn plain(name: &str) -> Result<&OsStr, FsError> {
    let odd = name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']);
    if odd {
        return Err(FsError::BadName { name: name.to_owned() });
    }
    Ok(OsStr::new(name))
}

fn vanished(path: &Path) -> FsError {
    FsError::io("open", path, std::io::Error::from(ErrorKind::NotFound))
}
