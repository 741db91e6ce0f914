//! How runs of Claude Code are started.

use gateway::domain::run::{FailureKind, RunFailure};
use gateway::provider::ProviderId;
use gateway::provider::claude::plan;
use gateway::provider::plan::{Cli, Format, Plan};
use gateway::provider::request::{Access, Effort, OutputForm, RunRequest, Session};
use serde_json::{Value, json};

use crate::support::replay::{describe_plans, features, request};

/// What `claude --help` of 2.1.197 names, as far as plans ask for it.
const OLD: &str = "--output-format --input-format stream-json --verbose --include-partial-messages --model --tools \
                   --allowedTools --disallowedTools --append-system-prompt --system-prompt --json-schema \
                   --permission-mode --dangerously-skip-permissions --max-budget-usd --betas \
                   --no-session-persistence --session-id --resume --setting-sources --disable-slash-commands \
                   --strict-mcp-config --effort";
/// What that of 2.1.329 names beyond.
const NEW: &str = "--restricted";
const SESSION: &str = "01a1fbb6-25d3-4471-8b5a-ff18f24241f0";

fn planned(request: &RunRequest, help: &str) -> Result<Plan, RunFailure> {
    let features = features(ProviderId::ClaudeCode, help);
    let cli = Cli {
        features: &features,
        version: Some("2.1.329 (Claude Code)"),
    };
    plan::plan(request, cli)
}

fn new(request: &RunRequest) -> Result<Plan, RunFailure> {
    planned(request, &format!("{OLD} {NEW}"))
}

fn with(access: Access, change: impl Fn(&mut RunRequest)) -> RunRequest {
    let mut request = request("Sail.");
    request.access = access;
    change(&mut request);
    request
}

fn refused(request: &RunRequest) -> (FailureKind, String) {
    let failure = new(request).unwrap_err();
    (failure.kind, failure.message)
}

fn schema() -> OutputForm {
    let schema = json!({"type": "object", "properties": {"ships": {"type": "integer"}}});
    OutputForm::Json { schema: Some(schema) }
}

/// The text that the message on stdin says, and the number of its parts.
fn said(plan: &Plan) -> (String, usize) {
    let line = std::str::from_utf8(&plan.stdin).unwrap();
    assert_eq!(line.find('\n'), Some(line.len() - 1), "one line");
    assert!(
        !line.contains(['\u{2028}', '\u{2029}']),
        "nothing that another reader could take for its end"
    );
    let message: Value = serde_json::from_str(line).unwrap();
    let parts = message["message"]["content"].as_array().unwrap();
    assert_eq!(parts.last().unwrap()["text"], "");
    (parts[0]["text"].as_str().unwrap().to_owned(), parts.len())
}

fn cases() -> Vec<(&'static str, RunRequest)> {
    vec![
        ("restricted", with(Access::Restricted, |_| {})),
        (
            "restricted with tools and instructions",
            with(Access::Restricted, |r| {
                r.tools.allowed = ["web_search", "Read(./src/**)", "Edit"].map(str::to_owned).to_vec();
                r.tools.disallowed = vec!["WebFetch".to_owned()];
                r.system_prompt = Some("You are a pilot.".to_owned());
                r.append_system_prompt = Some("Be terse.".to_owned());
                r.extras.permission_mode = Some("acceptEdits".to_owned());
            }),
        ),
        (
            "restricted, resumed",
            with(Access::Restricted, |r| r.session = Session::Resume(SESSION.to_owned())),
        ),
        (
            "answer",
            with(Access::Answer, |r| {
                r.session = Session::Ephemeral;
                r.append_system_prompt = Some("Be terse.".to_owned());
                r.effort = Some(Effort::Low);
            }),
        ),
        (
            "answer with a schema",
            with(Access::Answer, |r| {
                r.session = Session::Ephemeral;
                r.model = Some("opus".to_owned());
                r.output = schema();
            }),
        ),
        ("full", with(Access::Full, |_| {})),
        (
            "full in a mode of its own, with everything",
            with(Access::Full, |r| {
                r.tools.allowed = vec!["Bash(git *)".to_owned(), "Edit".to_owned()];
                r.extras.permission_mode = Some("plan".to_owned());
                r.extras.max_budget_usd = Some(1.5);
                r.extras.betas = vec!["one".to_owned(), "two".to_owned()];
            }),
        ),
        (
            "full as root",
            with(Access::Full, |r| {
                r.extras.permission_mode = Some("dontask".to_owned());
                r.extras.is_root = true;
                r.extras.allow_root = true;
            }),
        ),
    ]
}

fn described(help: &str) -> String {
    describe_plans(&cases(), "", |request| planned(request, help))
}

#[test]
fn every_start_of_329() {
    insta::assert_snapshot!("claude_plans", described(&format!("{OLD} {NEW}")));
}

#[test]
fn every_start_of_197() {
    insta::assert_snapshot!("claude_plans_of_197", described(OLD));
}

/// Nothing is known of a CLI whose help could not be read, so nothing that must be restricted starts.
#[test]
fn every_start_of_a_cli_that_is_not_known() {
    let help = "--allowedTools --disallowedTools --output-format --system-prompt";
    insta::assert_snapshot!("claude_plans_of_unknown", described(help));
}

#[test]
fn each_missing_flag_that_restricts_is_a_refusal() {
    let forbidding = with(Access::Restricted, |r| r.tools.disallowed = vec!["WebFetch".to_owned()]);
    for flag in [
        "--tools",
        "--permission-mode",
        "--setting-sources",
        "--strict-mcp-config",
        "--disallowedTools",
    ] {
        let failure = planned(&forbidding, &OLD.replace(flag, "")).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Request);
        assert!(failure.message.contains(flag), "{}", failure.message);
    }
    let failure = planned(&forbidding, "").unwrap_err();
    assert_eq!(failure.kind, FailureKind::Crash);
    assert!(
        failure.message.contains("did not say what it can do"),
        "{}",
        failure.message
    );
}

#[test]
fn what_needs_machine_control_is_refused_without_it() {
    for tool in ["Bash", "Bash(ls)", "Task", "mcp__server__tool", "Unheard"] {
        let asked = with(Access::Restricted, |r| r.tools.allowed = vec![tool.to_owned()]);
        let why = format!("Claude's tool {tool} needs full machine control");
        assert_eq!(refused(&asked), (FailureKind::Request, why));
    }
    for mode in ["bypassPermissions", "auto", "--version"] {
        let asked = with(Access::Restricted, |r| r.extras.permission_mode = Some(mode.to_owned()));
        assert!(refused(&asked).1.contains("needs full machine control"));
    }
}

#[test]
fn bypass_is_for_full_control_only() {
    for (name, request) in cases() {
        let args = new(&request).unwrap().args.join(" ");
        let bypass = args.contains("--dangerously-skip-permissions") && args.contains("bypassPermissions");
        let free = request.access == Access::Full && request.extras.permission_mode.as_deref() != Some("plan");
        assert_eq!(bypass, free, "{name}");
    }
}

#[test]
fn root_needs_the_owners_word() {
    let asked = with(Access::Full, |r| r.extras.is_root = true);
    let (kind, why) = refused(&asked);
    assert_eq!(kind, FailureKind::Request);
    assert!(why.ends_with("gateway providers set claude --allow-root"), "{why}");

    let sandbox = |request: &RunRequest| {
        let plan = new(request).unwrap();
        plan.env.into_iter().find(|(name, _)| *name == "IS_SANDBOX").unwrap().1
    };
    for (access, is_root, allow_root, expected) in [
        (Access::Full, true, true, Some("1")),
        (Access::Full, false, true, None),
        (Access::Restricted, true, true, None),
        (Access::Answer, true, true, None),
    ] {
        let asked = with(access, |r| {
            r.extras.is_root = is_root;
            r.extras.allow_root = allow_root;
        });
        assert_eq!(sandbox(&asked).as_deref(), expected, "{access:?}");
    }
}

/// Trap 3: a CLI left alone would try for minutes.
#[test]
fn retries_are_few_and_the_headers_come_in_time() {
    let env = new(&request("x")).unwrap().env;
    for name in ["CLAUDE_CODE_MAX_RETRIES", "API_TIMEOUT_MS"] {
        let value = env.iter().find(|(key, _)| *key == name).unwrap().1.as_deref().unwrap();
        assert!(value.parse::<u64>().unwrap() <= 120_000);
    }
}

/// Trap 8: there is always something on stdin, and then its end.
#[test]
fn the_prompt_stands_on_stdin_exactly_and_nowhere_else() {
    for prompt in [
        "--dangerously-skip-permissions".to_owned(),
        "/cost".to_owned(),
        "@/etc/passwd".to_owned(),
        " \n\tspace around\r\n ".to_owned(),
        "one\u{2028}two\u{2029}three\u{85}\u{feff}four\u{1}\u{7f}".to_owned(),
        vec!["\u{1f600}\u{1f469}\u{200d}\u{1f680}"; 100].join("\n"),
        "0123456789".repeat(90_000),
    ] {
        for access in [Access::Answer, Access::Restricted, Access::Full] {
            let mut asked = with(access, |_| {});
            asked.prompt.clone_from(&prompt);
            let plan = new(&asked).unwrap();
            assert_eq!(said(&plan), (prompt.clone(), 2));
            assert_eq!(plan.args, new(&with(access, |_| {})).unwrap().args);
        }
    }
}

/// Trap 10: the shell that would see the key is not there at all unless full control was given.
#[test]
fn only_full_control_has_a_shell() {
    for access in [Access::Answer, Access::Restricted] {
        let args = new(&with(access, |_| {})).unwrap().args;
        let at = args.iter().position(|arg| arg == "--tools").unwrap();
        assert!(["", "WebSearch"].contains(&args[at + 1].as_str()));
    }
}

#[test]
fn limits_are_named() {
    for (prompt, part) in [
        (String::new(), "empty"),
        (" \n".to_owned(), "empty"),
        ("a\0b".to_owned(), "NUL"),
        ("x".repeat(10_000_001), "up to 10000000 bytes; this one has 10000001"),
    ] {
        let mut asked = request("x");
        asked.prompt = prompt;
        let (kind, why) = refused(&asked);
        assert_eq!(kind, FailureKind::Request);
        assert!(why.contains(part), "{why}");
    }
    let long = with(Access::Restricted, |r| {
        r.append_system_prompt = Some("x".repeat(140_000));
    });
    assert!(
        refused(&long)
            .1
            .contains("131071 bytes and no NUL character for --append-system-prompt")
    );
    let nul = with(Access::Restricted, |r| r.system_prompt = Some("a\0".to_owned()));
    assert!(refused(&nul).1.contains("for --system-prompt"));
}

#[test]
fn values_cannot_become_options() {
    let id = |id: &str| with(Access::Restricted, |r| r.session = Session::Resume(id.to_owned()));
    assert_eq!(refused(&id("--help")).0, FailureKind::NoSession);
    assert_eq!(refused(&id("my session")).0, FailureKind::NoSession);
    for asked in [
        with(Access::Restricted, |r| r.tools.allowed = vec!["--add-dir=/".to_owned()]),
        with(Access::Restricted, |r| r.tools.disallowed = vec!["-p".to_owned()]),
        with(Access::Full, |r| r.extras.betas = vec!["--verbose".to_owned()]),
        with(Access::Full, |r| r.model = Some("--version".to_owned())),
        with(Access::Full, |r| r.extras.max_budget_usd = Some(f64::NAN)),
    ] {
        assert!(new(&asked).is_err(), "{asked:?}");
    }
}

#[test]
fn a_cli_that_cannot_resume_says_so() {
    let asked = with(Access::Restricted, |r| r.session = Session::Resume(SESSION.to_owned()));
    let failure = planned(&asked, &OLD.replace("--resume", "")).unwrap_err();
    let why = "Claude CLI does not support session continuation (--resume)";
    assert_eq!((failure.kind, failure.message.as_str()), (FailureKind::Session, why));
}

/// Without messages on stdin some prompts would be more than text.
#[test]
fn an_old_cli_reads_plain_text_and_gets_nothing_else() {
    for (help, format) in [
        (OLD.replace("--input-format", ""), Format::JsonLines),
        (OLD.replace("stream-json", ""), Format::Json),
        (OLD.replace("--verbose", ""), Format::Json),
        (OLD.replace("--output-format", ""), Format::Text),
    ] {
        let of = |prompt: &str| planned(&request(prompt), &help);
        let plan = of("mail me@example.org @ noon, 1/2").unwrap();
        assert_eq!(
            (plan.format, plan.stdin.as_slice()),
            (format, &b"mail me@example.org @ noon, 1/2"[..])
        );
        for prompt in ["/cost", " \n/cost", "read @/etc/passwd", "@x"] {
            assert_eq!(of(prompt).unwrap_err().kind, FailureKind::Request, "{prompt}");
        }
    }
}

/// What the CLI has no flag for is said in the prompt, where that is no restriction.
#[test]
fn instructions_and_schema_find_a_way() {
    let mut asked = with(Access::Restricted, |r| {
        r.append_system_prompt = Some("Be terse.".to_owned());
    });
    asked.output = schema();
    let help = OLD.replace("--append-system-prompt", "").replace("--json-schema", "");
    let plan = planned(&asked, &help).unwrap();
    let prompt = "Sail.\n\nBe terse.\n\nReturn STRICT JSON matching this schema:\n\
                  {\"type\":\"object\",\"properties\":{\"ships\":{\"type\":\"integer\"}}}";
    assert_eq!(said(&plan).0, prompt);
}

#[test]
fn the_default_of_restricted_agents_does_not_narrow_one_that_may_do_everything() {
    for name in ["WebSearch", "web_search"] {
        let named = with(Access::Full, |r| r.tools.allowed = vec![name.to_owned()]);
        let plain = with(Access::Full, |_| {});
        assert_eq!(new(&named).unwrap().args, new(&plain).unwrap().args, "{name}");
    }
}
