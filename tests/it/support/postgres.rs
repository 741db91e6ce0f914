//! A database of its own on the real PostgreSQL that `tests/run` started.

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use uuid::Uuid;

/// The variable in which `tests/run` hands over the cluster's address, superuser included.
const VARIABLE: &str = "GATEWAY_TEST_POSTGRES";

/// A fresh, empty database. It stays until `tests/run` throws the cluster away: dropping it would wait for every
/// connection of the cluster, also for one that a test left in the middle of its greeting.
#[derive(Debug)]
pub(crate) struct TestDatabase {
    cluster: String,
    name: String,
}

impl TestDatabase {
    /// Creates the database.
    pub(crate) async fn create() -> Self {
        let cluster = cluster_url();
        let name = format!("test_{}", Uuid::new_v4().simple());
        execute(&cluster, &format!("create database {name}"))
            .await
            .expect("the test cluster creates a database");
        Self { cluster, name }
    }

    /// Address of this database, as the control plane's `--database` takes it.
    pub(crate) fn url(&self) -> String {
        let (server, _) = self.cluster.rsplit_once('/').expect("the address names a database");
        format!("{server}/{}", self.name)
    }
}

#[expect(clippy::disallowed_methods, reason = "the only word from tests/run to the tests")]
fn cluster_url() -> String {
    std::env::var(VARIABLE)
        .unwrap_or_else(|_| panic!("{VARIABLE} is not set: this test needs PostgreSQL, run it through `tests/run`"))
}

async fn execute(url: &str, statement: &str) -> Result<(), sqlx::Error> {
    let mut connection = PgConnection::connect(url).await?;
    sqlx::query(AssertSqlSafe(statement.to_owned()))
        .execute(&mut connection)
        .await?;
    connection.close().await
}

#[tokio::test]
async fn each_test_has_a_database_of_its_own() {
    let (one, other) = (TestDatabase::create().await, TestDatabase::create().await);
    execute(&one.url(), "create table only_here (id int)").await.unwrap();
    assert!(execute(&other.url(), "select id from only_here").await.is_err());
}
