//! The change log: what happened to the tables Realtime serves, in commit order.

use std::time::Duration;

use sqlx::postgres::PgListener;
use tokio::sync::watch;

use super::exec::{self, Cells};
use super::past::Past;
use super::prune::Pruning;
use super::{Engine, Store};
use crate::control_plane::problem::Problem;
use crate::control_plane::query::sql::{Arg, SqlBuf};
use crate::control_plane::registry::ColumnType;

/// How far a reader is. Ordered as the log is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Transaction; always 0 on SQLite, whose writers take turns.
    pub txid: u64,
    /// Row of the log.
    pub seq: i64,
}

/// What happened to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeOp {
    /// It is new.
    Insert,
    /// It changed.
    Update,
    /// It is gone.
    Delete,
}

impl ChangeOp {
    /// `INSERT`, `UPDATE`, `DELETE`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Insert => "INSERT",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
        }
    }
}

/// One logged change of a table in schema `public`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its place in the log.
    pub position: Position,
    /// When, in the stored form.
    pub at: String,
    /// Which table.
    pub table: String,
    /// What happened.
    pub op: ChangeOp,
    /// The row as it is now, as JSON text; none for a delete.
    pub new: Option<String>,
    /// Primary key and owner columns of the row as it was, as JSON text; none for an insert.
    pub old: Option<String>,
    /// The row is over a mebibyte: columns over 64 bytes are missing from `new`.
    pub cut: bool,
}

/// Changes of other processes are noticed no later than this, notification or not.
const POLL_SQLITE: Duration = Duration::from_millis(250);
const POLL_POSTGRES: Duration = Duration::from_secs(1);
/// After a notification that showed nothing: somebody's open transaction holds the horizon back, briefly.
const POLL_SOON: Duration = Duration::from_millis(50);
const SOON_POLLS: u8 = 20;
/// Channel of the wake-ups on PostgreSQL.
pub(super) const CHANNEL: &str = "gw_changes";

impl Store {
    /// What the log holds now. It may hold more that [`Store::changes_after`] does not show yet.
    ///
    /// # Errors
    /// Whatever the database says.
    pub async fn past(&self) -> Result<Past, Problem> {
        let mut buf = SqlBuf::new(self.dialect());
        buf.push(match self.inner.engine {
            Engine::Sqlite { .. } => "SELECT CAST(coalesce(max(seq),0) AS text) FROM change_log",
            Engine::Postgres(_) => "SELECT pg_current_snapshot()::text",
        });
        let text = self.read(buf).await?.into_iter().next().unwrap_or_default();
        let past = match self.inner.engine {
            Engine::Sqlite { .. } => text.parse().ok().map(Past::UpTo),
            Engine::Postgres(_) => Past::of_snapshot(&text),
        };
        past.ok_or_else(|| Problem::new("XX001", "the end of the change log cannot be read"))
    }

    /// The changes after a position, oldest first, at most `limit`.
    ///
    /// On PostgreSQL only transactions below the snapshot's horizon are read: no commit can appear
    /// later before what was read already.
    ///
    /// # Errors
    /// Whatever the database says.
    pub async fn changes_after(&self, position: Position, limit: u32) -> Result<Vec<Change>, Problem> {
        let mut buf = SqlBuf::new(self.dialect());
        let limit = Arg::Int(i64::from(limit));
        let cells = match &self.inner.engine {
            Engine::Sqlite { readers, .. } => {
                buf.push("SELECT '0',CAST(seq AS text),at,table_name,op,new,old,CAST(cut AS text) ")
                    .push("FROM change_log WHERE seq>")
                    .bind(ColumnType::Int8, Arg::Int(position.seq))
                    .push(" ORDER BY seq LIMIT ")
                    .bind(ColumnType::Int8, limit);
                exec::changes_sqlite(&mut *exec::acquire(readers).await?, buf).await?
            }
            Engine::Postgres(pool) => {
                buf.push("SELECT txid::text,seq::text,at,table_name,op,new,old,cut::int::text ")
                    .push("FROM change_log WHERE (txid,seq)>(")
                    .bind(ColumnType::Text, Arg::Text(position.txid.to_string()))
                    .push("::xid8,")
                    .bind(ColumnType::Int8, Arg::Int(position.seq))
                    .push(") AND txid<pg_snapshot_xmin(pg_current_snapshot())")
                    // Qualified: a bare name would be the text of the answer's column.
                    .push(" ORDER BY change_log.txid,change_log.seq LIMIT ")
                    .bind(ColumnType::Int8, limit);
                exec::changes_postgres(&mut *exec::acquire(pool).await?, buf).await?
            }
        };
        cells.into_iter().map(change).collect()
    }

    /// Whether the change at that place is still in the log. The start of a feed on PostgreSQL is no change's place.
    async fn still_has(&self, position: Position) -> Result<bool, Problem> {
        if position.seq == 0 || position.seq == i64::MAX {
            return Ok(true);
        }
        let mut buf = SqlBuf::new(self.dialect());
        buf.push("SELECT table_name FROM change_log WHERE seq=")
            .bind(ColumnType::Int8, Arg::Int(position.seq));
        Ok(!self.read(buf).await?.is_empty())
    }

    /// A reader that starts at the end of the log.
    ///
    /// # Errors
    /// Whatever the database says.
    pub async fn change_feed(&self) -> Result<ChangeFeed, Problem> {
        let listener = match &self.inner.engine {
            Engine::Sqlite { .. } => None,
            Engine::Postgres(pool) => {
                let mut listener = PgListener::connect_with(pool).await.map_err(super::error::problem)?;
                listener.listen(CHANNEL).await.map_err(super::error::problem)?;
                Some(listener)
            }
        };
        let start = self.past().await?;
        Ok(ChangeFeed {
            position: start.position(),
            start,
            wake: self.subscribe_changes(),
            store: self.clone(),
            listener,
            soon: 0,
            pruning: Pruning::begin(),
            gap: false,
        })
    }
}

fn change(cells: Cells) -> Result<Change, Problem> {
    let broken = || Problem::new("XX001", "a row of the change log cannot be read");
    let cells: [Option<String>; exec::CHANGE_CELLS] = cells.try_into().map_err(|_cells| broken())?;
    let [txid, seq, at, table, op, new, old, cut] = cells;
    let op = match op.as_deref() {
        Some("INSERT") => ChangeOp::Insert,
        Some("UPDATE") => ChangeOp::Update,
        Some("DELETE") => ChangeOp::Delete,
        Some(_) | None => return Err(broken()),
    };
    Ok(Change {
        position: Position {
            txid: txid.and_then(|text| text.parse().ok()).ok_or_else(broken)?,
            seq: seq.and_then(|text| text.parse().ok()).ok_or_else(broken)?,
        },
        at: at.ok_or_else(broken)?,
        table: table.ok_or_else(broken)?,
        op,
        new,
        old,
        cut: cut.as_deref() == Some("1"),
    })
}

/// Reads the log as it grows. One for a node is enough.
#[derive(Debug)]
pub struct ChangeFeed {
    store: Store,
    position: Position,
    /// What was there before this feed began, though some of it comes after its first place.
    start: Past,
    wake: watch::Receiver<u64>,
    listener: Option<PgListener>,
    soon: u8,
    pruning: Pruning,
    gap: bool,
}

impl ChangeFeed {
    /// Most changes of one batch.
    pub const BATCH: u32 = 128;

    /// How far this feed has read: what it gave out is at or before it.
    #[must_use]
    pub const fn position(&self) -> Position {
        self.position
    }

    /// Whether changes were pruned before this feed read them, since this was asked last. Who listens must then ask
    /// for the rows themselves.
    #[must_use = "what was missed is not told again"]
    pub const fn take_gap(&mut self) -> bool {
        std::mem::replace(&mut self.gap, false)
    }

    /// Waits for changes and gives them, oldest first. Dropped while it waits, it has lost nothing.
    ///
    /// # Errors
    /// Whatever the database says; the next call goes on where this one was.
    pub async fn next(&mut self) -> Result<Vec<Change>, Problem> {
        loop {
            self.wake.mark_unchanged();
            // Also when there is always more to read: then most of all.
            self.pruning.when_due(&self.store).await?;
            let mut changes = self.store.changes_after(self.position, Self::BATCH).await?;
            if let Some(last) = changes.last() {
                // Asked after the reading: a place that is still there then had nothing pruned behind it.
                self.gap |= !self.store.still_has(self.position).await?;
                self.position = last.position;
                self.soon = 0;
                self.pruning.count(&changes);
                changes.retain(|change| !self.start.includes(change.position));
                if changes.is_empty() {
                    continue;
                }
                return Ok(changes);
            }
            self.wait().await;
        }
    }

    /// Until a commit here, a notification, or the fallback's time.
    async fn wait(&mut self) {
        let Self {
            wake, listener, soon, ..
        } = self;
        match listener {
            None => {
                tokio::select! {
                    changed = wake.changed() => drop(changed),
                    () = tokio::time::sleep(POLL_SQLITE) => {}
                }
            }
            Some(listener) => {
                let heard = async {
                    if listener.recv().await.is_err() {
                        // The listener connects anew by itself; until then the fallback serves.
                        std::future::pending::<()>().await;
                    }
                };
                let patience = if *soon > 0 { POLL_SOON } else { POLL_POSTGRES };
                tokio::select! {
                    () = heard => *soon = SOON_POLLS,
                    () = tokio::time::sleep(patience) => *soon = soon.saturating_sub(1),
                }
            }
        }
    }
}
