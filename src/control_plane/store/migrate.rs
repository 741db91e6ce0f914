//! Brings a database to this program's schema. Every step may be repeated.

use sqlx::{AssertSqlSafe, PgPool, SqlitePool};

use super::open::OpenError;
use crate::control_plane::query::sql::Dialect;
use crate::control_plane::registry::ddl;

/// The schema this program knows. A later one adds its steps before the version is written.
const VERSION: i64 = 1;
/// Nodes that start together take turns.
const TURN: &str = "SELECT pg_advisory_xact_lock(7301950441)";

pub(super) async fn sqlite(pool: &SqlitePool) -> Result<(), OpenError> {
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

pub(super) async fn postgres(pool: &PgPool) -> Result<(), OpenError> {
    let mut tx = pool.begin().await?;
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

fn is_current(found: Option<i64>) -> Result<bool, OpenError> {
    match found {
        Some(found) if found > VERSION => Err(OpenError::Newer { found, known: VERSION }),
        Some(found) => Ok(found == VERSION),
        None => Ok(false),
    }
}
