//! A transaction over either engine. Dropped without a commit it leaves nothing behind.

use sqlx::pool::PoolConnection;
use sqlx::{Database, Executor, Pool, Postgres, Sqlite};

use super::error::problem;
use super::{Engine, Store, exec};
use crate::control_plane::problem::Problem;
use crate::control_plane::query::sql::{Dialect, SqlBuf};

/// An open transaction. On SQLite a writing one is the only one: whatever else writes waits for its end, so
/// nothing may go through the [`Store`] itself meanwhile.
#[derive(Debug)]
pub struct Tx {
    connection: Connection,
    store: Store,
}

#[derive(Debug)]
enum Connection {
    Sqlite(Open<Sqlite>),
    Postgres(Open<Postgres>),
}

/// BEGIN and COMMIT as plain statements. sqlx 0.9 forgets a BEGIN that nobody waited for, and would give its
/// connection to the next one with the transaction open; and after a COMMIT that failed, as on a full disk, it counts
/// its nesting wrong on SQLite.
#[derive(Debug)]
struct Open<DB: Database> {
    connection: PoolConnection<DB>,
    open: bool,
}

impl<DB: Database> Open<DB>
where
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    async fn begin(pool: &Pool<DB>, begin: &'static str) -> Result<Self, Problem> {
        // Open before it is known: whoever is dropped while the answer is on its way has begun all the same.
        let (connection, open) = (exec::acquire(pool).await?, true);
        let mut tx = Self { connection, open };
        let begun = tx.connection.execute(begin).await;
        tx.open = begun.is_ok();
        begun.map_err(problem)?;
        Ok(tx)
    }

    /// `COMMIT` or `ROLLBACK`.
    async fn end(mut self, end: &'static str) -> Result<(), sqlx::Error> {
        self.connection.execute(end).await?;
        self.open = false;
        Ok(())
    }
}

impl<DB: Database> Drop for Open<DB> {
    /// Closing the connection is the one way to leave a transaction that needs no answer.
    fn drop(&mut self) {
        if self.open {
            self.connection.close_on_drop();
        }
    }
}

impl Tx {
    pub(super) async fn begin(store: &Store, writes: bool) -> Result<Self, Problem> {
        let connection = match &store.inner.engine {
            Engine::Sqlite { writer, .. } if writes => {
                Connection::Sqlite(Open::begin(writer, "BEGIN IMMEDIATE").await?)
            }
            Engine::Sqlite { readers, .. } => Connection::Sqlite(Open::begin(readers, "BEGIN").await?),
            Engine::Postgres(pool) => Connection::Postgres(Open::begin(pool, "BEGIN").await?),
        };
        Ok(Self {
            connection,
            store: store.clone(),
        })
    }

    /// Which engine this is.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.store.dialect()
    }

    /// Runs a statement; gives the number of rows it touched.
    ///
    /// # Errors
    /// Whatever the database says. PostgreSQL refuses the rest of the transaction then.
    pub async fn execute(&mut self, statement: SqlBuf) -> Result<u64, Problem> {
        match &mut self.connection {
            Connection::Sqlite(tx) => exec::run_sqlite(&mut tx.connection, statement).await,
            Connection::Postgres(tx) => exec::run_postgres(&mut tx.connection, statement).await,
        }
    }

    /// Runs a statement; gives the first column of each row, which must be text.
    ///
    /// # Errors
    /// As [`Tx::execute`].
    pub async fn fetch_text(&mut self, statement: SqlBuf) -> Result<Vec<String>, Problem> {
        match &mut self.connection {
            Connection::Sqlite(tx) => exec::texts_sqlite(&mut tx.connection, statement).await,
            Connection::Postgres(tx) => exec::texts_postgres(&mut tx.connection, statement).await,
        }
    }

    /// Makes it last, and wakes those who wait for changes.
    ///
    /// # Errors
    /// As [`Tx::execute`]; nothing has changed then.
    pub async fn commit(self) -> Result<(), Problem> {
        match self.connection {
            Connection::Sqlite(tx) => tx.end("COMMIT").await,
            Connection::Postgres(tx) => tx.end("COMMIT").await,
        }
        .map_err(problem)?;
        self.store.wake();
        Ok(())
    }

    /// Takes everything back.
    ///
    /// # Errors
    /// A connection that was lost, which takes everything back too.
    pub async fn rollback(self) -> Result<(), Problem> {
        match self.connection {
            Connection::Sqlite(tx) => tx.end("ROLLBACK").await,
            Connection::Postgres(tx) => tx.end("ROLLBACK").await,
        }
        .map_err(problem)
    }
}
