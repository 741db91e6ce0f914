//! A control plane in this process, on a database of its own.

use std::net::SocketAddr;
use std::time::Duration;

use gateway::control_plane::admin::Admin;
use gateway::control_plane::auth::Lives;
use gateway::control_plane::listen::ConnectionLimits;
use gateway::control_plane::server::{ServeError, ServeOptions, serve};
use gateway::control_plane::store::{DatabaseUrl, Store};
use gateway::domain::ids::TeamId;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::postgres::TestDatabase;

/// Which store a test runs on.
#[derive(Debug, Clone, Copy)]
pub(crate) enum On {
    Sqlite,
    Postgres,
}

/// What must outlive the server; one of the two.
#[derive(Debug, Default)]
struct Home {
    _dir: Option<TempDir>,
    _database: Option<TestDatabase>,
}

/// A running control plane.
#[derive(Debug)]
pub(crate) struct Plane {
    pub(crate) address: SocketAddr,
    pub(crate) anon_key: String,
    pub(crate) admin: Admin,
    pub(crate) team: TeamId,
    pub(crate) http: reqwest::Client,
    pub(crate) database: DatabaseUrl,
    stop: CancellationToken,
    served: JoinSet<Result<(), ServeError>>,
    _home: Home,
}

/// A paired gateway.
#[derive(Debug, Clone)]
pub(crate) struct Paired {
    pub(crate) gateway_id: String,
    pub(crate) team_id: String,
    pub(crate) access: String,
    pub(crate) refresh: String,
}

impl Plane {
    pub(crate) async fn start(on: On) -> Self {
        Self::with(on, Lives::default()).await
    }

    pub(crate) async fn with(on: On, lives: Lives) -> Self {
        let mut home = Home::default();
        let url = match on {
            On::Sqlite => {
                let dir = TempDir::new().unwrap();
                let url = format!("sqlite:{}", dir.path().join("plane.sqlite").display());
                home._dir = Some(dir);
                url
            }
            On::Postgres => {
                let database = TestDatabase::create().await;
                let url = database.url();
                home._database = Some(database);
                url
            }
        };
        Self::on_database(home, url.parse().unwrap(), lives).await
    }

    async fn on_database(home: Home, database: DatabaseUrl, lives: Lives) -> Self {
        let stop = CancellationToken::new();
        let (heard, bound) = oneshot::channel();
        let options = ServeOptions {
            listen: ([127, 0, 0, 1], 0).into(),
            database: database.clone(),
            lives,
            limits: ConnectionLimits::default(),
        };
        let mut served = JoinSet::new();
        let on_bound = move |bound| drop(heard.send(bound));
        served.spawn(serve(options, on_bound, stop.clone().cancelled_owned()));
        let Ok(bound) = bound.await else {
            panic!("the server did not start: {:?}", served.join_next().await);
        };
        let admin = Admin::new(Store::open(&database).await.unwrap());
        let team = admin.ensure_default_team().await.unwrap();
        Self {
            address: bound.address,
            anon_key: bound.anon_key.expose().to_owned(),
            admin,
            team,
            http: client(),
            database,
            stop,
            served,
            _home: home,
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// A request with the public key and, unless it is empty, a bearer token.
    pub(crate) fn request(&self, method: reqwest::Method, path: &str, token: &str) -> reqwest::RequestBuilder {
        let request = self
            .http
            .request(method, self.url(path))
            .header("apikey", &self.anon_key);
        if token.is_empty() {
            request
        } else {
            request.bearer_auth(token)
        }
    }

    pub(crate) async fn get(&self, path: &str, token: &str) -> (u16, Value) {
        answer(self.request(reqwest::Method::GET, path, token)).await
    }

    pub(crate) async fn post(&self, path: &str, token: &str, body: &Value) -> (u16, Value) {
        answer(self.request(reqwest::Method::POST, path, token).json(body)).await
    }

    pub(crate) async fn patch(&self, path: &str, token: &str, body: &Value) -> (u16, Value) {
        answer(self.request(reqwest::Method::PATCH, path, token).json(body)).await
    }

    /// Inserts a row and gives it back.
    pub(crate) async fn insert(&self, table: &str, token: &str, row: &Value) -> Value {
        let request = self
            .request(reqwest::Method::POST, &format!("/rest/v1/{table}"), token)
            .header("Prefer", "return=representation")
            .json(row);
        let (status, body) = answer(request).await;
        assert_eq!(status, 201, "{body}");
        body[0].clone()
    }

    pub(crate) async fn code(&self) -> String {
        self.admin
            .create_pairing_code(&self.team, None)
            .await
            .unwrap()
            .code
            .expose()
            .to_owned()
    }

    pub(crate) async fn pair(&self, name: &str) -> Paired {
        let body = json!({"code": self.code().await, "device_name": name});
        let (status, reply) = self
            .post("/functions/v1/exchange-gateway-pairing-code", &self.anon_key, &body)
            .await;
        assert_eq!(status, 200, "{reply}");
        let text = |name: &str| reply[name].as_str().unwrap().to_owned();
        Paired {
            gateway_id: text("gateway_id"),
            team_id: text("team_id"),
            access: text("access_token"),
            refresh: text("refresh_token"),
        }
    }

    pub(crate) async fn operator(&self) -> String {
        let made = self.admin.create_token(&self.team, "test", None).await.unwrap();
        made.token.expose().to_owned()
    }

    /// Stops the server and says how it ended.
    pub(crate) async fn stop(&mut self) -> Result<(), ServeError> {
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(20), self.served.join_next())
            .await
            .expect("the server stops in time")
            .expect("it was running")
            .expect("it did not panic")
    }
}

/// A job of this gateway, as an operator writes it.
pub(crate) fn job(gateway: &Paired, command: &str) -> Value {
    json!({
        "team_id": gateway.team_id, "gateway_id": gateway.gateway_id, "job_type": "shell_exec",
        "payload": {"command": command},
    })
}

/// The status and the JSON body; null for an empty one.
pub(crate) async fn answer(request: reqwest::RequestBuilder) -> (u16, Value) {
    let response = request.send().await.expect("the control plane answers");
    let status = response.status().as_u16();
    let body = response.bytes().await.expect("the answer has a body");
    let body = if body.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(&body).unwrap_or_else(|_| panic!("no JSON: {}", String::from_utf8_lossy(&body)))
    };
    (status, body)
}

/// A client of the tests' own; the program's is in a room that is tested elsewhere.
pub(crate) fn client() -> reqwest::Client {
    // Another test of this process may have been first.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        // Loopback is plain HTTP; reading the host's certificates for every request is half a core of a polling test.
        .tls_certs_only([])
        .timeout(Duration::from_secs(60))
        .build()
        .unwrap()
}
