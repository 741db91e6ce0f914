//! Events of a run on their way to the control plane: at once, complete, in order, once, and never in the agent's way.

use serde_json::{Value, json};

use crate::support::daemon::{Daemon, Host, StartedRun};
use crate::support::eventually::eventually;
use crate::support::fault_proxy::FaultProxy;
use crate::support::recorder::Recorder;
use crate::support::stand_in::StandIns;

type Event = (i64, String, Value);

/// A host whose Codex is a script, with a proxy before its control plane.
struct Stage {
    host: Host,
    proxy: FaultProxy,
    programs: StandIns,
    daemon: Daemon,
}

impl Stage {
    async fn new(turn: &str) -> Self {
        let programs = StandIns::new();
        let codex = programs.codex(turn);
        let mut host = Host::new().await;
        let proxy = FaultProxy::before(host.plane.address).await;
        host.url = proxy.url();
        host.write_session();
        let daemon = host.start_ready(&[("PANORAMA_CODEX_CLI", &codex)]).await;
        Self {
            host,
            proxy,
            programs,
            daemon,
        }
    }

    /// The events of a turn that has ended well.
    async fn completed(&self, run: &StartedRun) -> Vec<Event> {
        let job = self.host.done(&run.job).await;
        assert_eq!(job["status"], "completed", "{job}");
        let events = self.host.events_of(&run.run).await;
        let numbers: Vec<i64> = events.iter().map(|(number, ..)| *number).collect();
        let expected: Vec<i64> = (0..).take(events.len()).collect();
        assert_eq!(numbers, expected, "no gaps and no doubles");
        assert_eq!(events.last().unwrap().1, "run_completed");
        events
    }

    #[cfg(target_os = "linux")]
    fn stayed_small(&self) {
        let peak = self.daemon.peak_memory_kb();
        assert!(peak < 60_000, "{peak} kB");
    }

    /// No other system tells the peak of another process.
    #[cfg(not(target_os = "linux"))]
    fn stayed_small(&self) {}

    async fn exists(&self, name: &str) {
        let path = self.programs.path(name);
        eventually(name, || std::future::ready(path.exists().then_some(()))).await;
    }
}

fn said(events: &[Event]) -> Vec<&str> {
    let said = events.iter().filter(|(_, word, _)| word == "message");
    said.map(|(.., payload)| payload["content"].as_str().unwrap()).collect()
}

fn dropped(events: &[Event]) -> u64 {
    let gaps = events
        .iter()
        .filter(|(.., payload)| payload["phase"] == "events_dropped");
    gaps.map(|(.., payload)| payload["dropped"].as_u64().unwrap()).sum()
}

#[tokio::test]
async fn the_first_event_is_there_within_a_second_of_being_printed() {
    let turn = r#"say 0 first; touch "$here/printed"; until [ -e "$here/seen" ]; do sleep 0.02; done"#;
    let stage = Stage::new(turn).await;
    let run = stage.host.start_run("work").await;
    eventually("the first event, while the agent waits for us", || async {
        let events = stage.host.events_of(&run.run).await;
        (said(&events) == ["first"]).then_some(())
    })
    .await;
    let printed = std::fs::metadata(stage.programs.path("printed")).unwrap();
    let took = printed.modified().unwrap().elapsed().unwrap();
    assert!(took.as_millis() < 1_000, "{took:?}");
    stage.programs.put("seen", "");
    stage.completed(&run).await;
    assert_eq!(stage.daemon.stop().await.exit_code, Some(0));
}

#[tokio::test]
async fn ten_thousand_events_arrive_complete_and_in_order() {
    let turn = r#"awk 'BEGIN { for (n = 0; n < 10000; n++)
        printf "{\"type\":\"item.completed\",\"item\":{\"id\":\"item_%d\",\"type\":\"agent_message\",\"text\":\"word %05d\"}}\n", n, n }'"#;
    let stage = Stage::new(turn).await;
    let run = stage.host.start_run("work").await;
    let events = stage.completed(&run).await;
    let expected: Vec<String> = (0..10_000).map(|n| format!("word {n:05}")).collect();
    assert_eq!(
        (said(&events), dropped(&events)),
        (expected.iter().map(String::as_str).collect(), 0)
    );
    stage.stayed_small();
    assert_eq!(stage.daemon.stop().await.exit_code, Some(0));
}

/// 10,000 messages of 8,000 bytes, while the control plane takes nothing: more than may wait.
#[tokio::test]
async fn what_finds_no_room_is_counted_and_the_daemon_stays_small() {
    let turn = r#"awk 'BEGIN { for (n = 0; n < 8000; n++) text = text "x"; for (n = 0; n < 10000; n++)
        printf "{\"type\":\"item.completed\",\"item\":{\"id\":\"item_%d\",\"type\":\"agent_message\",\"text\":\"%05d %s\"}}\n", n, n, text }'
        touch "$here/printed"; until [ -e "$here/go" ]; do sleep 0.02; done"#;
    let stage = Stage::new(turn).await;
    let run = stage.host.start_run("work").await;
    eventually("the run has begun", || async {
        (!stage.host.events_of(&run.run).await.is_empty()).then_some(())
    })
    .await;
    stage.proxy.stall(true);
    stage.exists("printed").await;
    stage.proxy.stall(false);
    stage.programs.put("go", "");
    let events = stage.completed(&run).await;
    let said = said(&events);
    let lost = dropped(&events);
    assert_eq!(said.len() as u64 + lost, 10_000, "each is there or counted");
    assert!(lost > 0 && said.is_sorted(), "{lost}");
    stage.stayed_small();
    assert_eq!(stage.daemon.stop().await.exit_code, Some(0));
}

#[tokio::test]
async fn an_agent_never_waits_for_the_control_plane() {
    let turn = r#"say 0 begun; until [ -e "$here/dark" ]; do sleep 0.02; done
        n=1; while [ $n -le 500 ]; do say $n "word $n"; n=$((n + 1)); done
        touch "$here/printed"; until [ -e "$here/go" ]; do sleep 0.02; done"#;
    let stage = Stage::new(turn).await;
    let run = stage.host.start_run("work").await;
    eventually("the run has begun", || async {
        (said(&stage.host.events_of(&run.run).await) == ["begun"]).then_some(())
    })
    .await;
    stage.proxy.blackout(true);
    stage.programs.put("dark", "");
    stage.exists("printed").await;
    stage.proxy.blackout(false);
    stage.programs.put("go", "");
    let events = stage.completed(&run).await;
    assert_eq!((said(&events).len(), dropped(&events)), (501, 0));
    assert_eq!(stage.daemon.stop().await.exit_code, Some(0));
}

#[tokio::test]
async fn events_whose_receipt_was_lost_are_not_doubled() {
    let turn =
        r#"n=0; while [ $n -le 1000 ]; do say $n "word $n"; n=$((n + 1)); [ $((n % 250)) = 1 ] && sleep 0.3; done"#;
    let stage = Stage::new(turn).await;
    for _ in 0..3 {
        stage.proxy.lose_answer_to(&["POST /rest/v1/subagent_run_events"]);
    }
    let run = stage.host.start_run("work").await;
    let events = stage.completed(&run).await;
    assert!(stage.proxy.has_lost_all());
    let expected: Vec<String> = (0..=1000).map(|n| format!("word {n}")).collect();
    assert_eq!(
        (said(&events), dropped(&events)),
        (expected.iter().map(String::as_str).collect(), 0)
    );
    assert_eq!(stage.daemon.stop().await.exit_code, Some(0));
}

/// A control plane that takes no event but those of the end.
#[tokio::test]
async fn events_that_are_refused_for_good_are_counted_at_the_end() {
    let programs = StandIns::new();
    let codex = programs.codex("say 0 one; sleep 0.4; say 1 two; sleep 0.4; say 2 three");
    let mut host = Host::new().await;
    let recorder = Recorder::before(host.plane.address).await;
    recorder.refuse(
        |seen| {
            let event = seen.method == "POST" && seen.target.contains("subagent_run_events");
            event && !seen.body.contains("run_completed")
        },
        403,
    );
    host.url = recorder.url();
    host.write_session();
    let daemon = host.start_ready(&[("PANORAMA_CODEX_CLI", &codex)]).await;
    let run = host.start_run("work").await;
    assert_eq!(host.done(&run.job).await["status"], "completed");
    let events = host.events_of(&run.run).await;
    let words: Vec<&str> = events.iter().map(|(_, word, _)| word.as_str()).collect();
    assert_eq!(words, ["run_progress", "run_completed"]);
    // The three, the beginning of the run and that of the attempt.
    assert_eq!(dropped(&events), 5);
    assert_eq!(daemon.stop().await.exit_code, Some(0));
}

#[tokio::test]
async fn what_no_database_takes_is_told_in_other_words() {
    let turn = r#"say 0 before; say 1 'a\u0000b'; say 2 'af\u0000ter'"#;
    let stage = Stage::new(turn).await;
    let run = stage.host.start_run("work").await;
    let events = stage.completed(&run).await;
    let path = format!("/rest/v1/subagent_runs?id=eq.{}", run.run);
    let (_, rows) = stage.host.plane.get(&path, &stage.host.operator).await;
    assert_eq!(
        (&rows[0]["status"], &rows[0]["output"]["content"]),
        (&json!("completed"), &json!("af\\0ter"))
    );
    assert_eq!(
        (said(&events), dropped(&events)),
        (vec!["before", "a\\0b", "af\\0ter"], 0)
    );
    assert_eq!(stage.daemon.stop().await.exit_code, Some(0));
}
