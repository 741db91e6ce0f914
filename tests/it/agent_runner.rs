//! The runner of agents with CLIs that behave and CLIs that do not.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gateway::domain::run::{FailureKind, RunEvent};
use gateway::job::agent::{Agents, Boundary, How, Report, Turn};
use gateway::provider::ProviderId;
use gateway::provider::plan::Format;
use gateway::provider::request::{Access, OutputForm, Session};
use gateway::state::fs::OwnerDir;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::timeout;

use crate::support::eventually::PATIENCE;
use crate::support::fake_agent::{FakeDriver, Heard, script, turn};

/// A state directory with a runner.
struct Bench {
    home: TempDir,
    driver: Arc<FakeDriver>,
    agents: Agents,
}

impl Bench {
    fn new(driver: FakeDriver) -> Self {
        let home = tempfile::tempdir().unwrap();
        let state = Arc::new(OwnerDir::open_or_create(&home.path().join("state")).unwrap());
        let driver = Arc::new(driver);
        Self {
            agents: Agents::new(&state, Arc::clone(&driver) as _).unwrap(),
            home,
            driver,
        }
    }

    fn path(&self) -> &Path {
        self.home.path()
    }

    fn turn(&self, body: &str) -> Turn {
        let mark = uuid::Uuid::new_v4().to_string();
        turn(script(self.path(), body), &mark)
    }

    async fn run(&self, turn: &Turn) -> (Report, Heard) {
        let mut heard = Heard::default();
        let stop = heard.stop.clone();
        let report = timeout(PATIENCE, self.agents.run(turn, &stop, &mut heard))
            .await
            .expect("the run must end");
        let left = std::fs::read_dir(self.path().join("state/work/runs")).unwrap().count();
        assert_eq!(left, 0, "a run leaves no directory");
        (report, heard)
    }

    fn notes(&self, name: &str) -> String {
        std::fs::read_to_string(self.path().join(name)).unwrap_or_default()
    }
}

fn text(report: &Report) -> &str {
    &report.answer.as_ref().unwrap().text
}

fn failure(report: &Report) -> (FailureKind, &str) {
    let failure = report.answer.as_ref().unwrap_err();
    (failure.kind, failure.message.as_str())
}

#[tokio::test]
async fn a_run_is_told_as_it_happens_and_leaves_nothing() {
    let bench = Bench::new(FakeDriver::default());
    let mut turn = bench.turn(
        r#"cat >"${0%/*}/prompt"; stat -c %a "$2" >"${0%/*}/mode"; cp "$2" "${0%/*}/plan"
        env >"${0%/*}/env"; pwd >"${0%/*}/cwd"
        echo '{"text":"one"}'; echo noise; echo '{"tool":"t"}'; echo '{"tool_result":"t"}'
        printf '{"answer":"done","session":"s","usage":{"in":1},"cost":0.5}'"#,
    );
    turn.request.prompt = "--danger\n/cost \u{2028} é\n\n".to_owned();
    let (report, heard) = bench.run(&turn).await;
    assert_eq!((report.how, text(&report), report.tool_ran), (How::Ended, "done", true));
    assert_eq!((report.session_id.as_deref(), report.cost_usd), (Some("s"), Some(0.5)));
    assert_eq!(heard.words(), ["attempt_started", "one", "tool_call", "tool_result"]);
    assert_eq!((heard.planned.len(), heard.started.len()), (1, 1));
    assert_eq!(bench.notes("prompt"), turn.request.prompt);
    assert_eq!(
        (bench.notes("mode"), bench.notes("plan")),
        ("600\n".to_owned(), r#"{"planned":true}"#.to_owned())
    );
    let env = bench.notes("env");
    assert!(env.contains("FAKE_SET=1") && !env.contains("FAKE_UNSET") && env.contains(&turn.mark));
    assert!(bench.notes("cwd").trim().ends_with(&format!("runs/{}/work", turn.mark)));
    let mode = std::fs::metadata(bench.path().join("state/work"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[tokio::test]
async fn an_exit_code_of_zero_hides_no_error() {
    let bench = Bench::new(FakeDriver::default());
    let turn = bench.turn(r#"echo '{"answer":"half"}'; echo '{"error":"model","message":"no such model"}'"#);
    let (report, _) = bench.run(&turn).await;
    assert_eq!(failure(&report), (FailureKind::Model, "no such model"));
    let turn = bench.turn("echo words >&2; exit 3");
    let (report, _) = bench.run(&turn).await;
    assert_eq!(failure(&report), (FailureKind::Crash, "words"));
    assert_eq!(report.process.unwrap().exit_code, Some(3));
}

#[tokio::test]
async fn half_a_character_loses_no_line() {
    let bench = Bench::new(FakeDriver::default());
    let body = r#"printf '%s\n' '{"answer":"\ude00 \ud83d\ude00"}'"#;
    let (report, _) = bench.run(&bench.turn(body)).await;
    assert_eq!(text(&report), "\u{fffd} \u{1f600}");
}

#[tokio::test]
async fn a_very_long_line_is_read() {
    let bench = Bench::new(FakeDriver::default());
    let body = r#"printf '{"answer":"'; head -c 10000000 /dev/zero | tr '\0' x; printf '"}'"#;
    let (report, _) = bench.run(&bench.turn(body)).await;
    assert_eq!(text(&report).len(), 10_000_000);
}

#[tokio::test]
async fn silence_ends_a_run_but_not_while_a_tool_works() {
    let bench = Bench::new(FakeDriver::default());
    let mut turn = bench.turn(r#"echo '{"text":"one"}'; exec sleep 300"#);
    turn.limits.idle = Duration::from_millis(300);
    let (report, heard) = bench.run(&turn).await;
    assert_eq!(report.how, How::Silent(turn.limits.idle));
    assert_eq!(failure(&report).0, FailureKind::Network);
    assert_eq!(heard.words(), ["attempt_started", "one"], "silence is not tried again");
    let mut turn = bench.turn(r#"echo '{"tool":"t"}'; sleep 1; echo '{"tool_result":"t","answer":"done"}'"#);
    turn.limits.idle = Duration::from_millis(300);
    assert_eq!(text(&bench.run(&turn).await.0), "done");
}

/// As Gemini CLI does in plan mode where its model is over quota.
#[tokio::test]
async fn a_run_that_tries_in_silence_tells_what_its_model_said() {
    let bench = Bench::new(FakeDriver::default());
    let mut turn = bench.turn(r"echo 'Attempt 2 failed with status 429. Retrying with backoff...' >&2; exec sleep 300");
    turn.limits.idle = Duration::from_millis(300);
    let (report, heard) = bench.run(&turn).await;
    assert_eq!(report.how, How::Silent(turn.limits.idle));
    let why = "The agent said nothing for 300ms; its model API answered 429";
    assert_eq!(failure(&report), (FailureKind::Quota, why));
    assert_eq!(heard.words(), ["attempt_started"], "silence is not tried again");
}

#[tokio::test]
async fn the_whole_run_has_a_deadline() {
    let bench = Bench::new(FakeDriver::default());
    let mut turn = bench.turn(r#"while :; do echo '{"text":"on and on"}'; sleep 0.05; done"#);
    turn.limits.total = Duration::from_millis(500);
    let (report, _) = bench.run(&turn).await;
    assert_eq!(report.how, How::TimedOut(turn.limits.total));
    assert_eq!(
        failure(&report),
        (FailureKind::Limit, "The run did not end within 500ms")
    );
}

#[tokio::test]
async fn an_answer_before_a_deadline_stays_one() {
    let bench = Bench::new(FakeDriver::default());
    let mut turn = bench.turn(r#"echo '{"answer":"done"}'; exec sleep 300"#);
    turn.limits.idle = Duration::from_millis(300);
    let (report, _) = bench.run(&turn).await;
    assert_eq!((report.how.is_deadline(), text(&report)), (true, "done"));
}

#[tokio::test]
async fn what_may_pass_is_tried_again_unless_a_tool_ran() {
    let bench = Bench::new(FakeDriver::default());
    let body = |before: &str| {
        format!(
            r#"echo x >>"${{0%/*}}/tries"; {before}
            if [ $(wc -l <"${{0%/*}}/tries") -lt 3 ]; then echo '{{"error":"capacity","message":"busy"}}'; exit 1; fi
            echo '{{"answer":"third"}}'"#
        )
    };
    let mut turn = bench.turn(&body(""));
    turn.request.session = Session::New("a".to_owned());
    let (report, heard) = bench.run(&turn).await;
    assert_eq!((text(&report), report.retries.len()), ("third", 2));
    let again = ["attempt_started", "retry_scheduled"];
    assert_eq!(heard.words(), [&again[..], &again[..], &again[..1]].concat());
    let sessions = bench.driver.sessions.lock().unwrap().clone();
    assert_eq!(sessions[0], Session::New("a".to_owned()));
    assert!(
        sessions[1] != sessions[0] && sessions[2] != sessions[1],
        "a begun session is not begun again"
    );
    std::fs::remove_file(bench.path().join("tries")).unwrap();
    let (report, _) = bench.run(&bench.turn(&body(r#"echo '{"tool":"t"}'"#))).await;
    assert_eq!(
        (failure(&report), report.retries.len()),
        ((FailureKind::Capacity, "busy"), 0)
    );
}

/// What prints plain text may have used its tools, unless it has none.
#[tokio::test]
async fn what_may_have_used_a_tool_is_not_tried_again() {
    for (access, retries) in [(Access::Restricted, 0), (Access::Full, 0), (Access::Answer, 1)] {
        let bench = Bench::new(FakeDriver {
            format: Format::Text,
            ..FakeDriver::default()
        });
        let mut turn = bench.turn("echo no object");
        turn.request.access = access;
        turn.request.output = OutputForm::Json {
            schema: Some(json!({"needs": "a"})),
        };
        let (report, _) = bench.run(&turn).await;
        assert_eq!(failure(&report).0, FailureKind::Answer);
        assert_eq!(report.retries.len(), retries, "{access:?}");
    }
}

#[tokio::test]
async fn what_failed_attempts_took_is_counted() {
    let bench = Bench::new(FakeDriver::default());
    let body = r#"echo x >>"${0%/*}/tries"
        if [ $(wc -l <"${0%/*}/tries") -lt 3 ]; then
            echo '{"error":"capacity","usage":{"in":10,"deep":{"n":1}},"cost":0.25}'; exit 1
        fi
        echo '{"answer":"third","usage":{"in":5,"deep":{"n":1},"out":2},"cost":0.5}'"#;
    let (report, _) = bench.run(&bench.turn(body)).await;
    assert_eq!((text(&report), report.retries.len()), ("third", 2));
    assert_eq!(
        (report.usage, report.cost_usd),
        (Some(json!({"in": 25, "deep": {"n": 3}, "out": 2})), Some(1.0))
    );
}

#[tokio::test]
async fn reports_about_failures_are_removed_and_older_ones_kept() {
    let bench = Bench::new(FakeDriver::default());
    let mut turn = bench.turn(
        r#"echo secret >"$TMPDIR/gemini-client-error-1.json"; echo mine >"$TMPDIR/other.json"
        echo '{"answer":"done"}'"#,
    );
    turn.provider = ProviderId::Gemini;
    turn.env = turn.env.with("TMPDIR", bench.path());
    left_by_somebody(&bench.path().join("gemini-client-error-0.json"));
    assert_eq!(text(&bench.run(&turn).await.0), "done");
    let left = |name: &str| bench.path().join(name).exists();
    let names = ["gemini-client-error-0.json", "gemini-client-error-1.json", "other.json"];
    assert_eq!(names.map(left), [true, false, true]);
}

#[expect(clippy::disallowed_methods, reason = "a file that somebody else has left")]
fn left_by_somebody(path: &Path) {
    std::fs::write(path, "").unwrap();
}

#[tokio::test]
async fn an_answer_is_held_against_its_schema() {
    let bench = Bench::new(FakeDriver::default());
    let with_schema = |body: &str, schema: Value| {
        let mut turn = bench.turn(body);
        turn.request.output = OutputForm::Json { schema: Some(schema) };
        turn
    };
    let good = r#"echo '{"answer":"Sure: {\"a\":1}"}'"#;
    let (report, _) = bench.run(&with_schema(good, json!({"needs": "a"}))).await;
    assert_eq!(report.answer.unwrap().structured, Some(json!({"a": 1})));
    let (report, _) = bench.run(&with_schema(good, json!({"needs": "b"}))).await;
    assert_eq!(
        (failure(&report), report.retries.len()),
        ((FailureKind::Answer, "b is missing"), 1)
    );
    let prose = r#"echo '{"answer":"see {x}"}'"#;
    let (report, _) = bench.run(&with_schema(prose, json!({"needs": "a"}))).await;
    assert_eq!(
        failure(&report),
        (FailureKind::Answer, "The answer holds no JSON object")
    );
    let (report, heard) = bench.run(&with_schema(good, json!({}))).await;
    assert_eq!((report.how, heard.events), (How::Refused, Vec::<RunEvent>::new()));
    let mut turn = bench.turn(prose);
    turn.request.output = OutputForm::Json { schema: None };
    assert_eq!(text(&bench.run(&turn).await.0), "see {x}");
}

#[tokio::test]
async fn turns_of_one_session_never_overlap() {
    let bench = Bench::new(FakeDriver::default());
    let body =
        r#"echo begin >>"${0%/*}/log"; sleep 0.1; echo end >>"${0%/*}/log"; echo '{"answer":"x","session":"s"}'"#;
    let mut first = bench.turn(body);
    first.request.session = Session::Resume("s".to_owned());
    let mut second = first.clone();
    second.place[1] = "other".to_owned();
    let (mut one, mut two) = (Heard::default(), Heard::default());
    let stop = one.stop.clone();
    let both = async {
        tokio::join!(
            bench.agents.run(&first, &stop, &mut one),
            bench.agents.run(&second, &stop, &mut two)
        )
    };
    let (first, second) = timeout(PATIENCE, both).await.unwrap();
    assert_eq!((text(&first), text(&second)), ("x", "x"));
    assert_eq!(bench.notes("log"), "begin\nend\nbegin\nend\n");
}

#[tokio::test]
async fn another_session_than_the_one_resumed_is_a_failure() {
    let bench = Bench::new(FakeDriver::default());
    let mut turn = bench.turn(r#"echo '{"answer":"x","session":"fresh"}'"#);
    turn.request.session = Session::Resume("old".to_owned());
    let (report, _) = bench.run(&turn).await;
    assert_eq!(failure(&report).0, FailureKind::Session);
    assert_eq!(report.session_id.as_deref(), Some("fresh"));
}

#[tokio::test]
async fn figures_are_those_of_the_run() {
    let bench = Bench::new(FakeDriver {
        cumulative: true,
        ..FakeDriver::default()
    });
    let figures = async |total: u32, session: Session| {
        let body = format!(r#"echo '{{"answer":"x","session":"s","usage":{{"in":{total}}},"cost":{total}}}'"#);
        let mut turn = bench.turn(&body);
        turn.request.session = session;
        let (report, _) = bench.run(&turn).await;
        (report.usage, report.cost_usd)
    };
    let resumed = || Session::Resume("s".to_owned());
    assert_eq!(
        figures(100, Session::New("s".to_owned())).await,
        (Some(json!({"in": 100})), Some(100.0))
    );
    assert_eq!(figures(250, resumed()).await, (Some(json!({"in": 150})), Some(150.0)));
    assert_eq!(figures(300, resumed()).await, (Some(json!({"in": 50})), Some(50.0)));
}

#[tokio::test]
async fn too_much_output_ends_the_run() {
    let bench = Bench::new(FakeDriver {
        format: Format::Text,
        ..FakeDriver::default()
    });
    let (report, _) = bench.run(&bench.turn("exec yes")).await;
    assert_eq!(report.how, How::TooMuch(Boundary::Stdout));
    let (report, _) = bench.run(&bench.turn("head -c 5000000 /dev/zero | tr '\\0' x")).await;
    assert_eq!((report.how, text(&report).len()), (How::Ended, 5_000_001));
    let (report, _) = bench.run(&bench.turn("head -c 5000001 /dev/zero | tr '\\0' x")).await;
    assert_eq!(report.how, How::TooMuch(Boundary::Stdout));
    let files = Bench::new(FakeDriver {
        format: Format::Text,
        writes_file: true,
        ..FakeDriver::default()
    });
    let (report, _) = files.run(&files.turn(r#"echo x >"${2%/*}/out.json""#)).await;
    assert_eq!(text(&report), "x\n");
    let (report, _) = files
        .run(&files.turn(r#"head -c 5000001 /dev/zero >"${2%/*}/out.json""#))
        .await;
    assert_eq!(report.how, How::TooMuch(Boundary::OutputFile));
    let (report, _) = files.run(&files.turn(r#"ln -s /etc/passwd "${2%/*}/out.json""#)).await;
    assert!(text(&report).starts_with("no file: "), "{}", text(&report));
}

#[tokio::test]
async fn what_cannot_start_says_why() {
    let bench = Bench::new(FakeDriver::default());
    let mut turn = bench.turn("true");
    turn.command = "/nowhere/agent".to_owned();
    let (report, _) = bench.run(&turn).await;
    assert_eq!(
        (report.how, failure(&report).1),
        (How::NotStarted, "spawn /nowhere/agent ENOENT")
    );
    let mut turn = bench.turn("true");
    turn.request.prompt = "a\0b".to_owned();
    let (report, heard) = bench.run(&turn).await;
    assert_eq!((report.how, failure(&report).0), (How::Refused, FailureKind::Request));
    assert!(heard.planned.is_empty() && report.process.is_none());
}

/// What needs `/proc`.
#[cfg(target_os = "linux")]
mod linux {
    use super::*;
    use crate::support::process_list;

    /// A child in a session of its own, deaf to polite signals like its parent.
    const STUBBORN: &str = r#"trap '' TERM INT HUP; mkdir .git .codex; echo kept >.codex/kept
        setsid sh -c 'trap "" TERM; while :; do sleep 1; done' </dev/null >/dev/null 2>&1 &
        echo '{"text":"stop me"}'; while :; do sleep 1; done"#;

    #[tokio::test]
    async fn a_cancelled_run_ends_for_certain() {
        let bench = Bench::new(FakeDriver::default());
        let cwd = bench.path().join("project");
        std::fs::create_dir(&cwd).unwrap();
        let mut turn = bench.turn(STUBBORN);
        turn.cwd = Some(cwd.clone());
        let (report, heard) = bench.run(&turn).await;
        assert_eq!(
            (report.how, failure(&report).1),
            (How::Cancelled, "The run was cancelled")
        );
        assert_eq!(heard.words(), ["attempt_started", "stop me"]);
        let mark = format!("GATEWAY_JOB_ID={}", turn.mark);
        assert_eq!(process_list::with_variable(&mark), []);
        assert!(!cwd.join(".git").exists() && cwd.join(".codex/kept").exists());
    }

    #[tokio::test]
    async fn only_a_run_that_may_do_everything_leaves_work_behind() {
        for (access, left) in [(Access::Answer, 0), (Access::Restricted, 0), (Access::Full, 1)] {
            let bench = Bench::new(FakeDriver::default());
            let mut turn = bench.turn(r#"setsid sleep 4339 & echo '{"answer":"done"}'"#);
            turn.request.access = access;
            assert_eq!(text(&bench.run(&turn).await.0), "done");
            let found = process_list::with_variable(&format!("GATEWAY_JOB_ID={}", turn.mark));
            assert_eq!(found.len(), left, "{access:?}");
            for pid in found {
                nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
            }
        }
    }

    #[tokio::test]
    async fn a_waiting_turn_can_be_cancelled() {
        let bench = Bench::new(FakeDriver::default());
        let mut first = bench.turn(r#"echo '{"text":"stop me"}'; exec sleep 300"#);
        first.request.session = Session::Resume("s".to_owned());
        let mut second = first.clone();
        second.place[1] = "other".to_owned();
        let (mut one, mut two) = (Heard::default(), Heard::default());
        let stop = one.stop.clone();
        let both = async {
            tokio::join!(
                bench.agents.run(&first, &stop, &mut one),
                bench.agents.run(&second, &stop, &mut two)
            )
        };
        let (first, second) = timeout(PATIENCE, both).await.unwrap();
        assert_eq!((first.how, second.how), (How::Cancelled, How::Cancelled));
        assert!(two.started.is_empty());
    }
}
