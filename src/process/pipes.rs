//! The pipes between a child and us.

use std::fs::File;
use std::io::{self, pipe};
use std::os::fd::OwnedFd;

use tokio::net::unix::pipe::{Receiver, Sender};

use crate::process::image::Stdio;

/// Our ends.
#[derive(Debug)]
pub(super) struct OurEnds {
    /// What the child reads, where that is a pipe.
    pub(super) stdin: Option<Sender>,
    /// What it writes.
    pub(super) stdout: Receiver,
    /// What it complains.
    pub(super) stderr: Receiver,
}

/// Pipes to a child whose stdin is one, or is empty. Needs the runtime.
pub(super) fn open(fed: bool) -> io::Result<(Stdio, OurEnds)> {
    let (stdin, ours) = if fed { input()? } else { (nothing()?, None) };
    let ((stdout, out), (stderr, err)) = (output()?, output()?);
    let stdio = Stdio {
        ends: [stdin, out, err],
        terminal: false,
    };
    let ours = OurEnds {
        stdin: ours,
        stdout,
        stderr,
    };
    Ok((stdio, ours))
}

/// Reads as empty, and swallows what is written.
pub(super) fn nothing() -> io::Result<OwnedFd> {
    let both = File::options().read(true).write(true).open("/dev/null");
    both.map(OwnedFd::from)
}

fn input() -> io::Result<(OwnedFd, Option<Sender>)> {
    let (theirs, ours) = pipe()?;
    Ok((theirs.into(), Some(Sender::from_owned_fd(ours.into())?)))
}

fn output() -> io::Result<(Receiver, OwnedFd)> {
    let (ours, theirs) = pipe()?;
    Ok((Receiver::from_owned_fd(ours.into())?, theirs.into()))
}
