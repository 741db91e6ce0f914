//! The control plane when clients vanish in the middle.

use std::time::Duration;

use gateway::control_plane::registry::{
    AUTH_REFRESH_TOKENS, AUTH_SESSIONS, GATEWAY_PAIRING_CODES, SETTINGS, TEAM_GATEWAYS, TEAM_RESOURCES, Table, USERS,
};
use gateway::control_plane::store::{Rows, Store};
use reqwest::Method;
use serde_json::json;

use crate::support::plane::{On, Plane};

async fn count(store: &Store, table: &'static Table, filled: &str) -> usize {
    store
        .select_rows(&Rows::of(table).not_null(filled))
        .await
        .unwrap()
        .len()
}

#[tokio::test]
async fn a_client_that_vanishes_leaves_nothing_half_done() {
    for on in [On::Sqlite, On::Postgres] {
        let mut plane = Plane::start(on).await;
        plane.pair("whole").await;
        for step in 0..40 {
            let body = json!({"code": plane.code().await, "device_name": "vanished"});
            let path = "/functions/v1/exchange-gateway-pairing-code";
            let request = plane.request(Method::POST, path, &plane.anon_key).json(&body).send();
            let patience = Duration::from_micros(step * 400);
            drop(tokio::time::timeout(patience, request).await);
        }
        plane.stop().await.unwrap();
        let store = Store::open(&plane.database).await.unwrap();
        let gateways = count(&store, &TEAM_GATEWAYS, "id").await;
        assert!(gateways >= 1);
        for (table, filled) in [
            (&USERS, "gateway_id"),
            (&TEAM_RESOURCES, "id"),
            (&AUTH_SESSIONS, "id"),
            (&AUTH_REFRESH_TOKENS, "id"),
            (&GATEWAY_PAIRING_CODES, "used_at"),
            (&GATEWAY_PAIRING_CODES, "used_gateway_id"),
        ] {
            assert_eq!(count(&store, table, filled).await, gateways, "{on:?} {}", table.name);
        }
    }
}

/// A BEGIN whose answer nobody waited for: what the next one writes must not fall into that transaction.
#[tokio::test]
async fn an_abandoned_begin_is_nobody_elses_transaction() {
    for on in [On::Sqlite, On::Postgres] {
        let plane = Plane::start(on).await;
        let (store, other) = (
            Store::open(&plane.database).await.unwrap(),
            Store::open(&plane.database).await.unwrap(),
        );
        for step in 0..60 {
            drop(tokio::time::timeout(Duration::from_micros(step * 25), store.begin()).await);
            let row = json!({"key": format!("{step}"), "value": "1"});
            store.insert_row(&SETTINGS, &row).await.unwrap();
            let written = Rows::of(&SETTINGS).eq("key", &format!("{step}"));
            assert_eq!(other.select_rows(&written).await.unwrap().len(), 1, "{on:?} {step}");
        }
    }
}
