//! The same journey with the control plane's rows in PostgreSQL, through the real binary.

use std::net::TcpListener;
use std::time::Duration;

use reqwest::Url;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Child;
use tokio::time::Instant;

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

/// Connection errors are told at once, with the place and the cause, and without the password.
#[tokio::test]
async fn a_database_that_does_not_open_is_explained() {
    let database = TestDatabase::create().await;
    let good: Url = database.url().parse().unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (mut away, mut stranger, mut missing) = (good.clone(), good.clone(), good.clone());
    away.set_port(Some(closed)).unwrap();
    stranger.set_password(Some("not-the-word")).unwrap();
    missing.set_path("/nowhere");
    let cases = [
        (away, 4, ["cannot be reached", "refused", "check that PostgreSQL runs"]),
        (stranger, 1, ["cannot be opened", "28P01", "pg_hba.conf"]),
        (missing, 1, ["cannot be opened", "3D000", "createdb"]),
    ];
    let mut operator = Sandbox::new();
    for (url, code, words) in cases {
        operator.set_env("GATEWAY_DATABASE_URL", url.as_str());
        let place = format!("127.0.0.1:{}{}", url.port().unwrap(), url.path());
        for command in [
            &["control-plane", "serve", "--listen", "127.0.0.1:0"][..],
            &["control-plane", "token", "list"],
        ] {
            let begun = Instant::now();
            let said = operator.run(command).await.exits(code).stderr;
            assert!(
                begun.elapsed() < Duration::from_secs(5),
                "{:?}: {said}",
                begun.elapsed()
            );
            assert!(
                words.iter().chain([&place.as_str()]).all(|word| said.contains(word)),
                "{said}"
            );
            assert!(!said.contains(url.password().unwrap()), "{said}");
        }
    }
}
