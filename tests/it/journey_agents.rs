//! Turns of agents through everything: command line, control plane, daemon, the real agent CLIs, a scripted model.

use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::process::ChildStdout;

use crate::support::eventually::PATIENCE;
use crate::support::home::Done;
use crate::support::rows::{JOB, METADATA, has_all};
use crate::support::stage::{Event, Stage};

/// An agent and what differs in what people see of it.
struct Agent {
    word: &'static str,
    label: &'static str,
    wire: &'static str,
    /// One that it does not look for by asking another.
    model: &'static str,
    /// Whether it says what it cost.
    costs: bool,
}

/// Waits until a text was printed.
async fn until_printed(stdout: &mut ChildStdout, text: &str) -> String {
    let mut seen = Vec::new();
    let reading = async {
        while !String::from_utf8_lossy(&seen).contains(text) {
            assert_ne!(stdout.read_buf(&mut seen).await.unwrap(), 0, "{seen:?}");
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.unwrap();
    String::from_utf8(seen).unwrap()
}

/// A turn that a person watches: its text is there while the tool is still at work.
async fn watched(stage: &Stage, agent: &Agent) -> Done {
    let dir = stage.workspace("project").await;
    let script = "[[note:Looking around.]] [[tool:bash until [ -e go ]; do sleep 0.05; done; echo one; echo two]] \
        [[say:Done here.]]";
    let asked = ["run", "--provider", agent.word, "--model", agent.model];
    let place = ["--full-control", "--cwd", dir.to_str().unwrap(), script];
    let mut run = stage.sandbox.start(&[&asked[..], &place].concat());
    let mut stdout = run.stdout.take().unwrap();
    let mut printed = until_printed(&mut stdout, "Looking around.").await;
    assert_eq!(stage.job_at_work().await["job_type"], "subagent_run");
    stage.file("project/go", "");
    stdout.read_to_string(&mut printed).await.unwrap();
    let mut done = Done::from(run.wait_with_output().await.unwrap()).ok();
    done.stdout = printed;
    assert_eq!(done.stdout, "Looking around.\nDone here.\n", "{done:?}");
    done
}

/// Whether there is one line about the tool, one about its result, and the summary.
fn told(done: &Done, agent: &Agent) {
    let lines: Vec<&str> = done.stderr.lines().collect();
    let calls = lines.iter().filter(|line| line.starts_with("> ")).count();
    assert_eq!(calls, 1, "{done:?}");
    let summary = [
        "  one  (+1 line)",
        &format!("OK {} answered in ", agent.label),
        "  Tokens: 200 in, ",
        "  Next: gateway run --resume PROMPT",
    ]
    .map(str::to_owned);
    for part in summary {
        assert!(lines.iter().any(|line| line.starts_with(&part)), "{part}: {done:?}");
    }
    assert_eq!(lines.iter().any(|line| line.starts_with("  Cost: $")), agent.costs);
}

/// The rows that a turn leaves.
async fn rows_are_whole(stage: &Stage, agent: &Agent, turn: &Value) {
    let id = turn["job_id"].as_str().unwrap();
    let job = stage.sandbox.json(&["job", "show", id, "--json"]).await;
    has_all(&job, JOB);
    has_all(&job["result"], &["subagent_id", "status", "output", "error"]);
    has_all(
        &job["debug"],
        &["ingress", "received_at", "claimed_at", "started_at", "finished_at"],
    );
    assert_eq!(
        (
            &job["status"],
            &job["error"],
            &job["result"]["status"],
            &job["result"]["error"]
        ),
        (&json!("completed"), &Value::Null, &json!("completed"), &Value::Null)
    );
    let output = json!({"schema_version": 1, "content": turn["content"], "content_type": "text"});
    let run = stage.row("subagent_runs", &turn["run_id"]).await;
    let subagent = stage.row("subagents", &turn["subagent_id"]).await;
    assert_eq!(
        (&job["result"]["output"], &run["output"], &subagent["output"]),
        (&output, &output, &output)
    );
    has_all(&run["metadata"], METADATA);
    assert_eq!(
        (
            &run["metadata"]["adapter_id"],
            &run["metadata"]["retry_max_attempts"],
            &run["metadata"]["output_format"]
        ),
        (&json!(agent.wire), &json!(3), &json!("text"))
    );
    let command = run["metadata"]["command"].as_str().unwrap();
    assert!(
        command.starts_with(agent.word) || command.contains(&format!("/{} ", agent.word)),
        "{command}"
    );
    assert!(!command.contains("third"), "the prompt is no argument: {command}");
}

fn in_order(events: &[Event], answer: &str) {
    let words: Vec<&str> = events.iter().map(|event| event.word.as_str()).collect();
    let ends = (words.first(), words.last());
    assert_eq!(ends, (Some(&"run_started"), Some(&"run_completed")), "{words:?}");
    let said = events.iter().find(|event| event.word == "message");
    assert_eq!(said.unwrap().payload["content"], answer);
}

async fn watched_and_resumed(agent: &Agent) {
    let stage = Stage::new(&[agent.word]).await;
    told(&watched(&stage, agent).await, agent);

    let again = stage.sandbox.run(&["run", "--resume", "second"]).await.ok();
    assert_eq!(again.stdout, "fake(2): second\n");
    let subagent = stage.rows("subagents", "").await.remove(0);
    let goes_on = format!(
        "Going on with {}, turn 2 of subagent {}\n",
        agent.label,
        subagent["id"].as_str().unwrap()
    );
    for part in [
        goes_on.as_str(),
        "  Session: the same as before\n",
        "  Tokens: 200 in, ",
    ] {
        assert!(again.stderr.contains(part), "{part}: {again:?}");
    }

    let third = stage.turn(&["--resume", "third"]).await;
    assert_eq!(
        (&third["content"], &third["resumed"]),
        (&json!("fake(3): third"), &json!(true))
    );
    assert_eq!(
        (&third["run_sequence"], &third["subagent_id"]),
        (&json!(3), &subagent["id"])
    );
    assert_eq!(third["usage"]["input_tokens"], 300, "of this turn alone: {third}");
    let runs = stage.rows("subagent_runs", "order=run_sequence.asc").await;
    let costs: Vec<_> = runs
        .iter()
        .map(|run| run["metadata"]["total_cost_usd"].as_f64())
        .collect();
    if agent.costs {
        assert!(
            costs[2] < Some(costs[0].unwrap() + costs[1].unwrap()),
            "of this turn alone: {costs:?}"
        );
    }
    assert!(
        runs.iter()
            .all(|run| run["metadata"]["session_id"] == third["session_id"]),
        "{runs:?}"
    );
    rows_are_whole(&stage, agent, &third).await;
    in_order(&stage.events(&third["run_id"]).await, "fake(3): third");
}

#[tokio::test]
async fn claude_is_watched_and_goes_on_with_its_session() {
    let agent = Agent {
        word: "claude",
        label: "Claude",
        wire: "claude_code",
        model: "sonnet",
        costs: true,
    };
    watched_and_resumed(&agent).await;
}

#[tokio::test]
async fn codex_is_watched_and_goes_on_with_its_session() {
    let agent = Agent {
        word: "codex",
        label: "Codex",
        wire: "codex",
        model: "gpt-5.5",
        costs: false,
    };
    watched_and_resumed(&agent).await;
}

#[tokio::test]
async fn gemini_is_watched_and_goes_on_with_its_session() {
    let agent = Agent {
        word: "gemini",
        label: "Gemini",
        wire: "gemini",
        model: "gemini-2.5-flash",
        costs: false,
    };
    watched_and_resumed(&agent).await;
}
