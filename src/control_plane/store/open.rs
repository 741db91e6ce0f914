//! Opening either database.

use std::fs::{self, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use nix::fcntl::OFlag;
use sqlx::pool::PoolOptions;
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};
use tokio::sync::watch;

use super::error::problem;
use super::migrate::{self, Unfit};
use super::refused::OpenError;
use super::{Engine, Inner, Store};
use crate::domain::secret::Secret;

/// Where the data is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// `sqlite:PATH`
    Sqlite(PathBuf),
    /// `postgres://...`, which may hold a password.
    Postgres(Secret),
}

/// Neither `sqlite:PATH` nor `postgres://...`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a database is named sqlite:PATH or postgres://USER@HOST/NAME")]
pub struct InvalidDatabaseUrl;

impl FromStr for DatabaseUrl {
    type Err = InvalidDatabaseUrl;

    fn from_str(text: &str) -> Result<Self, InvalidDatabaseUrl> {
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return Ok(Self::Postgres(Secret::new(text)));
        }
        match text.strip_prefix("sqlite:") {
            Some("" | ":memory:") | None => Err(InvalidDatabaseUrl),
            Some(path) => Ok(Self::Sqlite(PathBuf::from(path.strip_prefix("//").unwrap_or(path)))),
        }
    }
}

const PATIENCE: Duration = Duration::from_secs(10);
/// Longest wait for a PostgreSQL server to take a connection, and to bring its schema up to date.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
const MIGRATE_WITHIN: Duration = Duration::from_secs(60);
const BUSY: Duration = Duration::from_secs(5);
const READERS: u32 = 2;
const POSTGRES_CONNECTIONS: u32 = 10;

impl Store {
    /// Opens the database, creating the file and the tables where they are missing.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(url: &DatabaseUrl) -> Result<Self, OpenError> {
        let engine = match url {
            DatabaseUrl::Sqlite(path) => open_sqlite(path).await?,
            DatabaseUrl::Postgres(url) => open_postgres(url).await?,
        };
        Ok(Self {
            inner: Arc::new(Inner {
                engine,
                wake: watch::Sender::new(0),
            }),
        })
    }
}

async fn open_sqlite(path: &Path) -> Result<Engine, OpenError> {
    create_private(path).map_err(|source| OpenError::File {
        path: path.to_owned(),
        source,
    })?;
    let options = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal)
        .busy_timeout(BUSY)
        .foreign_keys(true)
        .pragma("journal_size_limit", "16777216");
    let unusable = |error| OpenError::Content {
        path: path.to_owned(),
        why: problem(error).message,
    };
    let writer = sqlite_pool(1).connect_with(options.clone()).await.map_err(unusable)?;
    migrate::sqlite(&writer).await.map_err(|unfit| match unfit {
        Unfit::Database(error) => unusable(error),
        Unfit::Newer { found, known } => OpenError::Newer { found, known },
    })?;
    let readers = sqlite_pool(READERS).connect_lazy_with(options.pragma("query_only", "ON"));
    Ok(Engine::Sqlite { writer, readers })
}

fn sqlite_pool(connections: u32) -> PoolOptions<sqlx::Sqlite> {
    // A file does not go away: asking a connection whether it lives would double the work of a request.
    PoolOptions::<sqlx::Sqlite>::new()
        .max_connections(connections)
        .acquire_timeout(PATIENCE)
        .test_before_acquire(false)
        .idle_timeout(None)
        .max_lifetime(None)
}

/// The file, for its owner only; SQLite gives its side files the same mode.
fn create_private(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .read(true)
        .mode(0o600)
        .custom_flags(OFlag::O_NOFOLLOW.bits())
        .open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    if metadata.permissions().mode() & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(0o600))?;
        for side in ["-wal", "-shm"] {
            let mut name = path.as_os_str().to_owned();
            name.push(side);
            match fs::set_permissions(&name, Permissions::from_mode(0o600)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
    }
    Ok(())
}

async fn open_postgres(url: &Secret) -> Result<Engine, OpenError> {
    let options = PgConnectOptions::from_str(url.expose())
        .map_err(|_hides_the_password| OpenError::Address)?
        .application_name("gateway-control-plane")
        .options([
            ("timezone", "UTC"),
            ("statement_timeout", "30s"),
            ("lock_timeout", "10s"),
            ("idle_in_transaction_session_timeout", "10s"),
        ]);
    let mut first = reach(&options).await?;
    let migrated = tokio::time::timeout(MIGRATE_WITHIN, migrate::postgres(&mut first)).await;
    migrated
        .map_err(|_elapsed| OpenError::silent(&options))?
        .map_err(|unfit| match unfit {
            Unfit::Database(error) => OpenError::of_postgres(&options, error),
            Unfit::Newer { found, known } => OpenError::Newer { found, known },
        })?;
    drop(first.close().await);
    let pool = PoolOptions::new()
        .max_connections(POSTGRES_CONNECTIONS)
        .acquire_timeout(PATIENCE)
        .connect_lazy_with(options);
    Ok(Engine::Postgres(pool))
}

/// The first connection is made without the pool, which takes a refused one for a server that is about to start and
/// tells nobody why it waits.
async fn reach(options: &PgConnectOptions) -> Result<PgConnection, OpenError> {
    match tokio::time::timeout(CONNECT_WITHIN, options.connect()).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => Err(OpenError::of_postgres(options, error)),
        Err(_elapsed) => Err(OpenError::silent(options)),
    }
}
