//! The database behind the control plane: one SQLite file, or PostgreSQL shared by several nodes.
//!
//! Statements are built by [`crate::control_plane::query`]; the database builds the JSON of the
//! answers, so nobody above decodes columns. Triggers write the change log, so that no writer of
//! any process can forget it.

mod changes;
mod error;
mod exec;
mod migrate;
mod open;
mod past;
mod prune;
mod refused;
mod rows;
mod tx;

use std::sync::Arc;

use sqlx::{PgPool, SqlitePool};
use tokio::sync::watch;

use super::problem::Problem;
use super::query::sql::{Dialect, SqlBuf};

pub use changes::{Change, ChangeFeed, ChangeOp, Position};
pub use open::{DatabaseUrl, InvalidDatabaseUrl};
pub use past::Past;
pub use refused::OpenError;
pub use rows::Rows;
pub use tx::Tx;

/// The database. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    engine: Engine,
    wake: watch::Sender<u64>,
}

#[derive(Debug)]
enum Engine {
    /// One writer, because SQLite has one; readers see the last commit.
    Sqlite { writer: SqlitePool, readers: SqlitePool },
    /// Everything from one pool.
    Postgres(PgPool),
}

impl Store {
    /// Which engine this is.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        match self.inner.engine {
            Engine::Sqlite { .. } => Dialect::Sqlite,
            Engine::Postgres(_) => Dialect::Postgres,
        }
    }

    /// Begins a transaction that will write. On SQLite it waits for the other writers first.
    ///
    /// # Errors
    /// A database that is away or busy.
    pub async fn begin(&self) -> Result<Tx, Problem> {
        Tx::begin(self, true).await
    }

    /// Begins a transaction that only reads.
    ///
    /// # Errors
    /// A database that is away or busy.
    pub async fn begin_read(&self) -> Result<Tx, Problem> {
        Tx::begin(self, false).await
    }

    /// Runs one reading statement; gives the first column of each row.
    ///
    /// # Errors
    /// Whatever the database says.
    pub async fn read(&self, statement: SqlBuf) -> Result<Vec<String>, Problem> {
        match &self.inner.engine {
            Engine::Sqlite { readers, .. } => exec::texts_sqlite(&mut *exec::acquire(readers).await?, statement).await,
            Engine::Postgres(pool) => exec::texts_postgres(&mut *exec::acquire(pool).await?, statement).await,
        }
    }

    /// Runs one writing statement in a transaction of its own; gives the first column of each returned row.
    ///
    /// # Errors
    /// Whatever the database says.
    pub async fn write_returning(&self, statement: SqlBuf) -> Result<Vec<String>, Problem> {
        let rows = match &self.inner.engine {
            Engine::Sqlite { writer, .. } => exec::texts_sqlite(&mut *exec::acquire(writer).await?, statement).await,
            Engine::Postgres(pool) => exec::texts_postgres(&mut *exec::acquire(pool).await?, statement).await,
        }?;
        self.wake();
        Ok(rows)
    }

    /// Runs one writing statement in a transaction of its own; gives the number of rows it touched.
    ///
    /// # Errors
    /// Whatever the database says.
    pub async fn write(&self, statement: SqlBuf) -> Result<u64, Problem> {
        let count = match &self.inner.engine {
            Engine::Sqlite { writer, .. } => exec::run_sqlite(&mut *exec::acquire(writer).await?, statement).await,
            Engine::Postgres(pool) => exec::run_postgres(&mut *exec::acquire(pool).await?, statement).await,
        }?;
        self.wake();
        Ok(count)
    }

    /// Closes every connection and, on SQLite, folds the write-ahead log into the file.
    pub async fn close(&self) {
        match &self.inner.engine {
            Engine::Sqlite { writer, readers } => {
                readers.close().await;
                writer.close().await;
            }
            Engine::Postgres(pool) => pool.close().await,
        }
    }

    /// A wake-up for each commit of this process. A hint only: other processes write too, which
    /// [`ChangeFeed`] knows how to notice.
    #[must_use]
    pub fn subscribe_changes(&self) -> watch::Receiver<u64> {
        self.inner.wake.subscribe()
    }

    fn wake(&self) {
        self.inner.wake.send_modify(|count| *count = count.wrapping_add(1));
    }
}
