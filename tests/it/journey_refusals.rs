//! Three layers of machine control, each named when it says no, with the command that changes it.

use serde_json::Value;

use crate::support::sandbox::Sandbox;

#[tokio::test]
async fn a_host_that_refuses_is_named_with_the_command_that_changes_it() {
    let sandbox = Sandbox::new();
    sandbox.up().await;
    sandbox.run(&["full-control", "disable"]).await.ok();
    let refused = sandbox.run(&["exec", "--", "id"]).await.exits(6);
    assert!(
        refused.stderr.contains("gateway full-control enable"),
        "{}",
        refused.stderr
    );
    assert!(!refused.stdout.contains("uid="), "{}", refused.stdout);
    sandbox.run(&["full-control", "enable"]).await.ok();
    let allowed = sandbox.run(&["exec", "--", "id"]).await.ok();
    assert!(allowed.stdout.contains("uid="), "{}", allowed.stdout);
}

#[tokio::test]
async fn a_team_that_refuses_is_named_with_the_command_that_changes_it() {
    let sandbox = Sandbox::new();
    sandbox.up().await;
    let gateways = sandbox.json(&["control-plane", "gateway", "list", "--json"]).await;
    let id = gateways[0]["id"].as_str().unwrap();
    sandbox
        .run(&["control-plane", "gateway", "full-control", id, "off"])
        .await
        .ok();
    let refused = sandbox.run(&["exec", "--", "id"]).await.exits(6);
    assert!(
        refused.stderr.contains("gateway control-plane gateway full-control"),
        "{}",
        refused.stderr
    );
}

#[tokio::test]
async fn a_resource_without_machine_control_is_named() {
    let sandbox = Sandbox::new();
    sandbox.run(&["up", "--detach"]).await.ok();
    let gateways = sandbox.json(&["control-plane", "gateway", "list", "--json"]).await;
    let id = gateways[0]["id"].as_str().unwrap();
    sandbox.run(&["full-control", "enable"]).await.ok();
    sandbox
        .run(&["control-plane", "gateway", "full-control", id, "on"])
        .await
        .ok();
    let refused = sandbox.run(&["exec", "--", "id"]).await.exits(6);
    assert!(
        refused.stderr.contains("gateway control-plane resource"),
        "{}",
        refused.stderr
    );
}

#[tokio::test]
async fn an_unknown_job_type_fails_with_its_name() {
    let sandbox = Sandbox::new();
    sandbox.up().await;
    let job = sandbox
        .json(&["job", "submit", "--type", "time_travel", "--payload", "{}", "--json"])
        .await;
    let id = job["id"].as_str().unwrap();
    sandbox.run(&["job", "watch", id]).await.exits(1);
    let shown = sandbox.json(&["job", "show", id, "--json"]).await;
    assert_eq!(shown["error"], "Unsupported job type: time_travel");
    assert_eq!(
        shown["result"],
        serde_json::json!({"message": "Unsupported job type", "job_type": "time_travel"})
    );
}

#[tokio::test]
async fn a_diagnostic_completes_without_any_provider() {
    let sandbox = Sandbox::new();
    sandbox.up().await;
    let job = sandbox.json(&["job", "submit", "--type", "diagnostic", "--json"]).await;
    let id = job["id"].as_str().unwrap();
    // Exit 1 says that no provider is usable; the job itself worked.
    sandbox.run(&["job", "watch", id]).await.exits(1);
    let shown = sandbox.json(&["job", "show", id, "--json"]).await;
    assert_eq!(
        (&shown["status"], &shown["error"]),
        (&Value::from("completed"), &Value::Null),
        "{shown}"
    );
    assert!(shown["result"]["host"]["kernel"].is_string(), "{shown}");
    let status = sandbox.json(&["status", "--json"]).await;
    let held = &status["containment"]["method"];
    assert!(held.is_string(), "{status}");
    assert_eq!(&shown["result"]["host"]["containment"]["method"], held);
    let doctor = sandbox.json(&["doctor", "--validate", "light", "--json"]).await;
    assert_eq!(doctor["containment"], status["containment"], "{doctor}");
    let said = sandbox.run(&["doctor", "--validate", "light"]).await.ok();
    let line = format!("Containment of jobs: {}", held.as_str().unwrap());
    assert!(said.stdout.contains(&line) || said.stderr.contains(&line), "{said:?}");
    assert!(shown["result"]["providers"]["codex"].is_object(), "{shown}");
}
