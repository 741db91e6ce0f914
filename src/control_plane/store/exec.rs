//! Statements on connections of either engine.

use std::time::Duration;

use futures_util::TryStreamExt as _;
use sqlx::pool::PoolConnection;
use sqlx::{AssertSqlSafe, Database, PgConnection, Pool, Postgres, Row as _, Sqlite, SqliteConnection};

use super::error::problem;
use crate::control_plane::problem::Problem;
use crate::control_plane::query::sql::{Arg, SqlBuf};

/// Most bytes of one answer; more would only fill memory.
const MOST_BYTES: usize = 128 * 1024 * 1024;
/// Bytes of the change log after which a batch is full, whatever its rows.
const CHANGE_BYTES: usize = 4 * 1024 * 1024;

type SqliteQuery<'q> = sqlx::query::Query<'q, Sqlite, <Sqlite as Database>::Arguments>;
type PostgresQuery<'q> = sqlx::query::Query<'q, Postgres, <Postgres as Database>::Arguments>;

pub(super) async fn acquire<DB: Database>(pool: &Pool<DB>) -> Result<PoolConnection<DB>, Problem> {
    pool.acquire().await.map_err(problem)
}

fn sqlite<'q>(statement: SqlBuf) -> SqliteQuery<'q> {
    let mut query = sqlx::query(AssertSqlSafe(statement.sql));
    for arg in statement.args {
        query = match arg {
            Arg::Null => query.bind(None::<String>),
            Arg::Text(text) => query.bind(text),
            Arg::Int(number) => query.bind(number),
            Arg::Bool(truth) => query.bind(truth),
        };
    }
    query
}

/// Every argument as text: a cached statement keeps the argument types it was first prepared with.
fn postgres<'q>(statement: SqlBuf) -> PostgresQuery<'q> {
    let mut query = sqlx::query(AssertSqlSafe(statement.sql));
    for arg in statement.args {
        query = query.bind(match arg {
            Arg::Null => None,
            Arg::Text(text) => Some(text),
            Arg::Int(number) => Some(number.to_string()),
            Arg::Bool(truth) => Some(truth.to_string()),
        });
    }
    query
}

pub(super) async fn run_sqlite(connection: &mut SqliteConnection, statement: SqlBuf) -> Result<u64, Problem> {
    let done = sqlite(statement).execute(connection).await.map_err(problem)?;
    Ok(done.rows_affected())
}

pub(super) async fn run_postgres(connection: &mut PgConnection, statement: SqlBuf) -> Result<u64, Problem> {
    in_time(async {
        let done = postgres(statement).execute(connection).await.map_err(problem)?;
        Ok(done.rows_affected())
    })
    .await
}

/// Longest time for a statement on PostgreSQL: it ends its own after 30 s, unless the path to it has died.
const STATEMENT_WITHIN: Duration = Duration::from_secs(40);

async fn in_time<T>(work: impl Future<Output = Result<T, Problem>>) -> Result<T, Problem> {
    let silent = |_elapsed| Problem::new("08006", "the database does not answer");
    tokio::time::timeout(STATEMENT_WITHIN, work).await.map_err(silent)?
}

/// One row of text cells.
pub(super) type Cells = Vec<Option<String>>;

macro_rules! collect {
    ($stream:expr, $cells:literal, full: $full:expr) => {{
        let mut stream = $stream;
        let (mut rows, mut bytes) = (Vec::new(), 0_usize);
        while let Some(row) = stream.try_next().await.map_err(problem)? {
            let mut cells: Cells = Vec::with_capacity($cells);
            for index in 0..$cells {
                let cell: Option<String> = row.try_get(index).map_err(problem)?;
                bytes = bytes.saturating_add(cell.as_ref().map_or(0, String::len));
                cells.push(cell);
            }
            rows.push(cells);
            if $full(bytes)? {
                break;
            }
        }
        rows
    }};
}

fn small_enough(bytes: usize) -> Result<bool, Problem> {
    if bytes > MOST_BYTES {
        let message = "the answer is too big; ask for fewer rows or columns";
        return Err(Problem::new("54000", message));
    }
    Ok(false)
}

/// The log is read in pieces: records of a mebibyte each must fill neither memory nor the limit of an answer.
#[expect(clippy::unnecessary_wraps, reason = "the shape of its sibling")]
const fn full_batch(bytes: usize) -> Result<bool, Problem> {
    Ok(bytes >= CHANGE_BYTES)
}

fn first_cells(rows: Vec<Cells>) -> Vec<String> {
    rows.into_iter()
        .map(|row| row.into_iter().next().flatten().unwrap_or_default())
        .collect()
}

pub(super) async fn texts_sqlite(connection: &mut SqliteConnection, statement: SqlBuf) -> Result<Vec<String>, Problem> {
    Ok(first_cells(
        collect!(sqlite(statement).fetch(connection), 1, full: small_enough),
    ))
}

pub(super) async fn texts_postgres(connection: &mut PgConnection, statement: SqlBuf) -> Result<Vec<String>, Problem> {
    let rows = in_time(async { Ok(collect!(postgres(statement).fetch(connection), 1, full: small_enough)) });
    Ok(first_cells(rows.await?))
}

/// Columns of a row of the change log.
pub(super) const CHANGE_CELLS: usize = 8;

pub(super) async fn changes_sqlite(
    connection: &mut SqliteConnection,
    statement: SqlBuf,
) -> Result<Vec<Cells>, Problem> {
    Ok(collect!(sqlite(statement).fetch(connection), 8, full: full_batch))
}

pub(super) async fn changes_postgres(connection: &mut PgConnection, statement: SqlBuf) -> Result<Vec<Cells>, Problem> {
    in_time(async { Ok(collect!(postgres(statement).fetch(connection), 8, full: full_batch)) }).await
}
