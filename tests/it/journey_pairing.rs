//! Two homes: the control plane and its operator in one, a paired host in the other.

use crate::support::eventually::eventually;
use crate::support::home::Done;
use crate::support::sandbox::Sandbox;

struct Homes {
    operator: Sandbox,
    host: Sandbox,
}

impl Homes {
    /// A control plane with an operator in one home, nothing yet in the other.
    async fn new() -> Self {
        let (operator, host) = (Sandbox::new(), Sandbox::new());
        operator.up().await;
        Self { operator, host }
    }

    async fn code(&self) -> String {
        let created = self.operator.json(&["control-plane", "pairing-code", "--json"]).await;
        created["code"].as_str().unwrap().to_owned()
    }

    async fn pair(&self, code: &str) -> Done {
        self.host.pair_with(&self.operator.plane(), code).await
    }

    /// Pairs the host; gives its gateway id.
    async fn paired(&self) -> String {
        self.pair(&self.code().await).await.ok();
        self.host.gateway_id().await
    }
}

#[tokio::test]
async fn jobs_cross_from_one_home_to_the_other() {
    let homes = Homes::new().await;
    let id = homes.paired().await;
    let refused = homes.operator.submit_shell(&id, "echo $HOME").await;
    let watch = ["job", "watch", &refused];
    homes.operator.run(&watch).await.exits(6);

    homes.operator.allow(&id).await;
    let home = homes.host.home().to_str().unwrap();
    let said = homes
        .operator
        .run(&["exec", "--gateway", &id, "--", "echo $HOME"])
        .await;
    assert_eq!(said.ok().stdout.trim(), home);
    let job = homes.operator.submit_shell(&id, "echo $HOME").await;
    homes.operator.run(&["job", "watch", &job]).await.ok();
    let shown = homes.operator.json(&["job", "show", &job, "--json"]).await;
    assert_eq!(shown["result"]["stdout"].as_str().unwrap().trim(), home);
}

#[tokio::test]
async fn a_running_job_is_cancelled_across_homes_with_its_tree() {
    let homes = Homes::new().await;
    let id = homes.paired().await;
    homes.operator.allow(&id).await;
    let mut watching = homes
        .operator
        .start(&["exec", "--gateway", &id, "--", "sleep 4321 & sleep 4321"]);
    let job = homes.operator.running_job().await;
    homes.operator.run(&["job", "cancel", &job]).await.ok();
    assert!(!watching.wait().await.unwrap().success());
    eventually("the tree is gone", || async {
        (!homes.host.runs("4321")).then_some(())
    })
    .await;
    let shown = homes.operator.json(&["job", "show", &job, "--json"]).await;
    assert_eq!(shown["status"], "cancelled");
}

#[tokio::test]
async fn wrong_and_used_codes_are_refused_and_nothing_is_written() {
    let homes = Homes::new().await;
    let session = homes.host.state_dir().join("gateway.json");
    let wrong = homes.pair("NOT-A-CODE").await.exits(1);
    assert!(wrong.stderr.contains("ERROR"), "{}", wrong.stderr);
    assert!(!session.exists());
    let code = homes.code().await;
    homes.pair(&code).await.ok();
    homes.host.run(&["unpair"]).await.ok();
    assert!(!session.exists());
    let used = homes.pair(&code).await.exits(1);
    assert!(used.stderr.to_lowercase().contains("used"), "{}", used.stderr);
    assert!(!session.exists());
}

#[tokio::test]
async fn a_paired_host_is_not_paired_again_by_accident() {
    let homes = Homes::new().await;
    homes.paired().await;
    let refused = homes.pair(&homes.code().await).await.exits(1);
    assert!(refused.stderr.contains("--force"), "{}", refused.stderr);
}
