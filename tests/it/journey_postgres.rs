//! The same journey with the control plane's rows in PostgreSQL, through the real binary.

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Child;

use crate::support::eventually::PATIENCE;
use crate::support::postgres::TestDatabase;
use crate::support::sandbox::Sandbox;

/// Serves until the child is dropped; gives its address and key.
async fn serve(operator: &Sandbox) -> (Child, Value) {
    let mut child = operator.start(&["control-plane", "serve", "--listen", "127.0.0.1:0"]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut plane = json!({});
    while plane.get("url").is_none() || plane.get("anon_key").is_none() {
        let line = tokio::time::timeout(PATIENCE, lines.next_line())
            .await
            .unwrap()
            .unwrap();
        let line = line.expect("the control plane listens");
        for (label, name) in [("Address:", "url"), ("Public key:", "anon_key")] {
            if let Some(value) = line.trim().strip_prefix(label) {
                plane[name] = Value::from(value.trim());
            }
        }
    }
    (child, plane)
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the token file is written as a person would")]
async fn a_daemon_is_paired_and_works_for_a_control_plane_on_postgres() {
    let database = TestDatabase::create().await;
    let (mut operator, host) = (Sandbox::new(), Sandbox::new());
    operator.set_env("GATEWAY_DATABASE_URL", &database.url());
    let (mut server, plane) = serve(&operator).await;
    // Administration comes from other processes, while it is served.
    let code = operator.json(&["control-plane", "pairing-code", "--json"]).await;
    let token = operator.json(&["control-plane", "token", "create", "--json"]).await;
    operator.set_env("GATEWAY_TOKEN", token["token"].as_str().unwrap());
    let (url, key) = (plane["url"].as_str().unwrap(), plane["anon_key"].as_str().unwrap());
    let token_file = operator.home().join("token");
    std::fs::write(&token_file, token["token"].as_str().unwrap()).unwrap();
    let login = [
        "login",
        "--url",
        url,
        "--anon-key",
        key,
        "--token-file",
        token_file.to_str().unwrap(),
    ];
    operator.run(&login).await.ok();

    host.pair_with(&plane, code["code"].as_str().unwrap()).await.ok();
    host.run(&["start"]).await.ok();
    let id = host.gateway_id().await;
    let refused = operator.run(&["exec", "--", "id"]).await.exits(6);
    assert!(refused.stderr.contains("full-control"), "{}", refused.stderr);
    operator.allow(&id).await;
    let said = operator.run(&["exec", "--", "echo $HOME; exit 7"]).await.exits(7);
    assert_eq!(said.stdout.trim(), host.home().to_str().unwrap());
    let jobs = operator.json(&["job", "list", "--json"]).await;
    assert_eq!(
        (&jobs[0]["status"], &jobs[1]["status"]),
        (&json!("completed"), &json!("failed")),
        "{jobs}"
    );

    host.run(&["stop"]).await.ok();
    server.kill().await.unwrap();
}
