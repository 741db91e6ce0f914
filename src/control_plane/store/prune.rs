//! Keeping the change log short: it is a way to the listeners, no archive.

use std::time::Duration;

use tokio::time::Instant;

use super::Store;
use super::changes::Change;
use crate::control_plane::problem::Problem;
use crate::control_plane::query::sql::{Arg, SqlBuf};
use crate::control_plane::query::value;
use crate::control_plane::registry::ColumnType;
use crate::domain::clock;

/// Most changes kept, and for how long.
const KEPT_ROWS: i64 = 20_000;
const KEPT_FOR: Duration = Duration::from_secs(600);
const EVERY: Duration = Duration::from_secs(30);
/// Most bytes of records kept: each is whole up to a mebibyte, and twenty thousand of those are too much.
const KEPT_BYTES: i64 = 256 * 1024 * 1024;
/// The bytes are counted again when so many have come: so much more may the log hold.
const RECOUNT_BYTES: usize = 32 * 1024 * 1024;

impl Store {
    /// Drops changes that are older than ten minutes, and all but the newest twenty thousand. The newest of all
    /// stays: a feed that has read everything finds its place again.
    ///
    /// # Errors
    /// Whatever the database says.
    pub async fn prune_changes(&self) -> Result<u64, Problem> {
        let cutoff = clock::now().saturating_sub(KEPT_FOR).unwrap_or_else(|_| clock::now());
        let mut buf = SqlBuf::new(self.dialect());
        // The first row to stay is found from the old end, so that only what goes is read.
        buf.push("DELETE FROM change_log WHERE seq<=(SELECT max(seq) FROM change_log)-")
            .bind(ColumnType::Int8, Arg::Int(KEPT_ROWS))
            .push(" OR seq<coalesce((SELECT seq FROM change_log WHERE at>=")
            .bind(ColumnType::Text, Arg::Text(value::stored_time(cutoff)))
            .push(" ORDER BY seq LIMIT 1),(SELECT max(seq) FROM change_log))");
        self.write(buf).await
    }

    /// Drops the oldest changes until their records have at most so many bytes; the newest stays.
    ///
    /// # Errors
    /// Whatever the database says.
    pub async fn prune_changes_over(&self, bytes: i64) -> Result<u64, Problem> {
        let mut buf = SqlBuf::new(self.dialect());
        // Both engines know the length of a text without reading it: 50 ms for a full log. Counting is no part of the
        // DELETE, since a writer on SQLite keeps all others waiting.
        buf.push(
            "SELECT CAST(max(seq) AS text) FROM (SELECT seq,sum(octet_length(new)) OVER (ORDER BY seq DESC) AS size ",
        )
        .push("FROM change_log) AS sized WHERE size>")
        .bind(ColumnType::Int8, Arg::Int(bytes))
        .push(" AND seq<(SELECT max(seq) FROM change_log)");
        let last = self.read(buf).await?.into_iter().next();
        let Some(last) = last.and_then(|seq| seq.parse().ok()) else {
            return Ok(0);
        };
        let mut buf = SqlBuf::new(self.dialect());
        buf.push("DELETE FROM change_log WHERE seq<=")
            .bind(ColumnType::Int8, Arg::Int(last));
        self.write(buf).await
    }
}

/// What a feed knows of when to prune.
#[derive(Debug)]
pub(super) struct Pruning {
    at: Instant,
    bytes: usize,
}

impl Pruning {
    /// What earlier processes left behind was never counted: that is done first.
    pub(super) fn begin() -> Self {
        Self {
            at: Instant::now() + EVERY,
            bytes: RECOUNT_BYTES,
        }
    }

    pub(super) fn count(&mut self, changes: &[Change]) {
        let records = changes.iter().filter_map(|change| change.new.as_ref());
        self.bytes = self.bytes.saturating_add(records.map(String::len).sum());
    }

    /// Prunes if it is time. What fails is not tried again at once: the log must be read all the same.
    pub(super) async fn when_due(&mut self, store: &Store) -> Result<(), Problem> {
        if Instant::now() >= self.at {
            self.at = Instant::now() + EVERY;
            store.prune_changes().await?;
        }
        if self.bytes >= RECOUNT_BYTES {
            self.bytes = 0;
            store.prune_changes_over(KEPT_BYTES).await?;
        }
        Ok(())
    }
}
