//! Opening the file: made owner-only before SQLite sees it, checked, and moved aside when damaged.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{
    SqliteAutoVacuum, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteLockingMode, SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Connection as _};

use super::{JournalError, schema};
use crate::domain::clock;
use crate::state::fs::OwnerDir;

const NAME: &str = "journal.sqlite";
const COMPANIONS: [&str; 3] = ["", "-wal", "-shm"];
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);

/// The connection, and where a damaged journal was moved.
pub(super) async fn open(dir: &OwnerDir) -> Result<(SqliteConnection, Option<PathBuf>), JournalError> {
    match open_once(dir).await {
        Err(JournalError::Storage(error)) if is_damage(&error) => {
            let moved = move_aside(dir)?;
            Ok((open_once(dir).await?, Some(moved)))
        }
        other => other.map(|connection| (connection, None)),
    }
}

async fn open_once(dir: &OwnerDir) -> Result<SqliteConnection, JournalError> {
    // SQLite gives its companion files the mode of the main one.
    for suffix in COMPANIONS {
        if suffix.is_empty() || dir.open_read(&format!("{NAME}{suffix}"))?.is_some() {
            dir.create_private(&format!("{NAME}{suffix}"))?;
        }
    }
    let path = dir.path().join(NAME);
    let told = |error| explain(&path, error);
    let mut connection = options(&path).connect().await.map_err(told)?;
    let checked = prepare(&mut connection, &path).await;
    if let Err(error) = checked {
        // The files may be moved next: nothing of ours may still have them open.
        if let Err(close) = connection.close().await {
            tracing::debug!(error = %close, "the journal did not close cleanly");
        }
        return Err(error);
    }
    Ok(connection)
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        // The lock needs no shared-memory file, and a second daemon is refused.
        .locking_mode(SqliteLockingMode::Exclusive)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .auto_vacuum(SqliteAutoVacuum::Incremental)
        .busy_timeout(BUSY_TIMEOUT)
        .statement_cache_capacity(24)
        .command_buffer_size(4)
        .row_buffer_size(4)
        .thread_name(|_| "journal".to_owned())
        .pragma("fullfsync", "1")
        .pragma("cache_size", "-512")
        .pragma("temp_store", "2")
        .pragma("max_page_count", schema::MAX_PAGES.to_string())
        .pragma("wal_autocheckpoint", "512")
        .pragma("journal_size_limit", "4194304")
}

async fn prepare(connection: &mut SqliteConnection, path: &Path) -> Result<(), JournalError> {
    let told = |error| explain(path, error);
    let version: i64 = scalar(connection, "PRAGMA user_version").await.map_err(told)?;
    if version > schema::VERSION {
        return Err(JournalError::Newer {
            path: path.to_path_buf(),
            found: version,
            known: schema::VERSION,
        });
    }
    if version == 0 {
        return create(connection).await.map_err(told);
    }
    let application: i64 = scalar(connection, "PRAGMA application_id").await.map_err(told)?;
    let size = std::fs::symlink_metadata(path).map_or(0, |found| found.len());
    let [whole, entries] = schema::CHECKS;
    let check = if size <= schema::CHECKED_BYTES { whole } else { entries };
    if application != schema::APPLICATION_ID || !is_sound(connection, check).await {
        return Err(JournalError::Storage(sqlx::Error::Protocol(DAMAGED.to_owned())));
    }
    // What every start reads is read here, where damage can still be answered.
    for query in [schema::OPEN_ENTRIES, schema::OUTPUT] {
        let read = sqlx::query(query).bind("").fetch_all(&mut *connection).await;
        read.map(drop).map_err(told)?;
    }
    Ok(())
}

const DAMAGED: &str = "the file is damaged";

async fn create(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin().await?;
    sqlx::raw_sql(schema::CREATE).execute(&mut *transaction).await?;
    for (name, value) in [
        ("application_id", schema::APPLICATION_ID),
        ("user_version", schema::VERSION),
    ] {
        // A pragma takes no parameters; both parts are constants of ours.
        let pragma = sqlx::AssertSqlSafe(format!("PRAGMA {name} = {value}"));
        sqlx::raw_sql(pragma).execute(&mut *transaction).await?;
    }
    transaction.commit().await
}

async fn is_sound(connection: &mut SqliteConnection, check: &'static str) -> bool {
    let verdict: Result<String, _> = scalar(connection, check).await;
    verdict.is_ok_and(|text| text == "ok")
}

async fn scalar<T>(connection: &mut SqliteConnection, query: &'static str) -> Result<T, sqlx::Error>
where
    T: Send + Unpin + for<'r> sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    sqlx::query_scalar(query).fetch_one(connection).await
}

/// Moves the journal and its companions; the name says when.
fn move_aside(dir: &OwnerDir) -> Result<PathBuf, JournalError> {
    let mut target = format!("{NAME}.corrupt-{}", clock::now().strftime("%Y%m%dT%H%M%S%.3fZ"));
    while dir.open_read(&target)?.is_some() {
        target.push('+');
    }
    for suffix in COMPANIONS {
        dir.rename(&format!("{NAME}{suffix}"), &format!("{target}{suffix}"))?;
    }
    Ok(dir.path().join(target))
}

fn explain(path: &Path, error: sqlx::Error) -> JournalError {
    match primary_code(&error) {
        Some(5 | 6) => JournalError::Busy {
            path: path.to_path_buf(),
        },
        Some(_) | None => super::writer::classify(error),
    }
}

/// SQLite's primary result code, the low byte of the extended one.
pub(super) fn primary_code(error: &sqlx::Error) -> Option<i64> {
    let code = error.as_database_error()?.code()?;
    Some(code.parse::<i64>().ok()? & 0xff)
}

/// Corrupt, or not a database.
pub(super) fn is_corrupt(error: &sqlx::Error) -> bool {
    matches!(primary_code(error), Some(11 | 26))
}

/// Corrupt, not a database, or not the tables we wrote: a version-1 file without them is damaged.
fn is_damage(error: &sqlx::Error) -> bool {
    if let sqlx::Error::Protocol(text) = error {
        return text == DAMAGED;
    }
    is_corrupt(error) || primary_code(error) == Some(1)
}
