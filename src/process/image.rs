//! What the system has to be told to make a process of a spec.

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};

use crate::process::env::ChildEnv;
use crate::process::mark;
use crate::process::spec::Spec;
use crate::process::sys::launch::Image;

/// Where programs are looked for when the child has no PATH.
const USUAL_PATH: &str = "/bin:/usr/bin";

/// What a child reads, and what it writes to.
#[derive(Debug)]
pub(super) struct Stdio {
    /// Its stdin, stdout and stderr.
    pub(super) ends: [OwnedFd; 3],
    /// Whether they are a terminal that is to control it.
    pub(super) terminal: bool,
}

/// The image of a process that joins the cgroup of `members`.
///
/// # Errors
/// `ENOENT` when there is no such program in the child's PATH.
pub(super) fn of(spec: &Spec, stdio: Stdio, members: Option<File>) -> io::Result<Image> {
    let program = find(&spec.program, &spec.env, &spec.cwd)?;
    let args = std::iter::once(spec.program.as_os_str()).chain(spec.args.iter().map(OsString::as_os_str));
    Ok(Image {
        program: word(program.as_os_str())?,
        args: args.map(word).collect::<io::Result<_>>()?,
        env: spec.env.iter().map(variable).collect::<io::Result<_>>()?,
        cwd: word(spec.cwd.as_os_str())?,
        stdio: stdio.ends,
        on_terminal: stdio.terminal,
        members,
        mark: spec.env.get(mark::NAME).and_then(OsStr::to_str).map(mark::limit),
        hold: None,
    })
}

fn variable((name, value): (&OsStr, &OsStr)) -> io::Result<CString> {
    word(&[name, OsStr::new("="), value].into_iter().collect::<OsString>())
}

fn word(text: &OsStr) -> io::Result<CString> {
    Ok(CString::new(text.as_bytes())?)
}

/// A plain name is looked up in the child's PATH; relative places are those of its working directory.
fn find(program: &Path, env: &ChildEnv, cwd: &Path) -> io::Result<PathBuf> {
    if program.as_os_str().as_bytes().contains(&b'/') {
        return Ok(program.to_owned());
    }
    let path = env.get("PATH").unwrap_or(OsStr::new(USUAL_PATH));
    let places = std::env::split_paths(path).map(|place| cwd.join(place).join(program));
    let mut refused = Errno::ENOENT;
    for candidate in places {
        match is_program(&candidate) {
            Ok(true) => return Ok(candidate),
            Ok(false) => refused = Errno::EACCES,
            Err(_) => {}
        }
    }
    Err(refused.into())
}

/// Whether we may run it.
fn is_program(file: &Path) -> io::Result<bool> {
    Ok(file.metadata()?.is_file() && access(file, AccessFlags::X_OK).is_ok())
}
