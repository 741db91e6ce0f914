//! System calls relative to a directory descriptor, and the checks on what they opened.

use std::ffi::OsStr;
use std::fs::{DirBuilder, File, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, geteuid, unlinkat};

use super::{Custody, FsError};

const DIR_MODE: u32 = 0o700;
pub(super) const FILE_MODE: u32 = 0o600;
const ALL_BITS: u32 = 0o7777;
const OTHERS_WRITE: u32 = 0o022;

/// Creates a directory and its missing parents, all 0700. What exists is left alone.
pub(super) fn create_dirs(path: &Path) -> Result<(), FsError> {
    match std::fs::symlink_metadata(path) {
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(FsError::io("open", path, error)),
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        // A linked parent is the user's business; only the last part must be no link.
        if !parent.exists() {
            create_dirs(parent)?;
        }
    }
    match DirBuilder::new().mode(DIR_MODE).create(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(FsError::io("create", path, error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

pub(super) fn make_dir_at(dir: &File, name: &OsStr, path: &Path) -> Result<(), FsError> {
    match mkdirat(dir, name, Mode::from_bits_truncate(0o700)) {
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(errno) => Err(FsError::io("create", path, errno)),
    }
}

pub(super) fn open_at(dir: &File, name: &OsStr, flags: OFlag) -> Result<File, Errno> {
    let mode = Mode::from_bits_truncate(0o600);
    openat(dir, name, flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, mode).map(File::from)
}

pub(super) fn rename_at(dir: &File, from: &OsStr, to: &OsStr) -> Result<(), Errno> {
    renameat(dir, from, dir, to)
}

/// Whether there was something to remove.
pub(super) fn unlink_at(dir: &File, name: &OsStr) -> Result<bool, Errno> {
    match unlinkat(dir, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) => Ok(true),
        Err(Errno::ENOENT) => Ok(false),
        Err(errno) => Err(errno),
    }
}

pub(super) fn set_mode(file: &File, path: &Path, mode: u32) -> Result<(), FsError> {
    file.set_permissions(Permissions::from_mode(mode))
        .map_err(|source| FsError::io("set the mode of", path, source))
}

pub(super) fn check_dir(handle: &File, path: &Path, custody: Custody) -> Result<(), FsError> {
    let found = handle
        .metadata()
        .map_err(|source| FsError::io("examine", path, source))?;
    let (owner, mode) = (found.uid(), found.mode() & ALL_BITS);
    let foreign = || FsError::ForeignOwner {
        path: path.to_path_buf(),
        owner,
    };
    match custody {
        Custody::Ours if owner != geteuid().as_raw() => Err(foreign()),
        Custody::Ours if mode != DIR_MODE => set_mode(handle, path, DIR_MODE),
        Custody::Chosen if owner != geteuid().as_raw() && owner != 0 => Err(foreign()),
        Custody::Chosen if mode & OTHERS_WRITE != 0 => Err(FsError::Loose {
            path: path.to_path_buf(),
            mode,
        }),
        Custody::Ours | Custody::Chosen | Custody::Shared => Ok(()),
    }
}

/// Regular, ours, and for nobody else to read: a loose mode is repaired on the open descriptor.
pub(super) fn check_file(file: &File, path: &Path) -> Result<(), FsError> {
    let found = file.metadata().map_err(|source| FsError::io("examine", path, source))?;
    if !found.is_file() {
        return Err(FsError::NotRegular {
            path: path.to_path_buf(),
        });
    }
    if found.uid() != geteuid().as_raw() {
        return Err(FsError::ForeignOwner {
            path: path.to_path_buf(),
            owner: found.uid(),
        });
    }
    if found.mode() & ALL_BITS != FILE_MODE {
        return set_mode(file, path, FILE_MODE);
    }
    Ok(())
}

/// Why a directory did not open. A link shows as ELOOP or ENOTDIR, by system.
pub(super) fn explain_dir(path: &Path, source: io::Error) -> FsError {
    let owned = path.to_path_buf();
    if is_link(path) {
        return FsError::Symlink { path: owned };
    }
    if source.kind() == ErrorKind::NotADirectory {
        return FsError::NotDirectory { path: owned };
    }
    FsError::io("open", path, source)
}

/// Why a file did not open.
pub(super) fn explain_file(path: &Path, errno: Errno) -> FsError {
    let path_buf = path.to_path_buf();
    if errno == Errno::ELOOP || is_link(path) {
        return FsError::Symlink { path: path_buf };
    }
    // Opened for writing, a directory shows as EISDIR and a FIFO without reader or a socket as ENXIO.
    if matches!(errno, Errno::EISDIR | Errno::ENXIO) {
        return FsError::NotRegular { path: path_buf };
    }
    FsError::io("open", path, errno)
}

fn is_link(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink())
}
