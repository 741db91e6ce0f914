//! From a description of a child to the child: what happens between its birth and its exec.
//!
//! All of it are system calls. The child may be sharing our memory, so it neither allocates nor locks.

use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::ptr;

use nix::errno::Errno;
use nix::libc;
use nix::unistd::{Pid, chdir, dup2_stderr, dup2_stdin, dup2_stdout, setsid, write};

use crate::process::sys::hold::Hold;
use crate::process::sys::signals::{Mask, all_default};
use crate::process::sys::{birth, descriptors};

/// Runs a program that the system itself does not know how to run.
const SHELL: &CStr = c"/bin/sh";

/// What a child is to be.
#[derive(Debug)]
pub(in crate::process) struct Image {
    /// The file that it runs.
    pub(in crate::process) program: CString,
    /// Its arguments, its own name first.
    pub(in crate::process) args: Vec<CString>,
    /// Its environment: `NAME=value`.
    pub(in crate::process) env: Vec<CString>,
    /// Its working directory.
    pub(in crate::process) cwd: CString,
    /// What it reads, and what it writes to twice.
    pub(in crate::process) stdio: [OwnedFd; 3],
    /// Whether what it reads is a terminal that is to control it.
    pub(in crate::process) on_terminal: bool,
    /// `cgroup.procs` of the cgroup that it joins.
    pub(in crate::process) members: Option<File>,
    /// The mark of its job, as a limit.
    pub(in crate::process) mark: Option<u64>,
    /// Where it waits to be written down.
    pub(in crate::process) hold: Option<Hold>,
}

impl Image {
    /// Makes the process. Returns when it is what it is to be, or was killed on the way.
    ///
    /// # Errors
    /// What the system said; `ECANCELED` where it had no leave. There is no process then.
    pub(in crate::process) fn launch(&self) -> io::Result<Pid> {
        let (args, env) = (pointers(&self.args), pointers(&self.env));
        let script: Vec<_> = [SHELL.as_ptr(), self.program.as_ptr()]
            .into_iter()
            .chain(args.iter().skip(1).copied())
            .collect();
        let vectors = Vectors {
            args: &args,
            script: &script,
            env: &env,
        };
        descriptors::keep_from_children();
        let _ours = Mask::blocked();
        birth::process(|| match self.become_it(&vectors) {
            Ok(never) => match never {},
            Err(errno) => errno,
        })
    }

    /// What the child does. It leads a session of its own, so that no terminal of ours is a terminal of its; a closed one
    /// is no end to it.
    fn become_it(&self, vectors: &Vectors<'_>) -> Result<Infallible, Errno> {
        // Before a signal can reach it: our handlers would run in our memory.
        all_default();
        Mask::none()?;
        setsid()?;
        if let Some(members) = &self.members {
            // A child that is refused runs all the same; group and mark hold it. Nothing cheaper is tight: a parent that
            // moves a child which runs already misses what it has started by then.
            let _refused = write(members, b"0");
        }
        if let Some(mark) = self.mark {
            carry(mark);
        }
        if let Some(hold) = &self.hold {
            hold.wait()?;
        }
        let [stdin, stdout, stderr] = &self.stdio;
        dup2_stdin(stdin)?;
        dup2_stdout(stdout)?;
        dup2_stderr(stderr)?;
        if self.on_terminal {
            control_terminal()?;
        }
        chdir(self.cwd.as_c_str())?;
        vectors.exec(&self.program)
    }
}

/// What exec wants: pointers, a null pointer last.
struct Vectors<'a> {
    args: &'a [*const libc::c_char],
    /// Arguments of [`SHELL`], should it be needed.
    script: &'a [*const libc::c_char],
    env: &'a [*const libc::c_char],
}

impl Vectors<'_> {
    /// A script that names no interpreter is one of the shell's, as it has always been.
    fn exec(&self, program: &CStr) -> Result<Infallible, Errno> {
        match exec(program, self.args, self.env) {
            Err(Errno::ENOEXEC) => exec(SHELL, self.script, self.env),
            never => never,
        }
    }
}

fn pointers(words: &[CString]) -> Vec<*const libc::c_char> {
    words.iter().map(|word| word.as_ptr()).chain([ptr::null()]).collect()
}

#[expect(unsafe_code, reason = "the safe wrapper allocates")]
fn exec(program: &CStr, args: &[*const libc::c_char], env: &[*const libc::c_char]) -> Result<Infallible, Errno> {
    // SAFETY: both vectors end with a null pointer and point to strings that the image owns.
    unsafe { libc::execve(program.as_ptr(), args.as_ptr(), env.as_ptr()) };
    Err(Errno::last())
}

/// Where it cannot be carried, such as inside a job of another gateway, the environment and the cgroup have to do.
#[cfg(target_os = "linux")]
fn carry(mark: u64) {
    use nix::sys::resource::{Resource, setrlimit};
    let _refused = setrlimit(Resource::RLIMIT_LOCKS, mark, mark);
}

#[cfg(not(target_os = "linux"))]
const fn carry(_mark: u64) {}

/// Makes the terminal that is stdin the one of this session.
#[expect(unsafe_code, reason = "one system call without a safe wrapper")]
#[cfg_attr(
    target_os = "linux",
    expect(clippy::useless_conversion, reason = "it is narrower on macOS")
)]
fn control_terminal() -> Result<(), Errno> {
    // SAFETY: the call takes two integers and touches no memory.
    let result = unsafe { libc::ioctl(libc::STDIN_FILENO, libc::TIOCSCTTY.into(), 0) };
    Errno::result(result).map(drop)
}
