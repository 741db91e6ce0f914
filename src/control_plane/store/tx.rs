//! A transaction over either engine. Dropped without a commit it leaves nothing behind.

use sqlx::{Postgres, Sqlite, Transaction};

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
    Sqlite(Transaction<'static, Sqlite>),
    Postgres(Transaction<'static, Postgres>),
}

impl Tx {
    pub(super) async fn begin(store: &Store, writes: bool) -> Result<Self, Problem> {
        let connection = match &store.inner.engine {
            Engine::Sqlite { writer, .. } if writes => {
                Connection::Sqlite(writer.begin_with("BEGIN IMMEDIATE").await.map_err(problem)?)
            }
            Engine::Sqlite { readers, .. } => Connection::Sqlite(readers.begin().await.map_err(problem)?),
            Engine::Postgres(pool) => Connection::Postgres(pool.begin().await.map_err(problem)?),
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
            Connection::Sqlite(tx) => exec::run_sqlite(tx, statement).await,
            Connection::Postgres(tx) => exec::run_postgres(tx, statement).await,
        }
    }

    /// Runs a statement; gives the first column of each row, which must be text.
    ///
    /// # Errors
    /// As [`Tx::execute`].
    pub async fn fetch_text(&mut self, statement: SqlBuf) -> Result<Vec<String>, Problem> {
        match &mut self.connection {
            Connection::Sqlite(tx) => exec::texts_sqlite(tx, statement).await,
            Connection::Postgres(tx) => exec::texts_postgres(tx, statement).await,
        }
    }

    /// Makes it last, and wakes those who wait for changes.
    ///
    /// # Errors
    /// As [`Tx::execute`]; nothing has changed then.
    pub async fn commit(self) -> Result<(), Problem> {
        match self.connection {
            Connection::Sqlite(tx) => tx.commit().await,
            Connection::Postgres(tx) => tx.commit().await,
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
            Connection::Sqlite(tx) => tx.rollback().await,
            Connection::Postgres(tx) => tx.rollback().await,
        }
        .map_err(problem)
    }
}
