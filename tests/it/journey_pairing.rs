//! Two homes: the control plane and its operator in one, a paired host in the other.

use crate::support::eventually::eventually;
use crate::support::sandbox::Sandbox;

struct Pair {
    operator: Sandbox,
    host: Sandbox,
    url: String,
    anon_key: String,
}

/// A control plane with an operator in one home, nothing yet in the other.
async fn two_homes() -> Pair {
    let (operator, host) = (Sandbox::new(), Sandbox::new());
    operator.up().await;
    let address = operator.plane();
    let text = |key: &str| address[key].as_str().unwrap().to_owned();
    Pair {
        url: text("url"),
        anon_key: text("anon_key"),
        operator,
        host,
    }
}

impl Pair {
    async fn code(&self) -> String {
        let created = self.operator.json(&["control-plane", "pairing-code", "--json"]).await;
        created["code"].as_str().unwrap().to_owned()
    }

    async fn pair(&self, code: &str) -> crate::support::sandbox::Said {
        let args = [
            "pair",
            code,
            "--supabase-url",
            &self.url,
            "--anon-key",
            &self.anon_key,
            "--full-control",
        ];
        self.host.run(&args).await
    }
}

#[tokio::test]
async fn jobs_cross_from_one_home_to_the_other() {
    let pair = two_homes().await;
    let code = pair.code().await;
    pair.pair(&code).await.expect_code(0);
    let id = pair.host.json(&["status", "--json"]).await["daemon"]["gateway_id"]
        .as_str()
        .unwrap()
        .to_owned();
    pair.operator
        .run(&["control-plane", "gateway", "full-control", &id, "on"])
        .await
        .expect_code(0);
    let resources = pair
        .operator
        .json(&["control-plane", "resource", "list", "--json"])
        .await;
    let resource = resources
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["metadata"]["gateway_id"] == *id)
        .unwrap();
    let payload = format!(r#"{{"resource_id":{},"command":"echo $HOME"}}"#, resource["id"]);
    let submit = [
        "job",
        "submit",
        "--type",
        "shell_exec",
        "--gateway",
        &id,
        "--payload",
        &payload,
        "--json",
    ];
    let refused = pair.operator.json(&submit).await;
    pair.operator
        .run(&["job", "watch", refused["id"].as_str().unwrap()])
        .await
        .expect_code(6);

    let said = pair
        .operator
        .run(&["exec", "--gateway", &id, "--full-control", "--", "echo $HOME"])
        .await;
    assert_eq!(said.expect_code(0).out.trim(), pair.host.home().to_str().unwrap());
    let job = pair.operator.json(&submit).await;
    let job = job["id"].as_str().unwrap();
    pair.operator.run(&["job", "watch", job]).await.expect_code(0);
    let shown = pair.operator.json(&["job", "show", job, "--json"]).await;
    assert_eq!(
        shown["result"]["stdout"].as_str().unwrap().trim(),
        pair.host.home().to_str().unwrap()
    );
}

#[tokio::test]
async fn a_running_job_is_cancelled_across_homes_with_its_tree() {
    let pair = two_homes().await;
    pair.pair(&pair.code().await).await.expect_code(0);
    let id = pair.host.json(&["status", "--json"]).await["daemon"]["gateway_id"]
        .as_str()
        .unwrap()
        .to_owned();
    pair.operator
        .run(&["exec", "--gateway", &id, "--full-control", "--", "true"])
        .await
        .expect_code(0);
    let mut watching = pair
        .operator
        .start(&["exec", "--gateway", &id, "--", "sleep 4321 & sleep 4321"]);
    let job = eventually("the job runs", || async {
        let jobs = pair.operator.json(&["job", "list", "--json"]).await;
        let running = jobs.as_array()?.iter().find(|job| job["status"] == "running")?;
        running["id"].as_str().map(str::to_owned)
    })
    .await;
    pair.operator.run(&["job", "cancel", &job]).await.expect_code(0);
    assert!(!watching.wait().await.unwrap().success());
    eventually("the tree is gone", || async {
        (!pair.host.runs("4321")).then_some(())
    })
    .await;
    let shown = pair.operator.json(&["job", "show", &job, "--json"]).await;
    assert_eq!(shown["status"], "cancelled");
}

#[tokio::test]
async fn wrong_and_used_codes_are_refused_and_nothing_is_written() {
    let pair = two_homes().await;
    let wrong = pair.pair("NOT-A-CODE").await.expect_code(1);
    assert!(wrong.err.contains("ERROR"), "{}", wrong.err);
    assert!(!pair.host.state_dir().join("gateway.json").exists());
    let code = pair.code().await;
    pair.pair(&code).await.expect_code(0);
    pair.host.run(&["unpair"]).await.expect_code(0);
    assert!(!pair.host.state_dir().join("gateway.json").exists());
    let used = pair.pair(&code).await.expect_code(1);
    assert!(used.err.to_lowercase().contains("used"), "{}", used.err);
    assert!(!pair.host.state_dir().join("gateway.json").exists());
}

#[tokio::test]
async fn a_paired_host_is_not_paired_again_by_accident() {
    let pair = two_homes().await;
    pair.pair(&pair.code().await).await.expect_code(0);
    let code = pair.code().await;
    let refused = pair.pair(&code).await.expect_code(1);
    assert!(refused.err.contains("--force"), "{}", refused.err);
}
