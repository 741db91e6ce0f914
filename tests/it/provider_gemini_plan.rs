//! How turns of Gemini CLI are started.

use gateway::domain::prompt::GEMINI_PROMPT;
use gateway::domain::run::{FailureKind, RunFailure};
use gateway::provider::ProviderId;
use gateway::provider::gemini::plan;
use gateway::provider::gemini::settings::settings;
use gateway::provider::plan::{Cli, Plan};
use gateway::provider::request::{Access, OutputForm, RunRequest, Session};
use serde_json::json;

use crate::support::replay::{Recordings, describe_plans, features, request, with};

/// What `gemini --help` of 0.61.0 names, as far as plans ask for it.
const HELP: &str = "  --model\n  --skip-trust\n  --sandbox\n  --yolo\n  --approval-mode [choices: \"default\", \
                    \"auto_edit\", \"yolo\", \"plan\"]\n  --policy\n  --admin-policy\n  --extensions\n  \
                    --allowed-mcp-server-names\n  --resume\n  --session-id\n  --output-format [choices: \"text\", \"json\", \"stream-json\"]\n";
/// The same before there were policies.
const OLD_HELP: &str = "  --model\n  --yolo\n  --approval-mode [choices: \"default\", \"yolo\"]\n  --output-format \
                        [choices: \"text\", \"json\"]\n";
const SESSION: &str = "01a1fbb6-25d3-7471-8b5a-ff18f24241f0";

fn planned(request: &RunRequest, help: &str) -> Result<Plan, RunFailure> {
    let features = features(ProviderId::Gemini, help);
    let cli = Cli {
        features: &features,
        version: Some("0.61.0"),
    };
    plan::plan(request, cli)
}

fn refused(request: &RunRequest, help: &str) -> (FailureKind, String) {
    let failure = planned(request, help).unwrap_err();
    (failure.kind, failure.message)
}

fn cases() -> Vec<(&'static str, RunRequest)> {
    vec![
        ("restricted", request("Sail.")),
        (
            "answer",
            with(|r| {
                r.access = Access::Answer;
                r.session = Session::Ephemeral;
                r.model = Some("gemini-2.5-flash".to_owned());
            }),
        ),
        (
            "answer with a schema",
            with(|r| {
                r.access = Access::Answer;
                r.session = Session::Ephemeral;
                r.output = OutputForm::Json {
                    schema: Some(json!({"type": "object"})),
                };
                r.append_system_prompt = Some("Be terse.".to_owned());
            }),
        ),
        (
            "restricted with instructions and without a tool",
            with(|r| {
                r.tools.disallowed = vec!["google_web_search".to_owned(), "a\"b".to_owned()];
                r.system_prompt = Some("You are a pilot.".to_owned());
                r.append_system_prompt = Some("Be terse.".to_owned());
            }),
        ),
        (
            "restricted with an at in the prompt",
            with(|r| r.prompt = "mail me@example.com".to_owned()),
        ),
        (
            "restricted, resumed",
            with(|r| r.session = Session::Resume(SESSION.to_owned())),
        ),
        (
            "full",
            with(|r| {
                r.access = Access::Full;
                r.extras.extensions = vec!["sextant".to_owned(), "log".to_owned()];
            }),
        ),
        (
            "full, resumed, an at in the prompt",
            with(|r| {
                r.access = Access::Full;
                r.session = Session::Resume(SESSION.to_owned());
                r.prompt = "use @test".to_owned();
            }),
        ),
    ]
}

#[test]
fn plans_are_as_written_down() {
    let of = |note, help| describe_plans(&cases(), note, |request| planned(request, help));
    let both = of("", HELP) + &of(", old version", OLD_HELP);
    insta::assert_snapshot!("gemini_plans", both);
}

/// The words above are those of the real help.
#[test]
fn the_recorded_help_leads_to_the_same_plans() {
    let help = Recordings::of("gemini").help();
    for (name, request) in cases() {
        assert_eq!(planned(&request, &help), planned(&request, HELP), "{name}");
    }
}

#[test]
fn a_gemini_that_cannot_be_restricted_is_not_started() {
    for access in [Access::Answer, Access::Restricted] {
        let asked = RunRequest { access, ..request("x") };
        let (kind, message) = refused(&asked, "");
        assert_eq!(kind, FailureKind::Crash);
        assert!(message.contains("did not say what it can do"), "{message}");
        for help in [OLD_HELP, "--approval-mode"] {
            let (kind, message) = refused(&asked, help);
            assert_eq!(kind, FailureKind::Request);
            assert!(message.contains("(0.61.0) has no --approval-mode plan"), "{message}");
        }
        let open = HELP.replace("--allowed-mcp-server-names", "");
        let (_, message) = refused(&asked, &open);
        assert!(message.contains("has no --allowed-mcp-server-names"), "{message}");
    }
    let full = RunRequest {
        access: Access::Full,
        ..request("x")
    };
    assert!(refused(&full, "--model").1.contains("no --yolo flag"));
}

/// Trap 8: the prompt travels on stdin, which is then closed, and is no option and no command there.
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
        let plan = planned(&request(prompt), HELP).unwrap();
        assert_eq!(plan.stdin, prompt.as_bytes());
        assert!(plan.args.iter().all(|arg| arg != prompt));
    }
    assert_eq!(planned(&request("/init"), HELP).unwrap().stdin, b" /init");
}

#[test]
fn what_gemini_cannot_read_is_refused_by_its_name() {
    let message = |prompt: &str| refused(&request(prompt), HELP).1;
    assert!(planned(&request(&"x".repeat(GEMINI_PROMPT.most())), HELP).is_ok());
    let over = message(&"é".repeat(GEMINI_PROMPT.most() / 2 + 1));
    assert_eq!(
        over,
        "Gemini reads prompts of up to 8388608 bytes; this one has 8388610"
    );
    assert!(message("a\0b").contains("NUL"));
    assert!(message(" \n").contains("empty"));
    assert!(message("ask @generalist").contains("its agent generalist"));
    let extension = RunRequest {
        extras: gateway::provider::request::Extras {
            extensions: vec!["--yolo".to_owned()],
            ..Default::default()
        },
        ..request("x")
    };
    assert_eq!(refused(&extension, HELP).1, "\"--yolo\" is no name of an extension");
}

#[test]
fn only_a_session_id_is_resumed_and_only_where_gemini_can() {
    let resume = |id: &str| RunRequest {
        session: Session::Resume(id.to_owned()),
        ..request("x")
    };
    for id in ["latest", "1", ""] {
        assert_eq!(refused(&resume(id), HELP).0, FailureKind::NoSession, "{id}");
    }
    let (_, message) = refused(&resume(SESSION), &HELP.replace("--resume", ""));
    assert!(message.contains("no --resume"), "{message}");
}

/// Trap 2: its launcher would swallow every polite signal.
#[test]
fn there_is_no_launcher_in_between() {
    for (name, request) in cases() {
        let plan = planned(&request, HELP).unwrap();
        assert!(
            plan.env.contains(&("GEMINI_CLI_NO_RELAUNCH", Some("true".to_owned()))),
            "{name}"
        );
    }
}

/// Traps 3 and 10: few tries of its own, and a shell without the key.
#[test]
fn settings_of_a_home_of_ours_are_quiet() {
    insta::assert_snapshot!("gemini_settings", serde_json::to_string_pretty(&settings()).unwrap());
}
