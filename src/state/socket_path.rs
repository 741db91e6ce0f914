//! The local socket's path in a form the kernel takes: an address holds about a hundred bytes, a home can be deeper.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::SocketAddr;
use std::path::{Path, PathBuf};

/// A path to bind or to connect to. It is good as long as the value lives.
#[derive(Debug)]
pub struct SocketPath {
    path: PathBuf,
    _dir: Option<File>,
}

impl SocketPath {
    /// The path itself where it fits; else, on Linux, the same place reached through a descriptor of its directory.
    ///
    /// # Errors
    /// When the path is too long and its directory cannot be opened.
    pub fn of(path: &Path) -> io::Result<Self> {
        let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        };
        if SocketAddr::from_pathname(path).is_ok() || !cfg!(target_os = "linux") {
            return Ok(Self {
                path: path.to_owned(),
                _dir: None,
            });
        }
        let dir = File::open(dir)?;
        Ok(Self {
            path: Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string()).join(name),
            _dir: Some(dir),
        })
    }

    /// What to hand to the kernel.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    #[test]
    fn a_deep_directory_holds_a_socket_too() {
        let home = tempfile::TempDir::new().unwrap();
        let deep = home.path().join("d".repeat(120));
        std::fs::create_dir(&deep).unwrap();
        for path in [home.path().join("short"), deep.join("gateway.sock")] {
            if !cfg!(target_os = "linux") && SocketAddr::from_pathname(&path).is_err() {
                continue;
            }
            let _listener = UnixListener::bind(SocketPath::of(&path).unwrap().as_path()).unwrap();
            assert!(path.exists());
            UnixStream::connect(SocketPath::of(&path).unwrap().as_path()).unwrap();
        }
    }
}
