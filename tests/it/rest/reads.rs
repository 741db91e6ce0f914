//! GET and HEAD as supabase-js sends them.

use reqwest::Method;
use serde_json::{Value, json};

use super::plane::{Plane, Who};

const OBJECT: (&str, &str) = ("accept", "application/vnd.pgrst.object+json");
const COUNT: (&str, &str) = ("prefer", "count=exact");

async fn three_jobs(plane: &Plane) -> Vec<Value> {
    let mut jobs = Vec::new();
    for attempt in [Some(2), None, Some(1)] {
        let mut row = plane.job(0);
        row["attempt"] = json!(attempt);
        jobs.push(plane.insert(Who::Operator(0), "gateway_jobs", &row).await);
    }
    jobs
}

#[tokio::test]
async fn rows_come_typed_ordered_and_in_pages() {
    for plane in Plane::both().await {
        let jobs = three_jobs(&plane).await;
        let all = plane.get(Who::Gateway(0), "gateway_jobs?order=created_at.asc").await;
        assert_eq!((all.status.as_u16(), all.range.as_deref()), (200, Some("0-2/*")));
        assert_eq!(all.json(), json!(jobs));
        assert_eq!(jobs[0]["payload"], json!({"command": "true"}));
        assert_eq!(jobs[0]["requested_by_user_id"], json!(plane.users[0]));
        let time = jobs[0]["created_at"].as_str().unwrap();
        assert!(time.len() == 32 && time.ends_with("+00:00"), "{time}");

        let attempts = async |order: &str| {
            let path = format!("gateway_jobs?select=attempt&order={order}");
            let rows = plane.get(Who::Operator(0), &path).await.json();
            rows.as_array()
                .unwrap()
                .iter()
                .map(|row| row["attempt"].clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(attempts("attempt").await, [json!(1), json!(2), json!(null)]);
        assert_eq!(attempts("attempt.desc").await, [json!(null), json!(2), json!(1)]);
        assert_eq!(
            attempts("attempt.desc.nullslast").await,
            [json!(2), json!(1), json!(null)]
        );
        let page = plane
            .get(
                Who::Operator(0),
                "gateway_jobs?select=id&order=created_at&limit=1&offset=1",
            )
            .await;
        assert_eq!(
            (page.json(), page.range.as_deref()),
            (json!([{"id": jobs[1]["id"]}]), Some("1-1/*"))
        );
    }
}

#[tokio::test]
async fn counts_and_ranges() {
    for plane in Plane::both().await {
        three_jobs(&plane).await;
        let ask = async |method: Method, path: &str, headers: &[(&str, &str)]| {
            let answer = plane.send(Who::Operator(0), (method, path), headers, None).await;
            (answer.status.as_u16(), answer.range.clone().unwrap_or_default(), answer)
        };
        let (status, range, head) = ask(Method::HEAD, "gateway_jobs?limit=2", &[COUNT]).await;
        assert_eq!((status, range.as_str(), head.text.as_str()), (206, "0-1/3", ""));
        let (status, range, _) = ask(Method::HEAD, "gateway_jobs?limit=2", &[]).await;
        assert_eq!((status, range.as_str()), (200, "0-1/*"));
        let (status, range, _) = ask(Method::GET, "gateway_jobs", &[COUNT]).await;
        assert_eq!((status, range.as_str()), (200, "0-2/3"));
        let (status, range, _) = ask(Method::GET, "gateway_jobs?status=eq.failed", &[COUNT]).await;
        assert_eq!((status, range.as_str()), (200, "*/0"));
        let (_, range, answer) = ask(Method::GET, "gateway_jobs?limit=0", &[]).await;
        assert_eq!((range.as_str(), answer.json()), ("*/*", json!([])));
        let (_, _, beyond) = ask(Method::GET, "gateway_jobs?offset=3", &[COUNT]).await;
        assert_eq!(beyond.problem(), (416, "PGRST103".to_owned()));
    }
}

#[tokio::test]
async fn a_single_object_is_exactly_one_row() {
    for plane in Plane::both().await {
        let jobs = three_jobs(&plane).await;
        let path = format!("gateway_jobs?select=id&id=eq.{}", jobs[0]["id"].as_str().unwrap());
        let one = plane.send(Who::Gateway(0), (Method::GET, &path), &[OBJECT], None).await;
        assert_eq!(one.json(), json!({"id": jobs[0]["id"]}));
        for (path, rows) in [("gateway_jobs", 3), ("gateway_jobs?status=eq.failed", 0)] {
            let answer = plane.send(Who::Gateway(0), (Method::GET, path), &[OBJECT], None).await;
            assert_eq!(answer.problem(), (406, "PGRST116".to_owned()));
            assert_eq!(
                answer.json()["details"],
                json!(format!("The result contains {rows} rows"))
            );
        }
    }
}

#[tokio::test]
async fn mistakes_have_postgrests_codes() {
    let cases = [
        ("nope", 404, "PGRST205"),
        ("operator_tokens", 404, "PGRST205"),
        ("change_log", 404, "PGRST205"),
        ("gateway_jobs?nope=eq.1", 400, "42703"),
        ("gateway_jobs?id=eq.x", 400, "22P02"),
        ("gateway_jobs?created_at=gt.x", 400, "22007"),
        ("gateway_jobs?attempt=eq.99999999999999999999", 400, "22003"),
        ("gateway_jobs?id=like.x", 404, "42883"),
        ("gateway_jobs?select=id,team_gateways(id)", 400, "PGRST127"),
        ("gateway_jobs?or=(id.eq.1)", 400, "PGRST127"),
        ("gateway_jobs?status=zz.1", 400, "PGRST100"),
        ("gateway_jobs?status=eq.%00", 400, "22021"),
        ("gateway_pairing_codes?code=eq.a", 400, "42703"),
        ("gateway_jobs?id=eq.1;drop%20table%20teams", 400, "22P02"),
    ];
    for plane in Plane::both().await {
        for (path, status, code) in cases {
            let answer = plane.get(Who::Operator(0), path).await;
            assert_eq!(answer.problem(), (status, code.to_owned()), "{path}");
        }
        let schema = [("accept-profile", "auth")];
        let answer = plane
            .send(Who::Operator(0), (Method::GET, "teams"), &schema, None)
            .await;
        assert_eq!(answer.problem(), (406, "PGRST106".to_owned()));
        let answer = plane.send(Who::Operator(0), (Method::PUT, "teams"), &[], None).await;
        assert_eq!(answer.problem(), (400, "PGRST127".to_owned()));
    }
}

#[tokio::test]
async fn functions_are_found_by_name_and_arguments() {
    for plane in Plane::both().await {
        let ask = async |who: Who, name: &str, body: Value| {
            plane
                .send(who, (Method::POST, &format!("rpc/{name}")), &[], Some(&body))
                .await
        };
        let time = ask(Who::Gateway(0), "gateway_server_time", json!({})).await;
        assert!(time.status == 200 && time.json().is_string(), "{time:?}");
        let missing = ask(Who::Gateway(0), "gateway_server_time", json!({"a": 1})).await;
        assert_eq!(missing.problem(), (404, "PGRST202".to_owned()));
        assert_eq!(ask(Who::Gateway(0), "nope", json!({})).await.problem().0, 404);
        assert_eq!(
            ask(Who::Anon, "gateway_server_time", json!({})).await.problem(),
            (401, "42501".to_owned())
        );
    }
}
