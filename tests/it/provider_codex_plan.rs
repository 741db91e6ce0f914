//! How turns of Codex are started.

use std::path::PathBuf;

use gateway::domain::prompt::CODEX_PROMPT;
use gateway::domain::run::{FailureKind, RunFailure};
use gateway::provider::ProviderId;
use gateway::provider::codex::plan;
use gateway::provider::codex::quirks::DROPPINGS;
use gateway::provider::plan::{Cli, Plan};
use gateway::provider::request::{Access, Effort, OutputForm, RunRequest, Session};
use serde_json::json;

use crate::support::replay::{Recordings, describe_plans, features, request, with};

/// What `codex exec --help` of 0.169.0 names, as far as plans ask for it.
const HELP: &str = "Commands:\n  resume  Resume a previous session\nOptions:\n  -c, --config <key=value>\n  --model\n  \
                    --sandbox\n  --dangerously-bypass-approvals-and-sandbox\n  --skip-git-repo-check\n  --ephemeral\n  \
                    --output-schema\n  --json\n  --output-last-message\n";
const VERSION: &str = "codex-cli 0.169.0";
const SESSION: &str = "01a1fbb6-25d3-7471-8b5a-ff18f24241f0";

fn planned(request: &RunRequest, help: &str, version: &str) -> Result<Plan, RunFailure> {
    let features = features(ProviderId::Codex, help);
    let cli = Cli {
        features: &features,
        version: Some(version),
    };
    plan::plan(request, cli)
}

fn refused(request: &RunRequest, help: &str) -> (FailureKind, String) {
    let failure = planned(request, help, VERSION).unwrap_err();
    (failure.kind, failure.message)
}

fn cases() -> Vec<(&'static str, RunRequest)> {
    let schema = |schema| OutputForm::Json { schema: Some(schema) };
    vec![
        ("restricted", request("Sail.")),
        (
            "answer",
            with(|r| {
                r.access = Access::Answer;
                r.session = Session::Ephemeral;
                r.model = Some("gpt-5.5".to_owned());
                r.effort = Some(Effort::Low);
            }),
        ),
        (
            "answer with a schema",
            with(|r| {
                r.access = Access::Answer;
                r.session = Session::Ephemeral;
                r.output = schema(json!({"type": "object", "properties": {"a": {"type": "integer"}}}));
                r.append_system_prompt = Some("Be \"terse\".\n".to_owned());
            }),
        ),
        (
            "answer that is a tool call",
            with(|r| {
                r.access = Access::Answer;
                r.output = schema(json!({"properties": {"name": {"enum": ["sail"]}, "args": {"type": "object"}}}));
            }),
        ),
        (
            "restricted with search and instructions",
            with(|r| {
                r.tools.allowed = vec!["Read".to_owned(), "Web_Search".to_owned()];
                r.system_prompt = Some("You are a pilot.".to_owned());
            }),
        ),
        (
            "restricted, resumed",
            with(|r| r.session = Session::Resume(SESSION.to_owned())),
        ),
        ("full", with(|r| r.access = Access::Full)),
        (
            "full, resumed",
            with(|r| {
                r.access = Access::Full;
                r.session = Session::Resume(SESSION.to_owned());
            }),
        ),
    ]
}

#[test]
fn plans_are_as_written_down() {
    let of = |note, version| describe_plans(&cases(), note, |request| planned(request, HELP, version));
    let both = of("", VERSION) + &of(", old version", "codex-cli 0.46.0");
    insta::assert_snapshot!("codex_plans", both);
}

/// The words above are those of the real help.
#[test]
fn the_recorded_help_leads_to_the_same_plans() {
    let help = Recordings::of("codex").help();
    for (name, request) in cases() {
        assert_eq!(
            planned(&request, &help, VERSION),
            planned(&request, HELP, VERSION),
            "{name}"
        );
    }
}

#[test]
fn a_codex_that_cannot_be_restricted_is_not_started() {
    let without = HELP.replace("--sandbox\n", "");
    let without = without.replace("--dangerously-bypass-approvals-and-sandbox", "");
    for access in [Access::Answer, Access::Restricted, Access::Full] {
        let asked = RunRequest { access, ..request("x") };
        let (kind, message) = refused(&asked, &without);
        assert_eq!(kind, FailureKind::Request);
        assert!(message.contains("no --sandbox flag"), "{message}");
        assert!(
            plan::plan(
                &asked,
                Cli {
                    features: &Default::default(),
                    version: None
                }
            )
            .is_err()
        );
    }
    let answer = RunRequest {
        access: Access::Answer,
        ..request("x")
    };
    let (_, message) = refused(&answer, &HELP.replace("-c, --config <key=value>", ""));
    assert!(message.contains("no -c flag"), "{message}");
}

/// Trap 5: what is no session id would silently be a new session.
#[test]
fn only_a_session_id_is_resumed_and_only_where_codex_can() {
    let resume = |id: &str| RunRequest {
        session: Session::Resume(id.to_owned()),
        ..request("x")
    };
    for id in ["not-a-uuid", "--last", ""] {
        assert_eq!(refused(&resume(id), HELP).0, FailureKind::NoSession, "{id}");
    }
    let without = HELP.replace("  resume  Resume a previous session", "");
    assert_eq!(refused(&resume(SESSION), &without).0, FailureKind::Session);
}

/// Trap 8: the prompt travels on stdin, which is then closed, and is no option there.
#[test]
fn a_prompt_is_text_whatever_it_begins_with() {
    let emoji = "\u{1f6a2}\n".repeat(100);
    for prompt in [
        "--dangerously-skip-permissions",
        "/cost",
        "@/etc/passwd",
        "-",
        " a\u{2028}b\r\n",
        &emoji,
    ] {
        let plan = planned(&request(prompt), HELP, VERSION).unwrap();
        assert_eq!(plan.stdin, prompt.as_bytes());
        assert_eq!(plan.args.last().map(String::as_str), Some("-"));
        assert_eq!(
            plan.args
                .iter()
                .filter(|arg| arg.as_str() == prompt && prompt != "-")
                .count(),
            0
        );
    }
}

#[test]
fn what_codex_cannot_read_is_refused_by_its_name() {
    let message = |prompt: &str| refused(&request(prompt), HELP).1;
    assert!(planned(&request(&"é".repeat(CODEX_PROMPT.most())), HELP, VERSION).is_ok());
    let over = message(&"é".repeat(CODEX_PROMPT.most() + 1));
    assert_eq!(
        over,
        "Codex reads prompts of up to 1048576 characters; this one has 1048577"
    );
    assert!(message("a\0b").contains("NUL"));
    assert!(message(" \n").contains("empty"));
    let model = RunRequest {
        model: Some("-c".to_owned()),
        ..request("x")
    };
    assert_eq!(refused(&model, HELP).0, FailureKind::Model);
}

/// Trap 3: it would wait for a network for ever.
#[test]
fn a_refused_connection_is_not_waited_on_for_ever() {
    for (name, request) in cases() {
        let plan = planned(&request, HELP, VERSION).unwrap();
        assert!(
            plan.args
                .contains(&"features.unbounded_connection_retries=false".to_owned()),
            "{name}"
        );
    }
}

#[test]
fn long_instructions_go_behind_the_prompt() {
    let asked = RunRequest {
        append_system_prompt: Some("x".repeat(100_000)),
        ..request("Sail.")
    };
    let plan = planned(&asked, HELP, VERSION).unwrap();
    assert_eq!(plan.stdin.len(), "Sail.\n\n".len() + 100_000);
    assert!(plan.args.iter().all(|arg| arg.len() < 1000));
}

#[test]
fn scratch_holds_every_file_and_droppings_are_plain_names() {
    for (name, request) in cases() {
        let plan = planned(&request, HELP, VERSION).unwrap();
        let paths: Vec<PathBuf> = plan
            .files
            .into_iter()
            .map(|file| file.path)
            .chain(plan.output_file)
            .collect();
        assert!(
            paths.iter().all(|path| path.starts_with("/scratch")),
            "{name}: {paths:?}"
        );
    }
    assert!(
        DROPPINGS
            .iter()
            .all(|name| name.starts_with('.') && !name.contains('/'))
    );
}

/// What the owner's servers offer knows no sandbox.
#[test]
fn servers_of_the_owner_are_switched_off_unless_it_is_the_owners_run() {
    let off = r#"mcp_servers={"a"={enabled=false},"b \"c"={enabled=false}}"#;
    for (access, expected) in [
        (Access::Answer, true),
        (Access::Restricted, true),
        (Access::Full, false),
    ] {
        let mut asked = RunRequest { access, ..request("x") };
        asked.extras.withheld = vec!["a".to_owned(), "b \"c".to_owned()];
        let args = planned(&asked, HELP, VERSION).unwrap().args;
        assert_eq!(args.iter().any(|arg| arg == off), expected, "{access:?}");
    }
}

/// A version that may not know how to switch them off is not trusted to.
#[test]
fn servers_of_the_owner_refuse_a_version_that_may_start_them() {
    let no_settings = HELP.replace("-c, --config <key=value>", "");
    for (help, version) in [
        (HELP, "codex-cli 0.98.0"),
        (HELP, "codex nightly"),
        (no_settings.as_str(), VERSION),
    ] {
        let mut asked = request("x");
        asked.extras.withheld = vec!["a".to_owned()];
        let failure = planned(&asked, help, version).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Request);
        assert!(failure.message.contains("MCP servers"), "{}", failure.message);
        let full = RunRequest {
            access: Access::Full,
            ..asked
        };
        assert!(planned(&full, help, version).is_ok());
    }
}
