//! What the databases say, in one vocabulary.

use sqlx::postgres::PgDatabaseError;

use crate::control_plane::problem::Problem;
use crate::control_plane::registry::{TABLES, Table};

/// The SQLSTATE view of any database failure. Nothing of a connection string gets into it.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the driver's other errors are bugs of ours, all alike"
)]
pub(super) fn problem(error: sqlx::Error) -> Problem {
    match error {
        sqlx::Error::Database(error) => match error.try_downcast_ref::<PgDatabaseError>() {
            Some(error) => of_postgres(error),
            None => of_sqlite(error.code().as_deref().unwrap_or_default(), error.message()),
        },
        sqlx::Error::PoolTimedOut => Problem::new("53300", "the database is busy or cannot be reached"),
        sqlx::Error::PoolClosed => Problem::new("57P01", "the server is shutting down"),
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::WorkerCrashed => {
            Problem::new("08006", "the connection to the database was lost")
        }
        other => Problem::new("XX000", format!("the database driver failed: {other}")),
    }
}

fn of_postgres(error: &PgDatabaseError) -> Problem {
    Problem {
        code: error.code().to_owned(),
        message: error.message().to_owned(),
        details: error.detail().map(str::to_owned),
        hint: error.hint().map(str::to_owned),
    }
}

/// Extended result codes: <https://www.sqlite.org/rescode.html>.
fn of_sqlite(code: &str, message: &str) -> Problem {
    let primary = code.parse::<u32>().unwrap_or_default() & 0xFF;
    match (code, primary) {
        ("2067" | "1555", _) => duplicate(message),
        ("787", _) => Problem::new("23503", "insert or update violates a foreign key constraint"),
        ("1299", _) => Problem::new("23502", message),
        ("275", _) => Problem::new("23514", message),
        (_, 5 | 6) => Problem::new("53300", "the database is busy"),
        (_, 13) => Problem::new("53100", "the disk is full"),
        (_, 10 | 14) => Problem::new("58030", "the database file cannot be read or written"),
        (_, 18) => Problem::new("54000", "a value is too big"),
        (_, 26) => Problem::new("58030", "it is no SQLite database"),
        (_, 11) => Problem::new("XX001", "the database file is damaged"),
        (_, 8) => Problem::new("25006", "the database is read-only"),
        _ => Problem::new("XX000", message),
    }
}

/// `UNIQUE constraint failed: t.a, t.b` into PostgreSQL's words and the constraint's name.
fn duplicate(message: &str) -> Problem {
    let columns: Vec<(&str, &str)> = message
        .rsplit(": ")
        .next()
        .unwrap_or_default()
        .split(", ")
        .filter_map(|name| name.split_once('.'))
        .collect();
    let table = columns
        .first()
        .and_then(|(name, _)| TABLES.iter().find(|table| table.name == *name));
    let names: Vec<&str> = columns.iter().map(|(_, column)| *column).collect();
    let constraint = table.map_or_else(String::new, |table| constraint_name(table, &names));
    Problem::new(
        "23505",
        format!("duplicate key value violates unique constraint \"{constraint}\""),
    )
    .details(format!("Key ({}) already exists.", names.join(", ")))
}

/// The name of a unique key, the same in both dialects.
pub(super) fn constraint_name(table: &Table, columns: &[&str]) -> String {
    if table.primary_key == columns {
        format!("{}_pkey", table.name)
    } else {
        format!("{}_{}_key", table.name, columns.join("_"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sqlite_speaks_sqlstate() {
        let cases = [
            ("2067", "UNIQUE constraint failed: gateway_jobs.id", "23505"),
            ("787", "FOREIGN KEY constraint failed", "23503"),
            ("517", "database is locked", "53300"),
            ("13", "full", "53100"),
            ("1", "no such table", "XX000"),
        ];
        for (code, message, state) in cases {
            assert_eq!(of_sqlite(code, message).code, state);
        }
        assert!(
            of_sqlite("1555", "UNIQUE constraint failed: gateway_jobs.id")
                .message
                .contains("\"gateway_jobs_pkey\"")
        );
    }
}
