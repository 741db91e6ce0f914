//! Why a database did not open, for the person who named it. Nothing of a password gets into it.

use std::io;
use std::path::PathBuf;

use sqlx::postgres::PgConnectOptions;

use super::error::problem;

/// Why a database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file.
    #[error("the database file {} cannot be opened: {source}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// What is in the file.
    #[error("the database file {} cannot be used: {why}", path.display())]
    Content {
        /// Which one.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// The URL of a PostgreSQL database.
    #[error("the PostgreSQL address cannot be read; it is postgres://USER@HOST:PORT/NAME")]
    Address,
    /// No PostgreSQL answers there.
    #[error("{at}: {why}")]
    Away {
        /// `host:port/name`
        at: String,
        /// Why not.
        why: String,
    },
    /// The PostgreSQL there wants nothing of us.
    #[error("{at}, user {user}: {why} (SQLSTATE {code})")]
    Refused {
        /// `host:port/name`
        at: String,
        /// As whom we came.
        user: String,
        /// The server's word for it.
        code: String,
        /// Its sentence.
        why: String,
    },
    /// Somebody newer was here.
    #[error("the database has schema {found}, this program knows {known}; use a newer gateway")]
    Newer {
        /// The database's.
        found: i64,
        /// Ours.
        known: i64,
    },
}

impl OpenError {
    /// Whether trying again later may help without anybody changing anything here.
    #[must_use]
    pub const fn is_away(&self) -> bool {
        matches!(self, Self::Away { .. })
    }

    /// What mends it, if that is known.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Away { .. } => Some("check that PostgreSQL runs there and takes connections from this machine"),
            Self::Refused { code, .. } => match code.as_str() {
                "28P01" | "28000" => Some("check user and password of the address, and pg_hba.conf of the server"),
                "3D000" => Some("create the database first, for example with `createdb`, or name another"),
                "42501" => Some("the user must be allowed to create tables: make it the owner of the database"),
                "53300" => Some("the server has no connection left; raise its max_connections"),
                "57P03" => Some("the server starts or stops; try again in a moment"),
                _ => None,
            },
            Self::Content { .. } => Some("name another file, or move this one away"),
            Self::File { .. } | Self::Address | Self::Newer { .. } => None,
        }
    }

    /// What a PostgreSQL driver's failure means.
    pub(super) fn of_postgres(options: &PgConnectOptions, error: sqlx::Error) -> Self {
        let at = place(options);
        if matches!(error, sqlx::Error::Database(_)) {
            let problem = problem(error);
            return Self::Refused {
                at,
                user: options.get_username().to_owned(),
                code: problem.code,
                why: problem.message,
            };
        }
        let why = if let sqlx::Error::Io(cause) = &error {
            cause.to_string()
        } else {
            error.to_string()
        };
        Self::Away { at, why }
    }

    /// Nothing was heard in time.
    pub(super) fn silent(options: &PgConnectOptions) -> Self {
        Self::Away {
            at: place(options),
            why: "no answer in time".to_owned(),
        }
    }
}

/// `host:port/name`, as it will be used: what the address leaves out has come from the environment.
fn place(options: &PgConnectOptions) -> String {
    let host = match options.get_socket() {
        Some(socket) => socket.display().to_string(),
        None => options.get_host().to_owned(),
    };
    let name = options.get_database().unwrap_or(options.get_username());
    format!("{host}:{}/{name}", options.get_port())
}
