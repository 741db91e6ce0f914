//! Who sees and changes what: every table with a foreign team.

use gateway::control_plane::registry::{TABLES, Table};
use reqwest::Method;
use serde_json::{Value, json};

use super::plane::{Plane, Who, id};

/// One row of every exposed table for each team, written by the control plane itself.
async fn fill(plane: &Plane) {
    for (team, gateway) in [(0, 0), (1, 2)] {
        let (team_id, gateway_id) = (&plane.teams[team], &plane.gateways[gateway]);
        let (subagent, run) = (id(), id());
        let own = |extra: Value| {
            let mut row = json!({"team_id": team_id, "gateway_id": gateway_id});
            row.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            row
        };
        let rows = [
            ("gateway_jobs", own(json!({"job_type": "diagnostic", "payload": {}}))),
            ("gateway_events", own(json!({"level": "warn", "message": "m"}))),
            (
                "team_resources",
                json!({"team_id": team_id, "resource_type": "remote_shell"}),
            ),
            (
                "subagents",
                own(json!({"id": subagent, "subagent_type": "codex", "status": "running"})),
            ),
            (
                "subagent_runs",
                own(json!({"id": run, "subagent_id": subagent, "run_sequence": 1, "status": "running"})),
            ),
            (
                "subagent_run_events",
                own(json!({"run_id": run, "subagent_id": subagent, "sequence": 1, "event_type": "x"})),
            ),
        ];
        for (table, row) in rows {
            plane.insert(Who::Service, table, &row).await;
        }
        let code = json!({"team_id": team_id, "code": id(), "expires_at": "2026-01-01T00:00:00Z"});
        let codes = TABLES
            .iter()
            .find(|table| table.name == "gateway_pairing_codes")
            .unwrap();
        plane.store.insert_row(codes, &code).await.unwrap();
    }
}

fn exposed() -> impl Iterator<Item = &'static Table> {
    TABLES.iter().copied().filter(|table| table.exposed)
}

async fn teams_seen(plane: &Plane, who: Who, table: &Table) -> Vec<Value> {
    let column = if table.name == "teams" { "id" } else { "team_id" };
    let answer = plane.get(who, &format!("{}?select={column}", table.name)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer
        .json()
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row[column].clone())
        .collect()
}

#[tokio::test]
async fn nobody_reads_another_teams_rows() {
    for plane in Plane::both().await {
        fill(&plane).await;
        for table in exposed() {
            assert_eq!(
                teams_seen(&plane, Who::Anon, table).await,
                Vec::<Value>::new(),
                "{}",
                table.name
            );
            for (who, team) in [
                (Who::Gateway(0), 0),
                (Who::Gateway(2), 1),
                (Who::Operator(0), 0),
                (Who::Operator(1), 1),
            ] {
                let seen = teams_seen(&plane, who, table).await;
                assert!(
                    seen.iter().all(|seen| *seen == json!(plane.teams[team])),
                    "{who:?} {}",
                    table.name
                );
                let closed = ["users", "gateway_pairing_codes"].contains(&table.name) && matches!(who, Who::Gateway(_));
                assert_eq!(seen.is_empty(), closed, "{who:?} {}", table.name);
            }
        }
        // Another gateway of the same team has no business with the job.
        assert_eq!(plane.get(Who::Gateway(1), "gateway_jobs").await.json(), json!([]));
        let foreign = format!("gateway_jobs?team_id=eq.{}", plane.teams[1]);
        assert_eq!(plane.get(Who::Operator(0), &foreign).await.json(), json!([]));
    }
}

/// Changing or deleting is refused or touches nothing.
async fn attempts(plane: &Plane, who: Who, path: &str, changes: &Value) {
    let forbidden = if who == Who::Anon { 401 } else { 403 };
    for method in [Method::PATCH, Method::DELETE] {
        let answer = plane.send(who, (method, path), &[], Some(changes)).await;
        let status = answer.status.as_u16();
        assert!(
            status == forbidden || (status == 204 && who != Who::Anon),
            "{who:?} {path} {answer:?}"
        );
    }
}

#[tokio::test]
async fn nobody_writes_another_teams_rows() {
    for plane in Plane::both().await {
        fill(&plane).await;
        for table in exposed() {
            let column = if table.name == "teams" { "id" } else { "team_id" };
            let mine = format!("{}?{column}=eq.{}", table.name, plane.teams[1]);
            let before = plane.get(Who::Service, &mine).await.json();
            let changes = match table.name {
                "teams" => json!({"name": "x"}),
                "team_gateways" => json!({"full_control_enabled": true}),
                "gateway_jobs" | "subagents" | "subagent_runs" => json!({"status": "cancelled"}),
                "gateway_pairing_codes" => json!({"used_at": null}),
                "gateway_events" | "subagent_run_events" => json!({"gateway_id": plane.gateways[0]}),
                "team_resources" => json!({"metadata": {"full_control": true}}),
                _ => json!({"email": "x"}),
            };
            for who in [Who::Anon, Who::Gateway(0), Who::Gateway(1), Who::Operator(0)] {
                attempts(&plane, who, &mine, &changes).await;
            }
            assert_eq!(plane.get(Who::Service, &mine).await.json(), before, "{}", table.name);
        }
    }
}

#[tokio::test]
async fn inserts_must_be_the_callers_own() {
    for plane in Plane::both().await {
        let event = |gateway: usize, team: usize| json!({"gateway_id": plane.gateways[gateway], "team_id": plane.teams[team], "level": "warn", "message": "m"});
        let mut for_another = plane.job(0);
        for_another["requested_by_user_id"] = json!(plane.users[1]);
        let mut running = plane.job(0);
        running["status"] = json!("running");
        let refused = [
            (Who::Anon, "gateway_jobs", plane.job(0)),
            (Who::Gateway(0), "gateway_jobs", plane.job(0)),
            (Who::Operator(1), "gateway_jobs", plane.job(0)),
            (Who::Operator(0), "gateway_jobs", running),
            (Who::Operator(0), "gateway_jobs", for_another),
            (Who::Gateway(0), "gateway_events", event(1, 0)),
            (Who::Gateway(0), "gateway_events", event(0, 1)),
            (
                Who::Gateway(0),
                "gateway_events",
                json!({"level": "warn", "message": "m"}),
            ),
            (Who::Operator(0), "gateway_events", event(0, 0)),
            (Who::Gateway(0), "team_gateways", json!({"team_id": plane.teams[0]})),
            (Who::Operator(0), "team_gateways", json!({"team_id": plane.teams[0]})),
            (Who::Operator(0), "teams", json!({"name": "x"})),
        ];
        for (who, table, row) in refused {
            let answer = plane.send(who, (Method::POST, table), &[], Some(&row)).await;
            let status = if who == Who::Anon { 401 } else { 403 };
            assert_eq!(answer.problem(), (status, "42501".to_owned()), "{who:?} {table} {row}");
        }
        plane.insert(Who::Gateway(0), "gateway_events", &event(0, 0)).await;
    }
}

#[tokio::test]
async fn a_gateway_changes_only_what_its_role_may() {
    for plane in Plane::both().await {
        let job = plane.insert(Who::Operator(0), "gateway_jobs", &plane.job(0)).await;
        let row = format!("gateway_jobs?id=eq.{}", job["id"].as_str().unwrap());
        for changes in [
            json!({"payload": {}}),
            json!({"team_id": plane.teams[1]}),
            json!({"gateway_id": plane.gateways[1]}),
            json!({"status": "queued"}),
            json!({"id": id()}),
        ] {
            let answer = plane.patch(Who::Gateway(0), &row, &changes).await;
            assert_eq!(answer.problem(), (403, "42501".to_owned()), "{changes}");
        }
        for (changes, why) in [
            (json!({"status": "completed"}), "not claimed"),
            (json!({"status": "failed"}), "not claimed"),
        ] {
            assert_eq!(
                plane.patch(Who::Gateway(0), &row, &changes).await.json(),
                json!([]),
                "{why}"
            );
        }
        assert_eq!(
            plane
                .patch(Who::Gateway(1), &row, &json!({"status": "running"}))
                .await
                .json(),
            json!([])
        );
        for changes in [
            json!({"status": "running"}),
            json!({"error": "x"}),
            json!({"result": {}}),
        ] {
            let answer = plane.patch(Who::Operator(0), &row, &changes).await;
            assert_eq!(answer.problem(), (403, "42501".to_owned()), "{changes}");
        }
        let gateway = format!("team_gateways?id=eq.{}", plane.gateways[0]);
        for who in [Who::Gateway(0), Who::Operator(0)] {
            let answer = plane.patch(who, &gateway, &json!({"full_control_enabled": true})).await;
            assert_eq!(answer.problem(), (403, "42501".to_owned()));
        }
    }
}
