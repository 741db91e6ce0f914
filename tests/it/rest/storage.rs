//! The database itself: its file, its schema, its transactions.

use std::os::unix::fs::PermissionsExt as _;

use gateway::control_plane::registry::SETTINGS;
use gateway::control_plane::store::{DatabaseUrl, OpenError, Rows, Store};
use serde_json::json;
use sqlx::Connection as _;

use super::plane::Plane;

#[tokio::test]
async fn the_files_belong_to_their_owner_alone() {
    let plane = Plane::sqlite().await;
    let mut names = Vec::new();
    for entry in std::fs::read_dir(plane.dir.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(
            entry.metadata().unwrap().permissions().mode() & 0o777,
            0o600,
            "{entry:?}"
        );
        names.push(entry.file_name());
    }
    assert!(names.len() >= 2, "the write-ahead log is there too: {names:?}");

    let path = plane.dir.path().join("link.sqlite");
    std::os::unix::fs::symlink(plane.dir.path().join("plane.sqlite"), &path).unwrap();
    let refused = Store::open(&DatabaseUrl::Sqlite(path)).await;
    assert!(matches!(refused, Err(OpenError::File { .. })), "{refused:?}");
}

#[tokio::test]
async fn opening_again_keeps_the_data_and_a_newer_schema_is_refused() {
    for plane in Plane::both().await {
        plane
            .store
            .insert_row(&SETTINGS, &json!({"key": "a", "value": "1"}))
            .await
            .unwrap();
        let again = Store::open(&plane.url).await.unwrap();
        let rows = again.select_rows(&Rows::of(&SETTINGS).eq("key", "a")).await.unwrap();
        assert_eq!(rows[0]["value"], json!("1"));
        again.close().await;
        let raise = "UPDATE schema_version SET version = 99";
        match &plane.url {
            DatabaseUrl::Sqlite(path) => {
                let url = format!("sqlite:{}", path.display());
                let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
                sqlx::query(raise).execute(&mut connection).await.unwrap();
            }
            DatabaseUrl::Postgres(url) => {
                let mut connection = sqlx::PgConnection::connect(url.expose()).await.unwrap();
                sqlx::query(raise).execute(&mut connection).await.unwrap();
            }
        }
        let refused = Store::open(&plane.url).await;
        assert!(
            matches!(refused, Err(OpenError::Newer { found: 99, .. })),
            "{refused:?}"
        );
    }
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "a file that somebody else wrote")]
async fn a_file_that_is_no_database_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notes.txt");
    std::fs::write(&path, "not a database ".repeat(100)).unwrap();
    let refused = Store::open(&DatabaseUrl::Sqlite(path.clone())).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        format!(
            "the database file {} cannot be used: it is no SQLite database",
            path.display()
        )
    );
}

#[tokio::test]
async fn two_nodes_may_open_at_once() {
    let plane = Plane::postgres().await;
    let fresh = crate::support::postgres::TestDatabase::create().await;
    let url: DatabaseUrl = fresh.url().parse().unwrap();
    let (one, other) = tokio::join!(Store::open(&url), Store::open(&url));
    one.unwrap().close().await;
    other.unwrap().close().await;
    plane.store.close().await;
}

#[test]
fn addresses_are_told_apart() {
    assert!("sqlite:".parse::<DatabaseUrl>().is_err());
    assert!("mysql://x".parse::<DatabaseUrl>().is_err());
    let url: DatabaseUrl = "postgres://u:secret@h/d".parse().unwrap();
    assert!(!format!("{url:?}").contains("secret"));
}
