//! `gateway audit`: what was done on this host, and who asked.

use gateway::domain::secret::Secret;
use serde_json::{Value, json};

use crate::support::daemon::Host;
use crate::support::eventually::eventually;
use crate::support::home::Home;
use crate::support::stand_in::StandIns;
use crate::support::state_dir::mode;

/// The lines of the book about one job.
fn lines(host: &Host, job: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(host.paths().audit()).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["job"] == job).collect()
}

fn is_time(line: &Value) -> bool {
    line["time"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok()
}

#[tokio::test]
async fn a_command_is_in_the_book_with_who_asked_and_how_it_ended() {
    let host = Host::new().await;
    let daemon = host.start_ready(&[]).await;
    let file = host.paths().config_file;
    let session = gateway::state::session::SessionStore::new(&host.paths())
        .load()
        .unwrap()
        .unwrap();
    let token: Secret = session.refresh_token;
    let command = format!("true {} {}; exit 7", token.expose(), file.display());
    let payload = json!({"resource_id": host.resource, "command": command});
    let row = host
        .done(
            &host
                .submit("shell_exec", payload, json!({"requested_via": "cli"}))
                .await,
        )
        .await;
    let book = lines(&host, row["id"].as_str().unwrap());
    assert_eq!(book.len(), 2, "{book:?}");
    let (begin, end) = (&book[0], &book[1]);
    assert!(is_time(begin) && is_time(end));
    assert_eq!((&begin["event"], &end["event"]), (&json!("begin"), &json!("end")));
    for line in [begin, end] {
        assert_eq!((&line["kind"], &line["via"]), (&json!("shell_exec"), &json!("cli")));
        assert_eq!(
            line.get("user"),
            row.get("requested_by_user_id").filter(|user| !user.is_null())
        );
    }
    assert_eq!(begin["command"], format!("true [REDACTED] {}; exit 7", file.display()));
    assert_eq!((&end["status"], &end["exit_code"]), (&json!("completed"), &json!(7)));
    let other = host
        .submit(
            "shell_exec",
            json!({"resource_id": uuid::Uuid::new_v4(), "command": "x"}),
            json!({}),
        )
        .await;
    host.done(&other).await;
    let book = lines(&host, &other);
    assert_eq!((book.len(), &book[0]["status"]), (1, &json!("failed")), "{book:?}");
    assert!(book[0]["error"].as_str().unwrap().contains("not found"), "{book:?}");
    assert_eq!(mode(&host.paths().audit()), 0o600);
    assert_eq!(daemon.stop().await.exit_code, Some(0));
}

#[tokio::test]
async fn a_run_is_in_the_book_without_its_whole_prompt() {
    let (host, programs) = (Host::new().await, StandIns::new());
    let codex = programs.codex("say 0 done");
    let daemon = host.start_ready(&[("PANORAMA_CODEX_CLI", &codex)]).await;
    let prompt = format!("Mend this. {}", "And so on. ".repeat(30));
    let run = host.start_run(&prompt).await;
    host.done(&run.job).await;
    let book = lines(&host, &run.job);
    assert_eq!(book.len(), 2, "{book:?}");
    assert_eq!(
        (&book[0]["provider"], &book[0]["run"]),
        (&json!("codex"), &json!(run.run))
    );
    let told = &book[0]["prompt"];
    assert_eq!(told["chars"], prompt.trim().chars().count());
    assert!(told["begins"].as_str().unwrap().len() <= 80, "{told}");
    assert!(told["begins"].as_str().unwrap().starts_with("Mend this. "));
    assert_eq!(book[1]["status"], "completed");
    assert_eq!(daemon.stop().await.exit_code, Some(0));
}

#[tokio::test]
async fn what_a_killed_daemon_did_has_an_end_in_the_book() {
    let host = Host::new().await;
    let daemon = host.start_ready(&[]).await;
    let id = host.shell("sleep 600").await;
    eventually("the command to begin", || async {
        let book = host.paths().audit().exists().then(|| lines(&host, &id));
        book.is_some_and(|book| book.len() == 1).then_some(())
    })
    .await;
    daemon.crash().await;
    let daemon = host.start_ready(&[]).await;
    host.done(&id).await;
    let book = lines(&host, &id);
    assert_eq!((book.len(), &book[1]["error"]), (2, &json!("interrupted")), "{book:?}");
    assert_eq!(daemon.stop().await.exit_code, Some(0));
}

#[test]
fn the_book_is_read_by_people_and_programs() {
    let home = Home::new();
    let none = home.gateway(&["audit"]).ok();
    assert_eq!(none.stdout, "");
    assert!(none.stderr.contains("Nothing was done"), "{none:?}");
    assert!(!home.state().exists(), "looking made something");
    let line = |number: u32| {
        json!({"time": "2026-11-21T07:06:07.555Z", "event": "begin", "job": format!("j{number}"), "kind": "shell_exec",
            "via": "cli", "command": "uname -a"})
    };
    let text: String = (0..60).map(|number| format!("{}\n", line(number))).collect();
    let state = gateway::state::fs::OwnerDir::open_or_create(&home.state()).unwrap();
    state.replace("audit.log", text.as_bytes()).unwrap();
    let shown = home.gateway(&["audit", "-n", "2"]).ok().stdout;
    let last = "2026-11-21T07:06:07Z begin shell_exec    j59 via=cli command=\"uname -a\"\n";
    assert!(shown.ends_with(last) && shown.lines().count() == 2, "{shown}");
    let none = home.gateway(&["audit", "-n", "0"]).ok();
    assert_eq!((none.stdout.as_str(), none.stderr.as_str()), ("", ""));
    let document = home.gateway(&["audit", "--json"]).ok().stdout;
    let lines: Vec<Value> = document
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!((lines.len(), &lines[49]), (50, &line(59)));
}
