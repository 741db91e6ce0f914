//! Brings a database to this program's schema. Every step may be repeated.

use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqlitePool};

use crate::control_plane::query::sql::Dialect;
use crate::control_plane::registry::ddl;

/// The schema this program knows. A later one adds its steps before the version is written.
const VERSION: i64 = 1;
/// Nodes that start together take turns.
const TURN: &str = "SELECT pg_advisory_xact_lock(7301950441)";

/// Why a database cannot be brought there.
#[derive(Debug)]
pub(super) enum Unfit {
    /// It says no.
    Database(sqlx::Error),
    /// Somebody newer was here.
    Newer { found: i64, known: i64 },
}

impl From<sqlx::Error> for Unfit {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

pub(super) async fn sqlite(pool: &SqlitePool) -> Result<(), Unfit> {
    let mut tx = pool.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::raw_sql("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL) STRICT")
        .execute(&mut *tx)
        .await?;
    let found: Option<i64> = sqlx::query_scalar("SELECT max(version) FROM schema_version")
        .fetch_one(&mut *tx)
        .await?;
    if !is_current(found)? {
        sqlx::raw_sql(AssertSqlSafe(ddl::script(Dialect::Sqlite)))
            .execute(&mut *tx)
            .await?;
        sqlx::query("INSERT INTO schema_version (version) VALUES (?1)")
            .bind(VERSION)
            .execute(&mut *tx)
            .await?;
    }
    Ok(tx.commit().await?)
}

pub(super) async fn postgres(connection: &mut PgConnection) -> Result<(), Unfit> {
    let mut tx = connection.begin().await?;
    sqlx::raw_sql(TURN).execute(&mut *tx).await?;
    sqlx::raw_sql("CREATE TABLE IF NOT EXISTS schema_version (version int8 NOT NULL)")
        .execute(&mut *tx)
        .await?;
    let found: Option<i64> = sqlx::query_scalar("SELECT max(version) FROM schema_version")
        .fetch_one(&mut *tx)
        .await?;
    if !is_current(found)? {
        sqlx::raw_sql(AssertSqlSafe(ddl::script(Dialect::Postgres)))
            .execute(&mut *tx)
            .await?;
        sqlx::query("INSERT INTO schema_version (version) VALUES ($1)")
            .bind(VERSION)
            .execute(&mut *tx)
            .await?;
    }
    Ok(tx.commit().await?)
}

fn is_current(found: Option<i64>) -> Result<bool, Unfit> {
    match found {
        Some(found) if found > VERSION => Err(Unfit::Newer { found, known: VERSION }),
        Some(found) => Ok(found == VERSION),
        None => Ok(false),
    }
}
