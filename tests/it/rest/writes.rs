//! POST, PATCH and DELETE as supabase-js sends them.

use reqwest::Method;
use serde_json::json;

use super::plane::{Plane, Who, id};

const REPRESENTATION: (&str, &str) = ("prefer", "return=representation");
const OBJECT: (&str, &str) = ("accept", "application/vnd.pgrst.object+json");
const OPERATOR: Who = Who::Operator(0);

#[tokio::test]
async fn inserts_answer_as_preferred() {
    for plane in Plane::both().await {
        let send = async |path: &str, headers: &[(&str, &str)], body| {
            plane.send(OPERATOR, (Method::POST, path), headers, Some(&body)).await
        };
        let minimal = send("gateway_jobs", &[], plane.job(0)).await;
        assert_eq!((minimal.status.as_u16(), minimal.text.as_str()), (201, ""));
        let job = plane.job(0);
        let one = send(
            "gateway_jobs?select=id,status,payload",
            &[REPRESENTATION, OBJECT],
            job.clone(),
        )
        .await;
        assert_eq!(
            one.json(),
            json!({"id": job["id"], "status": "queued", "payload": {"command": "true"}})
        );
        let again = send("gateway_jobs", &[], job).await;
        assert_eq!(again.problem(), (409, "23505".to_owned()));
        assert!(
            again.json()["message"]
                .as_str()
                .unwrap()
                .contains("\"gateway_jobs_pkey\"")
        );

        let columns =
            "gateway_jobs?columns=%22id%22,%22team_id%22,%22gateway_id%22,%22job_type%22,%22payload%22,%22error%22";
        let refused = send(columns, &[REPRESENTATION], json!([plane.job(0)])).await;
        assert_eq!(
            refused.problem(),
            (403, "42501".to_owned()),
            "error is no column of operators"
        );
        let columns = columns.trim_end_matches(",%22error%22");
        let two = send(
            columns,
            &[REPRESENTATION, ("prefer", "count=exact")],
            json!([plane.job(0), plane.job(1)]),
        )
        .await;
        assert_eq!(
            (two.json().as_array().unwrap().len(), two.range.as_deref()),
            (2, Some("*/2"))
        );
        let both_or_none = json!([plane.job(0), {"id": "x"}]);
        assert_eq!(send(columns, &[], both_or_none).await.problem().0, 400);
        assert_eq!(
            send("gateway_jobs", &[REPRESENTATION], json!([])).await.json(),
            json!([])
        );
        let jobs = plane.get(OPERATOR, "gateway_jobs?select=id").await.json();
        assert_eq!(jobs.as_array().unwrap().len(), 4);
    }
}

#[tokio::test]
async fn absent_members_are_null_or_default() {
    for plane in Plane::both().await {
        let row = json!({"team_id": plane.teams[0], "name": "a"});
        let path = "team_resources?columns=\"team_id\",\"resource_type\",\"resource_id\"";
        let send = async |prefer: &str| {
            let body = json!([{"team_id": plane.teams[0], "resource_type": "remote_shell"}]);
            let headers = [("prefer", prefer)];
            plane
                .send(Who::Service, (Method::POST, path), &headers, Some(&body))
                .await
        };
        assert_eq!(send("return=representation").await.problem(), (400, "23502".to_owned()));
        let filled = send("return=representation,missing=default").await;
        assert!(filled.json()[0]["resource_id"].is_string(), "{filled:?}");
        let unknown = plane
            .send(Who::Service, (Method::POST, "team_resources"), &[], Some(&row))
            .await;
        assert_eq!(unknown.problem(), (400, "PGRST204".to_owned()));
        let uneven = json!([{"team_id": plane.teams[0]}, {"resource_type": "a"}]);
        let uneven = plane
            .send(Who::Service, (Method::POST, "team_resources"), &[], Some(&uneven))
            .await;
        assert_eq!(uneven.problem(), (400, "PGRST102".to_owned()));
    }
}

#[tokio::test]
async fn bad_rows_are_refused_alike() {
    for plane in Plane::both().await {
        let with = |name: &str, value: serde_json::Value| {
            let mut row = plane.job(0);
            row[name] = value;
            row
        };
        let cases = [
            (with("payload", json!([])), 400, "23514"),
            (with("payload", json!(null)), 400, "23502"),
            (with("job_type", json!(null)), 400, "23502"),
            (with("id", json!("x")), 400, "22P02"),
            (with("attempt", json!("x")), 400, "22P02"),
            (with("gateway_id", json!(id())), 409, "23503"),
            (with("gateway_id", json!(plane.gateways[2])), 409, "23503"),
            (with("payload", json!({"a": "\0"})), 400, "22P05"),
            (with("requested_via", json!("\0")), 400, "22P05"),
            (with("nope", json!(1)), 400, "PGRST204"),
        ];
        for (row, status, code) in cases {
            let answer = plane
                .send(OPERATOR, (Method::POST, "gateway_jobs"), &[], Some(&row))
                .await;
            assert_eq!(answer.problem(), (status, code.to_owned()), "{row}");
        }
        for text in ["", "{", "1", "[1]", "\u{feff}{}"] {
            let post = (Method::POST, "gateway_jobs");
            let answer = plane.send_text(OPERATOR, post, &[], text.to_owned()).await;
            assert_eq!(answer.problem(), (400, "PGRST102".to_owned()), "{text:?}");
        }
        let surrogate = plane.job(0).to_string().replace("\"true\"", "\"\\ud800\"");
        let answer = plane
            .send_text(OPERATOR, (Method::POST, "gateway_jobs"), &[], surrogate)
            .await;
        assert_eq!(answer.problem(), (400, "22P02".to_owned()));
    }
}

#[tokio::test]
async fn a_claim_is_won_once_and_a_final_row_stays() {
    for plane in Plane::both().await {
        let gateway = Who::Gateway(0);
        let job = plane.insert(OPERATOR, "gateway_jobs", &plane.job(0)).await;
        let row = format!("gateway_jobs?id=eq.{}", job["id"].as_str().unwrap());
        let claim = format!(
            "{row}&team_id=eq.{}&status=eq.queued&gateway_id=eq.{}",
            plane.teams[0], plane.gateways[0]
        );
        let changes =
            json!({"status": "running", "gateway_id": plane.gateways[0], "started_at": "2026-11-21T01:08:28.234Z"});
        let won = plane.patch(gateway, &claim, &changes).await.json();
        assert_eq!(won[0]["started_at"], json!("2026-11-21T01:08:28.234000+00:00"));
        assert!(won[0]["updated_at"].as_str() > job["updated_at"].as_str());
        assert_eq!(plane.patch(gateway, &claim, &changes).await.json(), json!([]));

        let finish = json!({"status": "completed", "result": {"ok": true}, "error": null, "completed_at": "2026-11-21T01:08:29Z"});
        let path = format!("{row}&status=eq.running");
        let done = plane.send(gateway, (Method::PATCH, &path), &[], Some(&finish)).await;
        assert_eq!(
            (done.status.as_u16(), done.range.as_deref(), done.text.as_str()),
            (204, Some("0-0/*"), "")
        );
        for late in [
            json!({"status": "failed"}),
            json!({"error": "late"}),
            json!({"status": "running"}),
        ] {
            assert_eq!(plane.patch(gateway, &row, &late).await.json(), json!([]), "{late}");
            assert_eq!(plane.patch(Who::Service, &row, &late).await.json(), json!([]), "{late}");
        }
        let debug = plane.patch(gateway, &row, &json!({"debug": {"a": [1]}})).await.json();
        assert_eq!(
            (&debug[0]["debug"], &debug[0]["status"]),
            (&json!({"a": [1]}), &json!("completed"))
        );
        let cancel = plane.patch(OPERATOR, &row, &json!({"status": "cancelled"})).await;
        assert_eq!(cancel.json(), json!([]));
    }
}

#[tokio::test]
async fn a_write_of_one_row_is_taken_back_otherwise() {
    for plane in Plane::both().await {
        for _ in 0..2 {
            plane.insert(OPERATOR, "gateway_jobs", &plane.job(0)).await;
        }
        let cancel = json!({"status": "cancelled"});
        for path in ["gateway_jobs?status=eq.queued", "gateway_jobs?status=eq.failed"] {
            for headers in [&[OBJECT, REPRESENTATION][..], &[OBJECT]] {
                let answer = plane
                    .send(OPERATOR, (Method::PATCH, path), headers, Some(&cancel))
                    .await;
                assert_eq!(answer.problem(), (406, "PGRST116".to_owned()));
            }
        }
        let queued = plane.get(OPERATOR, "gateway_jobs?status=eq.queued").await.json();
        assert_eq!(queued.as_array().unwrap().len(), 2);
        let limited = plane.patch(OPERATOR, "gateway_jobs?limit=1", &cancel).await;
        assert_eq!(limited.problem(), (400, "PGRST127".to_owned()));
    }
}

#[tokio::test]
async fn deletes_and_upserts() {
    for plane in Plane::both().await {
        let job = plane.insert(OPERATOR, "gateway_jobs", &plane.job(0)).await;
        let row = format!("gateway_jobs?id=eq.{}", job["id"].as_str().unwrap());
        let send = async |who, target: (Method, &str), headers: &[(&str, &str)], body| {
            plane.send(who, target, headers, body).await
        };
        let kept = send(OPERATOR, (Method::DELETE, &row), &[REPRESENTATION], None).await;
        assert_eq!((kept.status.as_u16(), kept.json()), (200, json!([])));
        assert_eq!(
            plane
                .patch(OPERATOR, &row, &json!({"status": "cancelled"}))
                .await
                .json()[0]["id"],
            job["id"]
        );
        let gone = send(OPERATOR, (Method::DELETE, &row), &[], None).await;
        assert_eq!((gone.status.as_u16(), gone.range.as_deref()), (204, Some("0-0/*")));
        assert_eq!(plane.get(OPERATOR, &row).await.json(), json!([]));

        let team = json!({"id": plane.teams[0], "name": "new name"});
        let merge = ("prefer", "resolution=merge-duplicates,return=representation");
        let ignore = ("prefer", "resolution=ignore-duplicates,return=representation");
        let ignored = send(Who::Service, (Method::POST, "teams"), &[ignore], Some(&team)).await;
        assert_eq!((ignored.status.as_u16(), ignored.json()), (201, json!([])));
        let merged = send(
            Who::Service,
            (Method::POST, "teams?on_conflict=id"),
            &[merge],
            Some(&team),
        )
        .await;
        assert_eq!(merged.json()[0]["name"], json!("new name"));
        let wrong = send(
            Who::Service,
            (Method::POST, "teams?on_conflict=name"),
            &[merge],
            Some(&team),
        )
        .await;
        assert_eq!(wrong.problem(), (400, "42P10".to_owned()));
        let refused = send(OPERATOR, (Method::POST, "gateway_jobs"), &[merge], Some(&plane.job(0))).await;
        assert_eq!(refused.problem(), (403, "42501".to_owned()));
    }
}

#[tokio::test]
async fn big_bodies_pass_and_bigger_ones_are_413() {
    for plane in Plane::both().await {
        let job = plane.insert(OPERATOR, "gateway_jobs", &plane.job(0)).await;
        let row = format!("gateway_jobs?id=eq.{}", job["id"].as_str().unwrap());
        plane.patch(Who::Gateway(0), &row, &json!({"status": "running"})).await;
        let output = "é\\\"\n".repeat(2_000_000);
        let result = json!({"status": "completed", "result": {"stdout": output}});
        let done = plane
            .send(Who::Gateway(0), (Method::PATCH, &row), &[], Some(&result))
            .await;
        assert_eq!(done.status, 204, "{done:?}");
        let read = plane.get(OPERATOR, &format!("{row}&select=result")).await;
        assert!(read.json()[0]["result"] == result["result"]);
        let huge = format!("{{\"a\":\"{}\"}}", "x".repeat(64 * 1024 * 1024));
        let answer = plane
            .send_text(OPERATOR, (Method::POST, "gateway_jobs"), &[], huge)
            .await;
        assert_eq!(answer.problem(), (413, "54000".to_owned()));
    }
}
