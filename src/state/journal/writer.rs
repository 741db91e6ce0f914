//! The one writer: takes every operation that waits into one transaction.

use std::time::Duration;

use serde_json::Value;
use sqlx::Connection as _;
use sqlx::sqlite::SqliteConnection;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::{ClaimedEntry, JournalError, Op, ProcessIdentityRecord, Write, open, recovery, schema};
use crate::domain::clock;
use crate::domain::ids::JobId;

/// Operations of one transaction.
const GROUP: usize = 64;
/// How long a write nobody waits for may stay in memory.
const LAZY: Duration = Duration::from_secs(1);
const PRUNE_EVERY: Duration = Duration::from_mins(10);

type Answer = Option<oneshot::Sender<Result<(), JournalError>>>;

/// Owns the connection. Nothing is answered unless [`JournalWriter::run`] is driven.
#[derive(Debug)]
pub struct JournalWriter {
    connection: SqliteConnection,
    waiting: mpsc::Receiver<Op>,
    group: Vec<(Write, Answer)>,
    syncing: Syncing,
    next_prune: Instant,
}

impl JournalWriter {
    pub(super) fn new(connection: SqliteConnection, waiting: mpsc::Receiver<Op>) -> Self {
        Self {
            connection,
            waiting,
            group: Vec::new(),
            syncing: Syncing::default(),
            next_prune: Instant::now(),
        }
    }

    /// Serves until every [`super::Journal`] is dropped, then writes what is left and closes the file.
    pub async fn run(mut self) {
        while let Some(op) = self.next().await {
            self.take(op).await;
        }
        self.commit().await;
        self.shrink().await;
        if let Err(error) = self.connection.close().await {
            tracing::warn!(%error, "the journal did not close cleanly");
        }
    }

    /// The next operation. Lazy writes are committed when none comes in time.
    async fn next(&mut self) -> Option<Op> {
        if self.group.is_empty() {
            return self.waiting.recv().await;
        }
        match tokio::time::timeout(LAZY, self.waiting.recv()).await {
            Ok(op) => op,
            Err(_elapsed) => {
                self.commit().await;
                self.shrink().await;
                self.waiting.recv().await
            }
        }
    }

    async fn take(&mut self, op: Op) {
        match op {
            Op::Write(write, answer) => {
                let lazy = answer.is_none() && matches!(write, Write::Reported(..));
                self.group.push((write, answer));
                if !lazy || self.group.len() >= GROUP {
                    self.gather().await;
                }
            }
            Op::Recover(answer) => {
                self.commit().await;
                tell(answer, recovery::recover(&mut self.connection).await);
            }
            Op::Outcome(job, answer) => {
                self.commit().await;
                tell(answer, recovery::outcome(&mut self.connection, &job).await);
            }
            Op::Counts(answer) => {
                self.commit().await;
                let counts = recovery::counts(&mut self.connection, self.syncing.commits).await;
                tell(answer, counts);
            }
        }
    }

    /// Takes what waits right now into the group and commits it. A question ends the group.
    async fn gather(&mut self) {
        while self.group.len() < GROUP {
            match self.waiting.try_recv() {
                Ok(Op::Write(write, answer)) => self.group.push((write, answer)),
                Ok(question @ (Op::Recover(_) | Op::Outcome(..) | Op::Counts(_))) => {
                    return Box::pin(self.take(question)).await;
                }
                Err(mpsc::error::TryRecvError::Empty | mpsc::error::TryRecvError::Disconnected) => break,
            }
        }
        self.commit().await;
    }

    /// One transaction for the whole group. If it fails, each write gets a transaction and an answer of
    /// its own, so that one bad write takes no other with it.
    async fn commit(&mut self) {
        let group = std::mem::take(&mut self.group);
        if group.is_empty() {
            return;
        }
        match self.write_all(&group).await {
            Ok(()) => group.into_iter().for_each(|(_, answer)| answered(answer, Ok(()))),
            Err(_) if group.len() > 1 => self.commit_singly(group).await,
            Err(error) => group
                .into_iter()
                .next()
                .map_or((), |(_, answer)| answered(answer, Err(error))),
        }
        self.prune_if_due().await;
    }

    async fn commit_singly(&mut self, group: Vec<(Write, Answer)>) {
        for waiting in group {
            let outcome = self.write_all(std::slice::from_ref(&waiting)).await;
            answered(waiting.1, outcome);
        }
    }

    async fn write_all(&mut self, writes: &[(Write, Answer)]) -> Result<(), JournalError> {
        let must_sync = writes.iter().any(|(write, _)| write.must_sync());
        self.syncing.set(&mut self.connection, must_sync).await?;
        write_all(&mut self.connection, writes).await?;
        self.syncing.commits += u64::from(must_sync);
        Ok(())
    }

    /// Confirmed results leave free pages; with nothing else to do, they go back to the disk.
    async fn shrink(&mut self) {
        if let Err(error) = plain(&mut self.connection, schema::SHRINK).await {
            tracing::debug!(%error, "the journal did not shrink");
        }
    }

    async fn prune_if_due(&mut self) {
        if Instant::now() < self.next_prune {
            return;
        }
        self.next_prune = Instant::now() + PRUNE_EVERY;
        if let Err(error) = prune(&mut self.connection).await {
            tracing::warn!(%error, "old journal entries could not be removed");
        }
    }
}

/// Whether commits wait for the disk. Those that do take the ones before them along: there is one log.
#[derive(Debug)]
struct Syncing {
    on: bool,
    /// Commits that waited for the disk.
    commits: u64,
}

impl Default for Syncing {
    /// As a connection is opened.
    fn default() -> Self {
        Self { on: true, commits: 0 }
    }
}

impl Syncing {
    async fn set(&mut self, connection: &mut SqliteConnection, on: bool) -> Result<(), JournalError> {
        if self.on != on {
            let [lazy, synced] = schema::SYNC;
            plain(connection, if on { synced } else { lazy }).await?;
            self.on = on;
        }
        Ok(())
    }
}

/// BEGIN and COMMIT are plain statements here. sqlx's `Transaction` counts nesting by itself: after a
/// COMMIT that failed on a full disk its count is off by one, and what it "commits" next is the release
/// of a savepoint inside a transaction that stays open, so that writes would be acknowledged and lost.
async fn write_all(connection: &mut SqliteConnection, writes: &[(Write, Answer)]) -> Result<(), JournalError> {
    plain(connection, "BEGIN IMMEDIATE").await?;
    let written = apply_and_commit(connection, writes).await;
    if written.is_err()
        && let Err(error) = plain(connection, "ROLLBACK").await
    {
        // The usual case: SQLite has rolled back by itself. If not, the next BEGIN is refused.
        tracing::debug!(%error, "nothing to roll back");
    }
    written
}

async fn apply_and_commit(connection: &mut SqliteConnection, writes: &[(Write, Answer)]) -> Result<(), JournalError> {
    for (write, _) in writes {
        apply(connection, write).await?;
    }
    plain(connection, "COMMIT").await
}

async fn plain(connection: &mut SqliteConnection, statement: &'static str) -> Result<(), JournalError> {
    sqlx::query(statement)
        .execute(connection)
        .await
        .map(drop)
        .map_err(classify)
}

async fn apply(connection: &mut SqliteConnection, write: &Write) -> Result<(), JournalError> {
    match write {
        Write::Probe => {
            let [put, take] = schema::PROBE;
            plain(connection, put).await?;
            plain(connection, take).await
        }
        Write::Claimed(entry) => claimed(connection, entry).await,
        Write::Started(job, process, held) => started(connection, job, process, held).await,
        Write::DropOutput(job) => {
            let query = sqlx::query(schema::DROP_OUTPUT).bind(job.as_str());
            query.execute(connection).await.map(drop).map_err(classify)
        }
        Write::Piece { job, field, seq, bytes } => {
            let query = sqlx::query(schema::PIECE).bind(job.as_str()).bind(field).bind(seq);
            query
                .bind(bytes.as_slice())
                .execute(connection)
                .await
                .map(drop)
                .map_err(classify)
        }
        Write::Finished { .. } => finished(connection, write).await,
        Write::Reported(job, at) => {
            let query = sqlx::query(schema::REPORTED).bind(at).bind(job.as_str());
            query.execute(&mut *connection).await.map_err(classify)?;
            let query = sqlx::query(schema::DROP_OUTPUT).bind(job.as_str());
            query.execute(connection).await.map(drop).map_err(classify)
        }
        Write::SetAside(job, reason, at) => {
            let query = sqlx::query(schema::ASIDE).bind(at).bind(reason).bind(job.as_str());
            changed_one(job, query.execute(connection).await)
        }
    }
}

async fn claimed(connection: &mut SqliteConnection, entry: &ClaimedEntry) -> Result<(), JournalError> {
    let query = sqlx::query(schema::DROP_OUTPUT).bind(entry.job_id.as_str());
    query.execute(&mut *connection).await.map_err(classify)?;
    let query = sqlx::query(schema::CLAIMED)
        .bind(entry.job_id.as_str())
        .bind(entry.team_id.as_str())
        .bind(entry.gateway_id.as_str())
        .bind(&entry.job_type)
        .bind(&entry.requested_via)
        .bind(serde_json::to_string(&entry.timeline)?);
    query.execute(connection).await.map(drop).map_err(classify)
}

async fn started(
    connection: &mut SqliteConnection,
    job: &JobId,
    process: &ProcessIdentityRecord,
    held: &Value,
) -> Result<(), JournalError> {
    let query = sqlx::query(schema::STARTED)
        .bind(i64::from(process.pid))
        .bind(i64::try_from(process.start_ticks).unwrap_or(i64::MAX))
        .bind(i64::from(process.pgid))
        .bind(process.at.as_millisecond())
        .bind(held.to_string())
        .bind(job.as_str());
    changed_one(job, query.execute(connection).await)
}

async fn finished(connection: &mut SqliteConnection, write: &Write) -> Result<(), JournalError> {
    let Write::Finished {
        job,
        outcome,
        raw_bytes,
        timeline,
        at,
    } = write
    else {
        return Ok(());
    };
    if let Some(expected) = *raw_bytes {
        holds_output(connection, job, expected).await?;
    }
    let query = sqlx::query(schema::FINISHED).bind(outcome).bind(timeline).bind(at);
    changed_one(job, query.bind(job.as_str()).execute(connection).await)
}

/// The raw output is there whole, and nothing else is.
async fn holds_output(connection: &mut SqliteConnection, job: &JobId, expected: i64) -> Result<(), JournalError> {
    if expected == 0 {
        // What was said while the job ran, or pieces of an attempt that a crash cut off.
        let query = sqlx::query(schema::DROP_OUTPUT).bind(job.as_str());
        query.execute(&mut *connection).await.map_err(classify)?;
    }
    let stored: i64 = sqlx::query_scalar(schema::OUTPUT_BYTES)
        .bind(job.as_str())
        .fetch_one(&mut *connection)
        .await
        .map_err(classify)?;
    match stored == expected {
        true => Ok(()),
        false => Err(JournalError::Incomplete { stored, expected }),
    }
}

fn changed_one(job: &JobId, done: Result<sqlx::sqlite::SqliteQueryResult, sqlx::Error>) -> Result<(), JournalError> {
    match done.map_err(classify)?.rows_affected() {
        0 => Err(JournalError::Unknown(job.clone())),
        _ => Ok(()),
    }
}

async fn prune(connection: &mut SqliteConnection) -> Result<(), JournalError> {
    let now = clock::now().as_millisecond();
    for query in schema::PRUNE {
        sqlx::query(query)
            .bind(now)
            .execute(&mut *connection)
            .await
            .map_err(classify)?;
    }
    Ok(())
}

/// Names the failures callers act upon: no room, and what cannot be decoded.
pub(super) fn classify(error: sqlx::Error) -> JournalError {
    const FULL: i64 = 13;
    if open::primary_code(&error) == Some(FULL) {
        return JournalError::Full(error);
    }
    if matches!(error, sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_)) {
        return JournalError::Malformed(serde::de::Error::custom(error));
    }
    JournalError::Storage(error)
}

fn answered(answer: Answer, outcome: Result<(), JournalError>) {
    match (answer, outcome) {
        (Some(answer), outcome) => tell(answer, outcome),
        (None, Err(error)) => tracing::warn!(%error, "a journal write that nobody waits for failed"),
        (None, Ok(())) => {}
    }
}

fn tell<T>(answer: oneshot::Sender<T>, value: T) {
    if answer.send(value).is_err() {
        tracing::trace!("nobody waits for this answer any more");
    }
}
