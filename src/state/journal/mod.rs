//! The journal and outbox: every claimed job is on disk before it runs, every result before it is sent,
//! and a result leaves only when the backend is known to have it.
//!
//! One SQLite file (WAL), one connection, one writer. Operations wait in a bounded queue; the writer takes all that
//! wait into one transaction, so that many jobs share one sync. A job waits for the disk twice: before its process
//! begins, and when it has ended. Everything else is safe from our own death at once, and from a power cut with the
//! next commit that waits; a claim that a power cut takes away is found again in the rows of the control plane.

mod entry;
mod open;
mod recovery;
mod schema;
mod writer;

use std::path::PathBuf;

use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

pub use entry::{ClaimedEntry, Counts, Interrupted, Known, ProcessIdentityRecord, Recovered};
pub use writer::JournalWriter;

use crate::domain::clock;
use crate::domain::ids::JobId;
use crate::domain::job::{JobOutcome, Timeline};
use crate::state::fs::{FsError, OwnerDir};
use entry::StoredOutcome;

/// Operations that may wait; more wait at the caller.
const QUEUE: usize = 32;
/// Raw output travels and is stored in pieces, so that a job never costs a second copy of itself.
const PIECE: usize = 64 * 1024;

/// The journal did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Its file cannot be used.
    #[error(transparent)]
    File(#[from] FsError),
    /// Another process has it open.
    #[error("{} is in use by another process", path.display())]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// A newer version wrote it.
    #[error(
        "{} was written by a newer version (format {found}, this one knows {known}): use that version, or move the file away",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The newest format this version knows.
        known: i64,
    },
    /// The disk, or the journal's own bound, is full.
    #[error("the journal takes no more: {0}")]
    Full(#[source] sqlx::Error),
    /// The database failed.
    #[error("the journal failed: {0}")]
    Storage(#[source] sqlx::Error),
    /// Pieces of a result did not arrive; it is not journalled.
    #[error("the journal has {stored} of {expected} bytes of a result")]
    Incomplete {
        /// Bytes on disk.
        stored: i64,
        /// Bytes there should be.
        expected: i64,
    },
    /// No entry of that id.
    #[error("the journal has no entry for job {0}")]
    Unknown(JobId),
    /// What is stored is not what we write.
    #[error("a journal entry is malformed: {0}")]
    Malformed(#[from] serde_json::Error),
    /// The writer has ended.
    #[error("the journal is closed")]
    Closed,
}

impl JournalError {
    /// Whether there is no room: claim nothing, and try again later.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        matches!(self, Self::Full(_))
    }

    /// Whether what is stored cannot be read, however often it is tried.
    #[must_use]
    pub fn is_unreadable(&self) -> bool {
        match self {
            Self::Malformed(_) => true,
            Self::Storage(error) => open::is_corrupt(error),
            Self::File(_)
            | Self::Busy { .. }
            | Self::Newer { .. }
            | Self::Full(_)
            | Self::Incomplete { .. }
            | Self::Unknown(_)
            | Self::Closed => false,
        }
    }
}

/// An opened journal.
#[derive(Debug)]
pub struct Opened {
    /// Handle for everybody.
    pub journal: Journal,
    /// Its [`JournalWriter::run`] must be driven, or nothing is answered.
    pub writer: JournalWriter,
    /// Where an unreadable older journal was moved.
    pub set_aside: Option<PathBuf>,
}

/// What the writer is asked.
#[derive(Debug)]
enum Op {
    /// Part of a transaction; answered after the commit.
    Write(Write, Option<oneshot::Sender<Result<(), JournalError>>>),
    Recover(oneshot::Sender<Result<Recovered, JournalError>>),
    Outcome(JobId, oneshot::Sender<Result<Known, JournalError>>),
    Counts(oneshot::Sender<Result<Counts, JournalError>>),
}

#[derive(Debug)]
enum Write {
    /// Nothing that stays.
    Probe,
    Claimed(Box<ClaimedEntry>),
    Started(JobId, ProcessIdentityRecord, Value),
    /// Forget pieces of an earlier, unfinished attempt.
    DropOutput(JobId),
    Piece {
        job: JobId,
        field: i64,
        seq: i64,
        bytes: Vec<u8>,
    },
    Finished {
        job: JobId,
        outcome: String,
        /// Bytes of raw output there must be; none where what there is will do.
        raw_bytes: Option<i64>,
        timeline: String,
        at: i64,
    },
    Reported(JobId, i64),
    SetAside(JobId, String, i64),
}

impl Write {
    /// Whether the commit has to wait for the disk.
    const fn must_sync(&self) -> bool {
        match self {
            // Nothing has run yet: what stays of a claim is its row, which is settled after the next start.
            Self::Claimed(_) | Self::DropOutput(_) | Self::Piece { .. } | Self::Reported(..) => false,
            Self::Probe | Self::Started(..) | Self::Finished { .. } | Self::SetAside(..) => true,
        }
    }
}

/// Handle to the journal; clones share the one writer.
#[derive(Debug, Clone)]
pub struct Journal {
    ops: mpsc::Sender<Op>,
}

impl Journal {
    /// Opens `journal.sqlite`, creating it if needed. A file that is damaged beyond use is moved aside
    /// and a fresh one opened.
    ///
    /// # Errors
    /// [`JournalError::Newer`], [`JournalError::Busy`], or why the file cannot be used.
    pub async fn open(dir: &OwnerDir) -> Result<Opened, JournalError> {
        let (connection, set_aside) = open::open(dir).await?;
        let (ops, waiting) = mpsc::channel(QUEUE);
        Ok(Opened {
            journal: Self { ops },
            writer: JournalWriter::new(connection, waiting),
            set_aside,
        })
    }

    /// A job was claimed. Written when this returns, and on disk with what follows: a process only begins after
    /// [`Journal::started`].
    ///
    /// # Errors
    /// [`JournalError`]; the job must not run.
    pub async fn claimed(&self, entry: &ClaimedEntry) -> Result<(), JournalError> {
        self.write(Write::Claimed(Box::new(entry.clone()))).await
    }

    /// The job's process is about to begin. On disk when this returns, with the claim: only then may it run. `held` says
    /// what holds it; it becomes the member `containment` of the job's timeline.
    ///
    /// # Errors
    /// [`JournalError`]; the process must not run.
    pub async fn started(&self, job: &JobId, process: ProcessIdentityRecord, held: Value) -> Result<(), JournalError> {
        self.write(Write::Started(job.clone(), process, held)).await
    }

    /// The job ended. On disk when this returns: only then is the result sent.
    ///
    /// # Errors
    /// [`JournalError`]; the result is not on disk.
    pub async fn finished(&self, job: &JobId, outcome: &JobOutcome, timeline: &Timeline) -> Result<(), JournalError> {
        let raw = &outcome.result().raw;
        let mut raw_bytes = 0;
        if !raw.is_empty() {
            self.send(Op::Write(Write::DropOutput(job.clone()), None)).await?;
        }
        for (field, raw) in (0..).zip(raw) {
            for (seq, bytes) in (0..).zip(raw.bytes.chunks(PIECE)) {
                raw_bytes += i64::try_from(bytes.len()).unwrap_or(i64::MAX);
                let piece = Write::Piece {
                    job: job.clone(),
                    field,
                    seq,
                    bytes: bytes.to_vec(),
                };
                self.send(Op::Write(piece, None)).await?;
            }
        }
        self.end(job, outcome, Some(raw_bytes), timeline).await
    }

    /// The job was cut off: it ends with what [`Journal::said`] holds under the outcome's raw fields, whose own bytes
    /// do not count. On disk when this returns.
    ///
    /// # Errors
    /// [`JournalError`]; the end is not on disk.
    pub async fn cut_off(&self, job: &JobId, outcome: &JobOutcome, timeline: &Timeline) -> Result<(), JournalError> {
        self.end(job, outcome, None, timeline).await
    }

    async fn end(
        &self,
        job: &JobId,
        outcome: &JobOutcome,
        raw_bytes: Option<i64>,
        timeline: &Timeline,
    ) -> Result<(), JournalError> {
        self.write(Write::Finished {
            job: job.clone(),
            outcome: serde_json::to_string(&StoredOutcome::of(outcome))?,
            raw_bytes,
            timeline: serde_json::to_string(timeline)?,
            at: clock::now().as_millisecond(),
        })
        .await
    }

    /// What a job that runs has said so far in its raw field of this number; it takes the place of what was there.
    ///
    /// # Errors
    /// [`JournalError`].
    pub async fn said(&self, job: &JobId, field: i64, bytes: Vec<u8>) -> Result<(), JournalError> {
        let (job, seq) = (job.clone(), 0);
        self.write(Write::Piece { job, field, seq, bytes }).await
    }

    /// Whether the journal takes writes: a small one that leaves nothing behind.
    ///
    /// # Errors
    /// [`JournalError`], as any other write would get it now.
    pub async fn probe(&self) -> Result<(), JournalError> {
        self.write(Write::Probe).await
    }

    /// The backend has the result. Written soon, with the next commit: losing it costs one more report.
    ///
    /// # Errors
    /// [`JournalError::Closed`] only.
    pub async fn reported(&self, job: &JobId) -> Result<(), JournalError> {
        let write = Write::Reported(job.clone(), clock::now().as_millisecond());
        self.send(Op::Write(write, None)).await
    }

    /// The same, and tells whether it was written.
    ///
    /// # Errors
    /// [`JournalError`].
    pub async fn reported_now(&self, job: &JobId) -> Result<(), JournalError> {
        self.write(Write::Reported(job.clone(), clock::now().as_millisecond()))
            .await
    }

    /// The result is not sent any more; it is kept for a person.
    ///
    /// # Errors
    /// [`JournalError`].
    pub async fn set_aside(&self, job: &JobId, reason: &str) -> Result<(), JournalError> {
        let at = clock::now().as_millisecond();
        self.write(Write::SetAside(job.clone(), reason.to_owned(), at)).await
    }

    /// What an earlier run left: jobs that never ended, and results that were never confirmed.
    ///
    /// # Errors
    /// [`JournalError`].
    pub async fn recover(&self) -> Result<Recovered, JournalError> {
        self.ask(Op::Recover).await
    }

    /// What is known of the job's end, with the whole of a result that was not yet confirmed.
    ///
    /// # Errors
    /// [`JournalError`].
    pub async fn outcome(&self, job: &JobId) -> Result<Known, JournalError> {
        self.ask(|answer| Op::Outcome(job.clone(), answer)).await
    }

    /// How many entries are in which state.
    ///
    /// # Errors
    /// [`JournalError`].
    pub async fn counts(&self) -> Result<Counts, JournalError> {
        self.ask(Op::Counts).await
    }

    async fn write(&self, write: Write) -> Result<(), JournalError> {
        self.ask(|answer| Op::Write(write, Some(answer))).await
    }

    async fn ask<T>(&self, op: impl FnOnce(oneshot::Sender<Result<T, JournalError>>) -> Op) -> Result<T, JournalError> {
        let (answer, answered) = oneshot::channel();
        self.send(op(answer)).await?;
        answered.await.unwrap_or(Err(JournalError::Closed))
    }

    async fn send(&self, op: Op) -> Result<(), JournalError> {
        // The refused operation comes back in the error; nobody needs it.
        self.ops.send(op).await.map_err(|_returned| JournalError::Closed)
    }
}
