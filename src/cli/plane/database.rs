//! Which database a control plane command means, and the owner-only files of an SQLite one.

use std::path::{Path, PathBuf};

use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::state::fs::OwnerDir;

/// File name inside the control plane's directory.
const FILE: &str = "control-plane.sqlite";

/// The database of the embedded control plane; its directory is made.
pub(crate) fn embedded(cx: &Context) -> Result<String, CliError> {
    cx.state_dir()?;
    let dir = OwnerDir::open_or_create(&cx.paths.control_plane_dir())?;
    Ok(url_of(&dir.create_private(FILE)?))
}

/// The database that was named, else the embedded one. SQLite files are created for their owner only.
pub(crate) fn chosen(named: Option<&str>, cx: &Context) -> Result<String, CliError> {
    let Some(named) = named else { return embedded(cx) };
    let Some(path) = sqlite_path(named) else {
        return Ok(named.to_owned());
    };
    let path = std::path::absolute(path)
        .map_err(|error| CliError::usage("The database path cannot be used.").detail(error.to_string()))?;
    let (Some(parent), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Err(CliError::usage("The database path names no file."));
    };
    let dir = OwnerDir::open_chosen(parent)?;
    Ok(url_of(&dir.create_private(name)?))
}

/// Whether this is the database that `up` uses.
pub(crate) fn is_embedded(database: &str, cx: &Context) -> bool {
    sqlite_path(database) == Some(cx.paths.control_plane_dir().join(FILE))
}

/// For people: a PostgreSQL address without its password.
pub(crate) fn shown(database: &str, cx: &Context) -> String {
    if let Some(path) = sqlite_path(database) {
        return format!("sqlite:{}", cx.out.path(&path));
    }
    match (database.split_once("://"), database.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, place))) => format!("{scheme}://{place}"),
        (Some(_) | None, _) => database.to_owned(),
    }
}

fn sqlite_path(database: &str) -> Option<PathBuf> {
    let path = database.strip_prefix("sqlite:")?;
    let path = path.strip_prefix("//").unwrap_or(path);
    Some(PathBuf::from(path.split('?').next().unwrap_or(path)))
}

fn url_of(path: &Path) -> String {
    format!("sqlite:{}", path.display())
}
