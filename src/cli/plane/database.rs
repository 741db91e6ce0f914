//! Which database a control plane command means, and the owner-only files of an SQLite one.

use std::path::{Path, PathBuf};

use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::control_plane::store::{DatabaseUrl, OpenError};
use crate::state::fs::OwnerDir;

/// File name inside the control plane's directory.
const FILE: &str = "control-plane.sqlite";
/// Names a database without showing its password to every user of the machine.
const VARIABLE: &str = "GATEWAY_DATABASE_URL";

/// The database of the embedded control plane; its directory is made.
pub(crate) fn embedded(cx: &Context) -> Result<DatabaseUrl, CliError> {
    cx.state_dir()?;
    let dir = OwnerDir::open_or_create(&cx.paths.control_plane_dir())?;
    Ok(DatabaseUrl::Sqlite(dir.create_private(FILE)?))
}

/// The database that was named, else the embedded one. SQLite files are created for their owner only.
pub(crate) fn chosen(named: Option<&str>, cx: &Context) -> Result<DatabaseUrl, CliError> {
    let Some(named) = named.or_else(|| cx.env.get(VARIABLE)) else {
        return embedded(cx);
    };
    match named.parse() {
        Ok(DatabaseUrl::Sqlite(path)) => private(&path).map(DatabaseUrl::Sqlite),
        Ok(DatabaseUrl::Postgres(url)) => Ok(DatabaseUrl::Postgres(url)),
        Err(error) => Err(CliError::usage("The database cannot be used.").detail(error.to_string())),
    }
}

/// Administering starts nothing: a mistyped path must not become an empty control plane.
pub(crate) fn must_exist(named: Option<&str>, cx: &Context) -> Result<(), CliError> {
    let path = match named.or_else(|| cx.env.get(VARIABLE)).map(str::parse) {
        None => cx.paths.control_plane_dir().join(FILE),
        Some(Ok(DatabaseUrl::Sqlite(path))) => path,
        // The one is asked when it is opened, the other is explained by `chosen`.
        Some(Ok(DatabaseUrl::Postgres(_)) | Err(_)) => return Ok(()),
    };
    if path.symlink_metadata().is_ok() {
        return Ok(());
    }
    Err(CliError::failed("There is no control plane database.")
        .detail(cx.out.path(&path))
        .hint("`gateway up` or `gateway control-plane serve` makes one; --database names another"))
}

/// Whether this is the database that `up` uses.
pub(crate) fn is_embedded(database: &DatabaseUrl, cx: &Context) -> bool {
    match database {
        DatabaseUrl::Sqlite(path) => *path == cx.paths.control_plane_dir().join(FILE),
        DatabaseUrl::Postgres(_) => false,
    }
}

/// For people: an SQLite path; nothing of a PostgreSQL address, which may hold a password.
pub(crate) fn shown(database: &DatabaseUrl, cx: &Context) -> String {
    match database {
        DatabaseUrl::Sqlite(path) => format!("sqlite:{}", cx.out.path(path)),
        DatabaseUrl::Postgres(_) => "PostgreSQL".to_owned(),
    }
}

impl From<OpenError> for CliError {
    fn from(error: OpenError) -> Self {
        let failed = if error.is_away() {
            Self::with(
                Exit::UNREACHABLE,
                "The database of the control plane cannot be reached.",
            )
        } else {
            Self::failed("The database of the control plane cannot be opened.")
        };
        let failed = failed.detail(error.to_string());
        match error.hint() {
            Some(hint) => failed.hint(hint),
            None => failed,
        }
    }
}

fn private(path: &Path) -> Result<PathBuf, CliError> {
    let path = std::path::absolute(path)
        .map_err(|error| CliError::usage("The database path cannot be used.").detail(error.to_string()))?;
    let (Some(parent), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Err(CliError::usage("The database path names no file."));
    };
    Ok(OwnerDir::open_chosen(parent)?.create_private(name)?)
}
