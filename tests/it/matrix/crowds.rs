//! L1 and X33: more rows than slots.

#[cfg(target_os = "linux")]
mod nightly {
    use std::time::Duration;

    use serde_json::{Value, json};

    use crate::matrix::scene::Scene;
    use crate::matrix::twins::{INGRESSES, Work};
    use crate::support::daemon::Daemon;
    use crate::support::eventually::within;

    /// What a control plane gives at once.
    const PAGE: usize = 1_000;
    /// Jobs at once.
    const SLOTS: usize = 10;
    /// A daemon at work takes less than this.
    const MOST_KB: u64 = 150_000;
    /// Of one core, in thousandths.
    const IDLE: u64 = 4;
    /// More than a thousandth of a second's work takes: the kernel counts in hundredths.
    const TICKS_A_SECOND: u64 = 100;

    /// Rows that are refused as soon as they are claimed.
    async fn crowd(scene: &Scene, rows: usize) {
        let host = &scene.host;
        for left in (0..rows).step_by(PAGE).map(|done| (rows - done).min(PAGE)) {
            let row = json!({
                "team_id": host.paired.team_id, "gateway_id": host.paired.gateway_id, "job_type": "dance", "payload": {},
            });
            let rows = Value::from(vec![row; left]);
            let (status, body) = host.plane.post("/rest/v1/gateway_jobs", &host.operator, &rows).await;
            assert_eq!(status, 201, "{body}");
        }
    }

    /// Work of the daemon so far.
    fn ticks(daemon: &Daemon) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", daemon.pid())).unwrap();
        let fields: Vec<&str> = stat[stat.rfind(')').unwrap()..].split_whitespace().collect();
        [fields[12], fields[13]]
            .map(|field| field.parse::<u64>().unwrap())
            .iter()
            .sum()
    }

    async fn next_heartbeat(daemon: &Daemon) {
        let last = async || daemon.status().await.unwrap().last_heartbeat_at;
        let before = last().await;
        within(Duration::from_secs(60), "a heartbeat", || async {
            (last().await != before).then_some(())
        })
        .await;
    }

    #[tokio::test]
    async fn l1_nine_hundred_and_ninety_waiting_rows_cost_next_to_nothing() {
        for ingress in INGRESSES {
            let scene = Scene::new(ingress).await;
            let daemon = scene.start().await;
            for _ in 0..SLOTS {
                let job = scene.work(Work::Shell, "sleep 3600").await;
                scene.host.reaches(&job, &["running"]).await;
            }
            crowd(&scene, 990).await;
            // What it takes to look at them once is not what it takes to let them wait.
            next_heartbeat(&daemon).await;
            let (began, before) = (tokio::time::Instant::now(), ticks(&daemon));
            next_heartbeat(&daemon).await;
            let spent = (ticks(&daemon) - before) * 1_000 / TICKS_A_SECOND;
            let allowed = began.elapsed().as_secs() * IDLE;
            assert!(spent <= allowed, "{ingress:?}: {spent} ms of {allowed} ms");
            println!("{ingress:?}: {spent} ms of work in {:?}", began.elapsed());
            daemon.crash().await;
        }
    }

    /// When the rows were claimed, in the order in which they were written.
    async fn claims(scene: &Scene) -> Vec<String> {
        let mut claims = Vec::new();
        loop {
            let path = format!(
                "/rest/v1/gateway_jobs?select=started_at,status&order=created_at.asc,id.asc&limit={PAGE}&offset={}",
                claims.len()
            );
            let (_, rows) = scene.host.plane.get(&path, &scene.host.operator).await;
            let rows = rows.as_array().unwrap();
            if rows.is_empty() {
                return claims;
            }
            for row in rows {
                assert_eq!(row["status"], "failed", "{row}");
                claims.push(row["started_at"].as_str().unwrap().to_owned());
            }
        }
    }

    #[tokio::test]
    async fn x33_ten_thousand_queued_rows_are_served_in_order() {
        for ingress in INGRESSES {
            let scene = Scene::new(ingress).await;
            crowd(&scene, 10_000).await;
            let daemon = scene.start().await;
            let waiting = "/rest/v1/gateway_jobs?select=id&status=neq.failed&limit=1";
            within(Duration::from_secs(300), "all of them to be served", || async {
                let (_, rows) = scene.host.plane.get(waiting, &scene.host.operator).await;
                (rows == json!([])).then_some(())
            })
            .await;
            let claims = claims(&scene).await;
            assert_eq!(claims.len(), 10_000);
            // Those that run at the same time may pass each other.
            let passed = claims.windows(2 * SLOTS).find(|near| near[0] > near[2 * SLOTS - 1]);
            assert_eq!(passed, None, "{ingress:?}");
            let peak = daemon.peak_memory_kb();
            assert!(peak < MOST_KB, "{peak} kB");
            assert_eq!(daemon.stop().await.exit_code, Some(0));
        }
    }
}
