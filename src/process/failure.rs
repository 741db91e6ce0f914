//! Why a process never ran.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::unistd::{SysconfVar, sysconf};

use crate::process::spec::Spec;

/// Longest single argument or variable on Linux, its final NUL included.
#[cfg(target_os = "linux")]
const LONGEST_ARGUMENT: usize = 131_072;

/// The process never ran. `Display` is the form used on the wire: `spawn <program> <ERRNO>`.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// There is no such program.
    #[error("spawn {} ENOENT", program.display())]
    NotFound {
        /// The program asked for.
        program: PathBuf,
    },
    /// There is no such working directory.
    #[error("spawn {} ENOENT: there is no working directory {}", program.display(), cwd.display())]
    NoWorkingDirectory {
        /// The program asked for.
        program: PathBuf,
        /// The directory asked for.
        cwd: PathBuf,
    },
    /// Arguments and environment are more than the system passes on.
    #[error("spawn {} E2BIG: {what} of {bytes} bytes, the limit is {limit}", program.display())]
    TooBig {
        /// The program asked for.
        program: PathBuf,
        /// Which limit was met.
        what: &'static str,
        /// How much there was.
        bytes: usize,
        /// How much there may be.
        limit: usize,
    },
    /// A NUL byte, which no argument can carry.
    #[error("spawn {} EINVAL: {what} contains a NUL byte", program.display())]
    Nul {
        /// The program asked for.
        program: PathBuf,
        /// Where it is.
        what: &'static str,
    },
    /// Anything else the system said.
    #[error("spawn {} {errno:?}", program.display())]
    Os {
        /// The program asked for.
        program: PathBuf,
        /// What it said.
        errno: Errno,
        /// The same with its text.
        source: io::Error,
    },
}

impl SpawnError {
    /// Whether the machine was short of descriptors, processes or memory, so that trying again later may help.
    #[must_use]
    pub fn is_shortage(&self) -> bool {
        match self {
            Self::Os { source, .. } => is_shortage(source),
            Self::NotFound { .. } | Self::NoWorkingDirectory { .. } | Self::TooBig { .. } | Self::Nul { .. } => false,
        }
    }
}

/// Whether it was short of something, so that trying again later may help.
pub(super) fn is_shortage(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(
        errno,
        Some(Errno::EMFILE | Errno::ENFILE | Errno::EAGAIN | Errno::ENOMEM)
    )
}

/// Refuses what the system could only misunderstand.
pub(super) fn check(spec: &Spec) -> Result<(), SpawnError> {
    let what = if has_nul(spec.program.as_os_str()) {
        "the program"
    } else if has_nul(spec.cwd.as_os_str()) {
        "the working directory"
    } else if spec.args.iter().any(|arg| has_nul(arg)) {
        "an argument"
    } else if spec.env.iter().any(|(name, value)| has_nul(name) || has_nul(value)) {
        "the environment"
    } else {
        return Ok(());
    };
    Err(SpawnError::Nul {
        program: spec.program.clone(),
        what,
    })
}

fn has_nul(text: &OsStr) -> bool {
    text.as_encoded_bytes().contains(&0)
}

/// Turns the system's answer into a reason.
pub(super) fn explain(spec: &Spec, source: io::Error) -> SpawnError {
    let program = spec.program.clone();
    let errno = source.raw_os_error().map_or(Errno::UnknownErrno, Errno::from_raw);
    if errno == Errno::E2BIG {
        return too_big(program, spec);
    }
    if errno != Errno::ENOENT {
        return SpawnError::Os { program, errno, source };
    }
    if spec.cwd.is_dir() {
        return SpawnError::NotFound { program };
    }
    SpawnError::NoWorkingDirectory {
        program,
        cwd: spec.cwd.clone(),
    }
}

fn too_big(program: PathBuf, spec: &Spec) -> SpawnError {
    let sizes = || spec.args.iter().map(|arg: &OsString| arg.len() + 1);
    #[cfg(target_os = "linux")]
    if let Some(bytes) = sizes().max().filter(|longest| *longest > LONGEST_ARGUMENT) {
        return SpawnError::TooBig {
            program,
            what: "one argument",
            bytes: bytes - 1,
            limit: LONGEST_ARGUMENT - 1,
        };
    }
    let variables = spec.env.iter().map(|(name, value)| name.len() + value.len() + 2);
    let limit = sysconf(SysconfVar::ARG_MAX)
        .ok()
        .flatten()
        .and_then(|limit| usize::try_from(limit).ok());
    SpawnError::TooBig {
        program,
        what: "arguments and environment together",
        bytes: sizes().chain(variables).sum(),
        limit: limit.unwrap_or_default(),
    }
}
