//! What can be wrong with a path, and the command that mends it.

use std::io;
use std::path::{Path, PathBuf};

/// A path could not be used. The text names the path, what is wrong and, where there is one, the
/// command that mends it.
#[derive(Debug, thiserror::Error)]
pub enum FsError {
    /// A symbolic link stands where a file or directory of ours should be.
    #[error("{} is a symbolic link, which is not followed{}", path.display(), mended_by(self))]
    Symlink {
        /// The link.
        path: PathBuf,
    },
    /// Something else stands where a directory should be.
    #[error("{} is not a directory{}", path.display(), mended_by(self))]
    NotDirectory {
        /// The path.
        path: PathBuf,
    },
    /// Something else stands where a regular file should be.
    #[error("{} is not a regular file{}", path.display(), mended_by(self))]
    NotRegular {
        /// The path.
        path: PathBuf,
    },
    /// It belongs to somebody else.
    #[error("{} belongs to user {owner}, not to this user{}", path.display(), mended_by(self))]
    ForeignOwner {
        /// The path.
        path: PathBuf,
        /// The owner's user id.
        owner: u32,
    },
    /// Others may write into a directory that holds secrets and is not ours to change.
    #[error("{} may be changed by other users (mode {mode:04o}){}", path.display(), mended_by(self))]
    Loose {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Longer than anything we write.
    #[error("{} is longer than {limit} bytes", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The limit.
        limit: u64,
    },
    /// Not a plain file name.
    #[error("`{name}` is not a plain file name")]
    BadName {
        /// The text.
        name: String,
    },
    /// The system refused.
    #[error("cannot {action} {}: {source}{}", path.display(), mended_by(self))]
    Io {
        /// What was tried.
        action: &'static str,
        /// The path.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl FsError {
    /// The command that mends it, if one does.
    #[must_use]
    pub fn mend(&self) -> Option<String> {
        match self {
            Self::Symlink { path } => Some(format!("rm {}", quoted(path))),
            Self::NotDirectory { path } | Self::NotRegular { path } => {
                let path = quoted(path);
                Some(format!("mv {path} {path}.aside"))
            }
            Self::ForeignOwner { path, .. } => Some(format!("chown $(id -un) {}", quoted(path))),
            Self::Loose { path, .. } => Some(format!("chmod 700 {}", quoted(path))),
            Self::Io { path, source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some(format!("ls -ld {}", quoted(path)))
            }
            Self::TooLong { .. } | Self::BadName { .. } | Self::Io { .. } => None,
        }
    }

    /// Whether the place itself takes no writes: another place may.
    #[must_use]
    pub fn is_not_writable(&self) -> bool {
        match self {
            Self::Io { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
            ),
            Self::ForeignOwner { .. } => true,
            Self::Symlink { .. }
            | Self::NotDirectory { .. }
            | Self::NotRegular { .. }
            | Self::Loose { .. }
            | Self::TooLong { .. }
            | Self::BadName { .. } => false,
        }
    }

    /// Whether the disk takes no writes from anybody.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::ReadOnlyFilesystem)
    }

    /// Whether the disk or the quota is full: a later try may work.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let Self::Io { source, .. } = self else {
            return false;
        };
        matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }

    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>, source: impl Into<io::Error>) -> Self {
        Self::Io {
            action,
            path: path.into(),
            source: source.into(),
        }
    }
}

fn mended_by(error: &FsError) -> String {
    error
        .mend()
        .map(|command| format!("; {} `{command}`", verb(error)))
        .unwrap_or_default()
}

const fn verb(error: &FsError) -> &'static str {
    match error {
        FsError::Io { .. } => "look with",
        FsError::Symlink { .. }
        | FsError::NotDirectory { .. }
        | FsError::NotRegular { .. }
        | FsError::ForeignOwner { .. }
        | FsError::Loose { .. }
        | FsError::TooLong { .. }
        | FsError::BadName { .. } => "mend it with",
    }
}

/// The path as one word of a shell command.
fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@:,".contains(c);
    if text.chars().all(plain) {
        return text.into_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_path_fault_and_command() {
        let error = FsError::Loose {
            path: "/a b/it's".into(),
            mode: 0o777,
        };
        assert_eq!(
            error.to_string(),
            r"/a b/it's may be changed by other users (mode 0777); mend it with `chmod 700 '/a b/it'\''s'`"
        );
        let error = FsError::ForeignOwner {
            path: "/x".into(),
            owner: 7,
        };
        assert!(error.to_string().ends_with("`chown $(id -un) /x`"));
    }
}
