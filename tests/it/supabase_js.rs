//! The unmodified official client as the judge: `@supabase/supabase-js` from npm, run by Node, on both stores.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::support::plane::{On, Plane};

#[expect(clippy::disallowed_methods, reason = "the judge is a program of its own")]
fn node() -> tokio::process::Command {
    tokio::process::Command::new("node")
}

async fn judge(on: On) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop");
    assert!(
        dir.join("node_modules/@supabase/supabase-js").is_dir(),
        "the official client is not installed: run `npm ci` in tests/interop, or `tests/run`"
    );
    let plane = Plane::start(on).await;
    let (worker, roamer) = (plane.pair("worker").await, plane.pair("roamer").await);
    let setup = json!({
        "url": plane.url(""),
        "anonKey": plane.anon_key,
        "operator": plane.operator().await,
        "team": plane.team,
        "worker": {"id": worker.gateway_id, "access": worker.access, "refresh": worker.refresh},
        "roamer": {"id": roamer.gateway_id, "access": roamer.access, "refresh": roamer.refresh},
    });
    let mut child = node()
        .arg("--no-warnings")
        .arg("check.mjs")
        .arg(setup.to_string())
        .current_dir(&dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .expect("node is installed (20 or newer)");
    // Nothing it prints is lost when it hangs.
    let mut text = String::new();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let ended = tokio::time::timeout(Duration::from_secs(100), async {
        while let Some(line) = lines.next_line().await.unwrap() {
            text.push_str(&line);
            text.push('\n');
        }
        child.wait().await.unwrap()
    })
    .await;
    let Ok(status) = ended else {
        panic!("the official client is not done in time:\n{text}");
    };
    assert!(status.success(), "{text}");
    let passed = text.lines().filter(|line| line.starts_with("ok ")).count();
    assert!(passed >= 40, "only {passed} steps ran:\n{text}");
}

#[tokio::test]
async fn the_official_client_is_content_on_sqlite() {
    judge(On::Sqlite).await;
}

#[tokio::test]
async fn the_official_client_is_content_on_postgres() {
    judge(On::Postgres).await;
}
