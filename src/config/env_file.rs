//! Env files, read only when somebody asks for one: a `.env` that merely lies in the current
//! directory must never redirect a gateway.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::config::sources::Environment;

const MAX_BYTES: u64 = 1 << 20;
const WORKSPACE_MARKER: &str = "pnpm-workspace.yaml";

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// This file.
    File(PathBuf),
    /// The file of this environment name.
    Named(String),
}

/// An env file was asked for and could not be used.
#[derive(Debug, thiserror::Error)]
pub enum EnvFileError {
    /// It is not there.
    #[error("environment file not found: {path}")]
    NotFound {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// It cannot be read.
    #[error("environment file {path} cannot be read: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line is no `NAME=value`, or the file is too long.
    #[error("environment file {path} is malformed: {reason}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Which line, without its value.
        reason: String,
    },
}

/// What was asked for by `--env-file`, `PANORAMA_ENV_FILE`, `--env` or `PANORAMA_ENV`, in that order.
#[must_use]
pub fn asked(env_file: Option<&Path>, env_name: Option<&str>, env: &Environment) -> Option<Asked> {
    let file = env_file
        .map(Path::to_path_buf)
        .or_else(|| env.path("PANORAMA_ENV_FILE"));
    let name = || env_name.or_else(|| env.get("PANORAMA_ENV")).map(str::to_owned);
    file.map(Asked::File).or_else(|| name().map(Asked::Named))
}

/// The path of an env file. Names select `.env` (local) or `.env.<name>` in the workspace root.
#[must_use]
pub fn path_of(asked: &Asked, cwd: &Path) -> PathBuf {
    match asked {
        Asked::File(path) => cwd.join(path),
        Asked::Named(name) => {
            let root = cwd
                .ancestors()
                .find(|dir| dir.join(WORKSPACE_MARKER).is_file())
                .unwrap_or(cwd);
            root.join(file_name(name))
        }
    }
}

fn file_name(name: &str) -> String {
    match name.trim().to_ascii_lowercase().as_str() {
        "production" | "prod" => ".env.prod".to_owned(),
        known @ ("dev" | "test" | "stage") => format!(".env.{known}"),
        _ => ".env".to_owned(),
    }
}

/// Reads an env file: `NAME=value` lines, `#` comments, quotes; `$NAME` outside single quotes is replaced.
///
/// # Errors
/// [`EnvFileError`]: somebody asked for this file, so its absence is an error too.
pub fn read(path: &Path) -> Result<Vec<(String, String)>, EnvFileError> {
    let unreadable = |source: std::io::Error| {
        let path = path.to_path_buf();
        if source.kind() == std::io::ErrorKind::NotFound {
            return EnvFileError::NotFound { path };
        }
        EnvFileError::Unreadable { path, source }
    };
    let malformed = |reason: String| EnvFileError::Malformed {
        path: path.to_path_buf(),
        reason,
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_BYTES {
        return Err(malformed(format!("it is longer than {MAX_BYTES} bytes")));
    }
    dotenvy::from_read_iter(bytes.as_slice())
        .enumerate()
        .map(|(index, entry)| entry.map_err(|_secret| malformed(format!("entry {} is no NAME=value", index + 1))))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_read_unless_asked() {
        let env: Environment = [("ENVIRONMENT", "prod")].into_iter().collect();
        assert_eq!(asked(None, None, &env), None);
        let env: Environment = [("PANORAMA_ENV", "dev")].into_iter().collect();
        assert_eq!(asked(None, None, &env), Some(Asked::Named("dev".to_owned())));
    }

    #[test]
    fn names_select_files_of_the_workspace_root() {
        let root = tempfile::tempdir().unwrap();
        File::create_new(root.path().join(WORKSPACE_MARKER)).unwrap();
        let cwd = root.path().join("deep");
        let named = |name: &str| path_of(&Asked::Named(name.to_owned()), &cwd);
        assert_eq!(named("production"), root.path().join(".env.prod"));
        assert_eq!(named("development"), root.path().join(".env"));
        assert_eq!(named("what"), root.path().join(".env"));
        assert_eq!(path_of(&Asked::File("x".into()), &cwd), cwd.join("x"));
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = read(Path::new("/nowhere/.env")).unwrap_err();
        assert_eq!(error.to_string(), "environment file not found: /nowhere/.env");
    }

    #[test]
    fn values_are_read_and_a_malformed_line_is_not_quoted() {
        use std::io::Write as _;
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"# note\nexport A=1\nB='x $y' # why\nC=\"two\\nlines\"\n")
            .unwrap();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let expected = [pair("A", "1"), pair("B", "x $y"), pair("C", "two\nlines")];
        assert_eq!(read(file.path()).unwrap(), expected);
        file.write_all(b"hunter2 is no pair\n").unwrap();
        let error = read(file.path()).unwrap_err().to_string();
        assert!(error.contains("entry 4") && !error.contains("hunter2"), "{error}");
    }
}
