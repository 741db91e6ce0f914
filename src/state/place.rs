//! Which directory each path lies in, how it is opened, and the move to the fallback directory.

use std::path::{Path, PathBuf};

use crate::config::paths::{FALLBACK_MARKER, Paths};
use crate::state::fs::{FsError, OwnerDir};
use crate::state::lock::{LockError, StateLock};

/// What the marker in the fallback directory says before the path of the default one.
const MARKER_TEXT: &str = "instead of ";

/// An opened state directory and the paths that go with it.
#[derive(Debug)]
pub struct Place {
    /// The paths in force.
    pub paths: Paths,
    /// The state directory.
    pub dir: OwnerDir,
    /// Set when the default directory could not be written just now: what it was, and why.
    pub moved_from: Option<MovedFrom>,
}

/// The default directory that was given up.
#[derive(Debug)]
pub struct MovedFrom {
    /// The default directory.
    pub dir: PathBuf,
    /// Why it cannot be used.
    pub reason: FsError,
    /// Whether a session was copied from there.
    pub session_copied: bool,
}

/// Opens or creates the state directory with `tmp` and `work` in it, and secures what is there.
///
/// If the default directory takes no writes, the state moves to the fallback directory, and a marker
/// there makes every later command look there too. A directory chosen by hand never moves.
///
/// # Errors
/// [`FsError`] when no directory can be used.
pub fn prepare(paths: &Paths) -> Result<Place, FsError> {
    match prepare_dir(paths) {
        Ok(dir) => Ok(Place {
            paths: paths.clone(),
            dir,
            moved_from: None,
        }),
        Err(reason) => match paths.moved_to_fallback().filter(|_| reason.is_not_writable()) {
            Some(fallback) => move_to(paths, fallback, reason),
            None => Err(reason),
        },
    }
}

fn prepare_dir(paths: &Paths) -> Result<OwnerDir, FsError> {
    let dir = OwnerDir::open_or_create(&paths.dir)?;
    for child in [paths.tmp(), paths.work()] {
        dir.sub(&file_name(&child))?;
    }
    // A lock file is needed anyway; making it proves that the directory takes new files.
    dir.create_private(&file_name(&paths.lock()))?;
    secure_session_file(paths)?;
    Ok(dir)
}

/// Opening a file repairs its mode and refuses links and strangers' files.
fn secure_session_file(paths: &Paths) -> Result<(), FsError> {
    if let Some(dir) = find_session_dir(paths)? {
        dir.open_read(&file_name(&paths.config_file))?;
    }
    Ok(())
}

fn move_to(from: &Paths, paths: Paths, reason: FsError) -> Result<Place, FsError> {
    let dir = prepare_dir(&paths)?;
    let name = file_name(&paths.config_file);
    // Never over a session that is there: its tokens may be newer.
    let session_copied = if dir.read(&name)?.is_none() {
        copy_session(from, &dir, &name)?
    } else {
        false
    };
    dir.replace(
        FALLBACK_MARKER,
        format!("{MARKER_TEXT}{}\n", from.dir.display()).as_bytes(),
    )?;
    Ok(Place {
        paths,
        dir,
        moved_from: Some(MovedFrom {
            dir: from.dir.clone(),
            reason,
            session_copied,
        }),
    })
}

/// The directory that this one stands in for, when the state has moved here.
#[must_use]
pub fn instead_of(dir: &OwnerDir) -> Option<String> {
    match dir.read(FALLBACK_MARKER) {
        Ok(marker) => {
            let text = String::from_utf8_lossy(&marker?).into_owned();
            Some(text.strip_prefix(MARKER_TEXT)?.trim_end_matches('\n').to_owned())
        }
        Err(_) => None,
    }
}

fn copy_session(from: &Paths, to: &OwnerDir, name: &str) -> Result<bool, FsError> {
    let old = OwnerDir::find_chosen(&from.dir)
        .and_then(|dir| dir.map_or(Ok(None), |dir| dir.read(&file_name(&from.config_file))));
    match old {
        Ok(Some(bytes)) => to.replace(name, &bytes).map(|()| true),
        Ok(None) | Err(_) => Ok(false),
    }
}

/// The directory of the session file, created when missing.
///
/// # Errors
/// [`FsError`].
pub fn session_dir(paths: &Paths) -> Result<OwnerDir, FsError> {
    let dir = paths.config_file_dir();
    if dir == paths.dir {
        return OwnerDir::open_or_create(dir);
    }
    OwnerDir::open_chosen(dir)
}

/// The directory of the session file, if it is there.
///
/// # Errors
/// [`FsError`].
pub fn find_session_dir(paths: &Paths) -> Result<Option<OwnerDir>, FsError> {
    let dir = paths.config_file_dir();
    if dir == paths.dir {
        return OwnerDir::open(dir);
    }
    OwnerDir::find_chosen(dir)
}

/// Keeps the session for one daemon, also where several state directories share the file: each would take the jobs of the
/// other for those of a dead one. Nothing where there is no session yet.
///
/// # Errors
/// [`LockError::Held`] by whom, or why the lock file cannot be used.
pub fn lock_session(paths: &Paths) -> Result<Option<StateLock>, LockError> {
    let name = format!("{}.lock", file_name(&paths.config_file));
    let dir = find_session_dir(paths)?;
    dir.map(|dir| StateLock::acquire(&dir, &name)).transpose()
}

/// The directory and name of a log or pid file, created when missing.
///
/// # Errors
/// [`FsError`].
pub fn plain_file(paths: &Paths, file: &Path) -> Result<(OwnerDir, String), FsError> {
    let parent = file.parent().unwrap_or(&paths.dir);
    let dir = if parent == paths.dir {
        OwnerDir::open_or_create(parent)?
    } else {
        OwnerDir::open_shared(parent)?
    };
    Ok((dir, file_name(file)))
}

/// Writes the pid file, for people: nothing trusts it.
///
/// # Errors
/// [`FsError`].
pub fn write_pid_file(paths: &Paths) -> Result<(), FsError> {
    let (dir, name) = plain_file(paths, &paths.pid_file)?;
    dir.replace(&name, format!("{}\n", std::process::id()).as_bytes())
}

/// Removes the pid file if it names this process.
///
/// # Errors
/// [`FsError`].
pub fn remove_pid_file(paths: &Paths) -> Result<(), FsError> {
    let (dir, name) = plain_file(paths, &paths.pid_file)?;
    let ours = std::process::id().to_string();
    let found = dir.read(&name)?.unwrap_or_default();
    if String::from_utf8_lossy(&found).trim() == ours {
        dir.remove(&name)?;
    }
    Ok(())
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
