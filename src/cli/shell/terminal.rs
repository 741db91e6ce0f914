//! The operator's own terminal: its size, its raw mode, and what is typed.

use std::io::{IsTerminal as _, Read as _};

use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use tokio::sync::mpsc;

/// Bytes read at once, and pieces that may wait.
const PIECE: usize = 16 * 1024;
const WAITING: usize = 8;

/// Columns and rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) columns: u16,
    pub(super) rows: u16,
}

/// The size of the terminal that both stdin and stdout are, if they are one.
pub(super) fn size() -> Option<Size> {
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        return None;
    }
    let (columns, rows) = terminal_size::terminal_size_of(std::io::stdout()).map_or(
        (80, 24),
        |(terminal_size::Width(columns), terminal_size::Height(rows))| (columns, rows),
    );
    // A terminal nobody has given a size says zero.
    Some(Size {
        columns: columns.max(1),
        rows: rows.max(1),
    })
}

/// Raw mode for as long as the value lives: every key goes to the shell.
#[derive(Debug)]
pub(super) struct Raw(Termios);

impl Raw {
    /// `None` when stdin cannot be told so; then the terminal stays as it is.
    pub(super) fn on() -> Option<Self> {
        let before = tcgetattr(std::io::stdin()).ok()?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(std::io::stdin(), SetArg::TCSADRAIN, &raw).ok()?;
        Some(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if tcsetattr(std::io::stdin(), SetArg::TCSADRAIN, &self.0).is_err() {
            // A terminal that is gone needs no restoring.
        }
    }
}

/// What arrives on stdin, until its end. Read on a thread of its own, which the end of the process takes along: a read
/// of a terminal cannot be given up, and the runtime would wait for it.
pub(super) fn typed() -> mpsc::Receiver<Vec<u8>> {
    let (pieces, typed) = mpsc::channel(WAITING);
    let _detached = std::thread::spawn(move || {
        let mut buffer = vec![0; PIECE];
        while let Ok(length @ 1..) = std::io::stdin().lock().read(&mut buffer) {
            let piece = buffer.get(..length).unwrap_or_default().to_vec();
            if pieces.blocking_send(piece).is_err() {
                return;
            }
        }
    });
    typed
}
