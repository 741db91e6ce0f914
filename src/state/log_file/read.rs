//! Reading from the end, and following across rotation and truncation.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::OFlag;

use super::rotate::Limits;

const BLOCK: u64 = 16 * 1024;
/// Most bytes a tail holds.
const MAX_TAIL_BYTES: u64 = 64 << 20;
const POLL: Duration = Duration::from_millis(200);

/// How far a log was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    inode: u64,
    offset: u64,
}

/// The end of a log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tail {
    /// Its last lines, oldest first, without line ends.
    pub lines: Vec<String>,
    /// Where a [`Follower`] goes on.
    pub position: Position,
}

/// The last `lines` lines (none: all) of the log, reading no more of it than that takes: of the current file, then of
/// those before it, as many as are kept. A missing log is an empty one.
///
/// # Errors
/// When the log is there and cannot be read.
pub fn tail(path: &Path, lines: Option<usize>) -> io::Result<Tail> {
    let wanted = lines.unwrap_or(usize::MAX);
    let mut found = Tail::default();
    let mut text = VecDeque::new();
    if let Some(mut file) = open(path)? {
        let meta = file.metadata()?;
        found.position = Position {
            inode: meta.ino(),
            offset: meta.len(),
        };
        text = last_lines(&mut file, meta.len(), wanted)?;
    }
    for generation in 1..Limits::default().files {
        let missing = wanted - text.len();
        if missing == 0 {
            break;
        }
        let Some(mut older) = open(&older(path, generation))? else {
            continue;
        };
        let end = older.metadata()?.len();
        for line in last_lines(&mut older, end, missing)?.into_iter().rev() {
            text.push_front(line);
        }
    }
    found.lines = text.into();
    Ok(found)
}

fn older(path: &Path, generation: u32) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(format!(".{generation}"));
    PathBuf::from(name)
}

fn open(path: &Path) -> io::Result<Option<File>> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    match File::options().read(true).custom_flags(flags.bits()).open(path) {
        Ok(file) if file.metadata()?.is_file() => Ok(Some(file)),
        Ok(_) => Err(io::Error::new(ErrorKind::InvalidInput, "the log is no regular file")),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads blocks backwards until there are enough line ends.
fn last_lines(file: &mut File, end: u64, wanted: usize) -> io::Result<VecDeque<String>> {
    if wanted == 0 || end == 0 {
        return Ok(VecDeque::new());
    }
    let mut start = end;
    let mut blocks: VecDeque<Vec<u8>> = VecDeque::new();
    let mut breaks = 0;
    // One more than wanted: the last line's own end, and the one before the first line.
    while start > 0 && breaks <= wanted && end - start < MAX_TAIL_BYTES {
        let size = BLOCK.min(start);
        start -= size;
        file.seek(SeekFrom::Start(start))?;
        let mut block = Vec::new();
        io::Read::by_ref(file).take(size).read_to_end(&mut block)?;
        breaks += block.iter().filter(|byte| **byte == b'\n').count();
        blocks.push_front(block);
    }
    let bytes = Vec::from(blocks).concat();
    let text = String::from_utf8_lossy(&bytes);
    let mut lines: VecDeque<String> = text.lines().map(str::to_owned).collect();
    // A cut first line is none, unless the file begins there.
    if start > 0 {
        lines.pop_front();
    }
    while lines.len() > wanted {
        lines.pop_front();
    }
    Ok(lines)
}

/// Follows a log by path: goes on in the new file after a rotation, from the start after a truncation.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    at: Position,
    file: Option<File>,
}

impl Follower {
    /// Follows from where a [`tail`] ended.
    #[must_use]
    pub const fn new(path: PathBuf, from: Position) -> Self {
        Self {
            path,
            at: from,
            file: None,
        }
    }

    /// Waits for new text. It may end within a line or a character. Cancel-safe.
    ///
    /// # Errors
    /// When the log is there and cannot be read.
    pub async fn next(&mut self) -> io::Result<Vec<u8>> {
        loop {
            let text = self.read_new()?;
            if !text.is_empty() {
                return Ok(text);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn read_new(&mut self) -> io::Result<Vec<u8>> {
        if self.file.is_none() {
            self.file = self.open_where_left()?;
        }
        let text = self.read_on()?;
        if !text.is_empty() {
            return Ok(text);
        }
        // The open file has no more. Is another one in its place?
        if let Some(current) = open(&self.path)? {
            let inode = current.metadata()?.ino();
            if inode != self.at.inode {
                self.at = Position { inode, offset: 0 };
                self.file = Some(current);
                return self.read_on();
            }
        }
        Ok(text)
    }

    /// The file the position is in: the current one, or the one before if a rotation came between.
    fn open_where_left(&self) -> io::Result<Option<File>> {
        for path in [self.path.clone(), older(&self.path, 1)] {
            if let Some(file) = open(&path)?
                && file.metadata()?.ino() == self.at.inode
            {
                return Ok(Some(file));
            }
        }
        Ok(None)
    }

    fn read_on(&mut self) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        let Some(file) = &mut self.file else {
            return Ok(text);
        };
        if file.metadata()?.len() < self.at.offset {
            self.at.offset = 0;
        }
        file.seek(SeekFrom::Start(self.at.offset))?;
        let read = io::Read::by_ref(file).take(BLOCK).read_to_end(&mut text)?;
        self.at.offset += u64::try_from(read).unwrap_or(0);
        Ok(text)
    }
}
