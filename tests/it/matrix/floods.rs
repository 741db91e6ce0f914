//! X24: a job that never stops talking.

mod nightly {
    use std::time::Duration;

    use serde_json::json;

    use crate::matrix::scene::{Scene, printed};
    use crate::matrix::twins::{Work, on_every_path};
    use crate::support::eventually::within;

    /// A daemon with jobs at work takes less than this.
    const MOST_KB: u64 = 150_000;

    /// On stdout and stderr; the agent's stdout is its own, so it is told by its script to print beside its answer.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn x24_ten_gigabytes_of_output_leave_a_bounded_trace() {
        on_every_path(async |ingress, work| {
            let turn = r#"head -c 10000000000 /dev/zero; echo; sh "$prompt" || exit
say 0 done"#;
            let scene = Scene::with_turn(ingress, turn).await;
            let daemon = scene.start().await;
            let script = match work {
                Work::Shell => "head -c 10000000000 /dev/zero; exit 7",
                Work::Agent => "head -c 10000000000 /dev/zero >&2",
            };
            let job = scene.work_with(work, script, json!({"timeout_ms": 600_000})).await;
            let row = within(Duration::from_secs(150), "the end of it", || async {
                let row = scene.host.row(&job).await;
                row["completed_at"].is_string().then_some(row)
            })
            .await;
            match work {
                Work::Shell => {
                    let said = &row["result"];
                    assert_eq!(
                        (&said["exit_code"], &said["stdout_truncated"]),
                        (&json!(7), &json!(true))
                    );
                }
                Work::Agent => assert_eq!(printed(&row), "done"),
            }
            let peak = daemon.peak_memory_kb();
            assert!(peak < MOST_KB, "{peak} kB");
            assert_eq!(daemon.stop().await.exit_code, Some(0));
        })
        .await;
    }
}
