//! Keys that are made once and kept in the store, the same for every node.

use serde_json::json;

use crate::control_plane::auth::{AuthError, text};
use crate::control_plane::keys;
use crate::control_plane::problem::Problem;
use crate::control_plane::registry::SETTINGS;
use crate::control_plane::store::{Rows, Store};
use crate::domain::secret::Secret;

/// The public key of this control plane.
pub(crate) async fn anon_key(store: &Store) -> Result<String, AuthError> {
    let fresh = keys::random_token(keys::ANON_PREFIX)?;
    Ok(get_or_set(store, "anon_key", &fresh).await?)
}

/// The stored value, or `fresh` if there is none yet. Of two nodes that start together one wins, and both use its value.
pub(crate) async fn get_or_set(store: &Store, key: &str, fresh: &Secret) -> Result<String, Problem> {
    if let Some(value) = get(store, key).await? {
        return Ok(value);
    }
    let row = json!({"key": key, "value": fresh.expose()});
    match store.insert_row(&SETTINGS, &row).await {
        Ok(_) => {}
        Err(problem) if problem.code == "23505" => {}
        Err(problem) => return Err(problem),
    }
    get(store, key)
        .await?
        .ok_or_else(|| Problem::new("XX000", format!("the setting {key} was not stored")))
}

async fn get(store: &Store, key: &str) -> Result<Option<String>, Problem> {
    let found = store.select_rows(&Rows::of(&SETTINGS).eq("key", key)).await?;
    Ok(found.first().and_then(|row| text(row, "value")))
}
