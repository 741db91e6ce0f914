//! A REST server whose caller is named in a header, on a database of its own.

use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use gateway::control_plane::claims::{Claims, Role};
use gateway::control_plane::registry::{TEAM_GATEWAYS, TEAMS, USERS};
use gateway::control_plane::rest;
use gateway::control_plane::store::{DatabaseUrl, Store};
use gateway::domain::ids::{GatewayId, TeamId};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::support::postgres::TestDatabase;

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    Anon,
    /// Gateway 0 or 1 of team 0, or gateway 2 of team 1.
    Gateway(usize),
    /// Operator of team 0 or 1.
    Operator(usize),
    Service,
}

#[derive(Debug)]
pub(crate) struct Plane {
    pub(crate) store: Store,
    pub(crate) url: DatabaseUrl,
    pub(crate) teams: [String; 2],
    pub(crate) gateways: [String; 3],
    pub(crate) users: [String; 2],
    address: String,
    client: reqwest::Client,
    _server: JoinSet<()>,
    _database: Option<TestDatabase>,
    pub(crate) dir: TempDir,
}

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) range: Option<String>,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// Status and problem code.
    pub(crate) fn problem(&self) -> (u16, String) {
        let body = self.json();
        for member in ["code", "details", "hint", "message"] {
            assert!(body.get(member).is_some(), "{member} is missing in {body}");
        }
        (self.status.as_u16(), body["code"].as_str().unwrap().to_owned())
    }
}

pub(crate) fn id() -> String {
    Uuid::new_v4().to_string()
}

impl Plane {
    /// One plane on SQLite, one on PostgreSQL.
    pub(crate) async fn both() -> [Self; 2] {
        [Self::sqlite().await, Self::postgres().await]
    }

    pub(crate) async fn sqlite() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", dir.path().join("plane.sqlite").display());
        Self::start(&url, None, dir).await
    }

    pub(crate) async fn postgres() -> Self {
        let database = TestDatabase::create().await;
        let url = database.url();
        Self::start(&url, Some(database), tempfile::tempdir().unwrap()).await
    }

    async fn start(url: &str, database: Option<TestDatabase>, dir: TempDir) -> Self {
        let url: DatabaseUrl = url.parse().unwrap();
        let store = Store::open(&url).await.unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (teams, gateways, users) = ([id(), id()], [id(), id(), id()], [id(), id()]);
        let claims = Callers {
            teams: teams.clone(),
            gateways: gateways.clone(),
            users: users.clone(),
        };
        let app = rest::router(store.clone()).layer(from_fn(move |mut request: Request, next: Next| {
            let who = request
                .headers()
                .get("x-who")
                .map(|who| who.to_str().unwrap().to_owned());
            request.extensions_mut().insert(claims.of(who.as_deref()));
            next.run(request)
        }));
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, app).await.unwrap() });
        drop(rustls::crypto::ring::default_provider().install_default());
        let plane = Self {
            store,
            url,
            teams,
            gateways,
            users,
            address,
            client: reqwest::Client::builder().build().unwrap(),
            _server: server,
            _database: database,
            dir,
        };
        plane.seed().await;
        plane
    }

    async fn seed(&self) {
        let mut tx = self.store.begin().await.unwrap();
        for (index, team) in self.teams.iter().enumerate() {
            let row = json!({"id": team, "name": format!("team {index}")});
            tx.insert_row(&TEAMS, &row).await.unwrap();
            let user = json!({"id": self.users[index], "team_id": team});
            tx.insert_row(&USERS, &user).await.unwrap();
        }
        for (index, gateway) in self.gateways.iter().enumerate() {
            let row = json!({"id": gateway, "team_id": self.teams[index / 2], "device_name": format!("host {index}")});
            tx.insert_row(&TEAM_GATEWAYS, &row).await.unwrap();
        }
        tx.commit().await.unwrap();
    }

    /// A queued job's row for gateway `index`.
    pub(crate) fn job(&self, index: usize) -> Value {
        json!({"id": id(), "team_id": self.teams[index / 2], "gateway_id": self.gateways[index],
               "job_type": "shell_exec", "payload": {"command": "true"}})
    }

    pub(crate) async fn insert(&self, who: Who, table: &str, row: &Value) -> Value {
        let answer = self
            .send(
                who,
                (Method::POST, table),
                &[("prefer", "return=representation")],
                Some(row),
            )
            .await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()[0].clone()
    }

    pub(crate) async fn get(&self, who: Who, path: &str) -> Answer {
        self.send(who, (Method::GET, path), &[], None).await
    }

    pub(crate) async fn patch(&self, who: Who, path: &str, changes: &Value) -> Answer {
        let headers = [("prefer", "return=representation")];
        self.send(who, (Method::PATCH, path), &headers, Some(changes)).await
    }

    pub(crate) async fn send(
        &self,
        who: Who,
        target: (Method, &str),
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Answer {
        let body = body.map(Value::to_string).unwrap_or_default();
        self.send_text(who, target, headers, body).await
    }

    pub(crate) async fn send_text(
        &self,
        who: Who,
        (method, path): (Method, &str),
        headers: &[(&str, &str)],
        body: String,
    ) -> Answer {
        let mut request = self
            .client
            .request(method, format!("{}/rest/v1/{path}", self.address))
            .header("x-who", format!("{who:?}"))
            .header("content-type", "application/json")
            .body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap();
        Answer {
            status: response.status(),
            range: response
                .headers()
                .get("content-range")
                .map(|range| range.to_str().unwrap().to_owned()),
            text: response.text().await.unwrap(),
        }
    }
}

#[derive(Debug, Clone)]
struct Callers {
    teams: [String; 2],
    gateways: [String; 3],
    users: [String; 2],
}

impl Callers {
    fn of(&self, who: Option<&str>) -> Claims {
        let team = |index: usize| TeamId::new(&self.teams[index]).unwrap();
        let number = |text: &str| text.chars().find_map(|c| c.to_digit(10)).unwrap() as usize;
        Claims::new(match who {
            Some("Service") => Role::Service,
            Some(who) if who.starts_with("Gateway") => Role::Gateway {
                gateway_id: GatewayId::new(&self.gateways[number(who)]).unwrap(),
                team_id: team(number(who) / 2),
            },
            Some(who) if who.starts_with("Operator") => Role::Operator {
                team_id: team(number(who)),
                user_id: self.users[number(who)].clone(),
            },
            Some(_) | None => Role::Anon,
        })
    }
}
