//! What the gateway adds to a run of an agent: the same replaying program alone, and through the runner.
#![expect(clippy::unwrap_used, reason = "a broken expectation ends the measurement")]

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use gateway::domain::run::RunEvent;
use gateway::job::agent::retry::Retry;
use gateway::job::agent::{Agents, CommandLine, Limits, Observer, Turn};
use gateway::process::env::ChildEnv;
use gateway::process::identity::ProcessIdentity;
use gateway::process::spawn::spawn;
use gateway::process::spec::Spec;
use gateway::provider::ProviderId;
use gateway::provider::capability::Features;
use gateway::provider::driver::Known;
use gateway::provider::request::{Access, Extras, OutputForm, RunRequest, Session, ToolLists};
use gateway::state::fs::OwnerDir;
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

const HELP: &str = include_str!("../tests/fixtures/providers/codex/help.txt");
/// A short answer as Codex prints it.
const ANSWER: &str = r#"{"type":"thread.started","thread_id":"01a1fbb6-0000-7000-8000-000000000000"}
{"type":"turn.started"}
{"type":"item.completed","item":{"id":"item_0","type":"agent_message","text":"hello"}}
{"type":"turn.completed","usage":{"input_tokens":100,"cached_input_tokens":0,"output_tokens":7}}"#;

struct Deaf;

impl Observer for Deaf {
    fn planned(&mut self, _: &CommandLine) {}
    fn started(&mut self, _: ProcessIdentity) {}
    fn event(&mut self, _: RunEvent) {}
}

fn env() -> ChildEnv {
    ChildEnv::exactly([("PATH".into(), "/usr/bin:/bin".into())])
}

fn replaying(dir: &Path) -> String {
    let path = dir.join("codex");
    let mut file = std::fs::File::options()
        .write(true)
        .create_new(true)
        .mode(0o755)
        .open(&path)
        .unwrap();
    write!(file, "#!/bin/sh\ncat >/dev/null\ncat <<'END'\n{ANSWER}\nEND\n").unwrap();
    path.display().to_string()
}

fn turn(command: String) -> Turn {
    Turn {
        provider: ProviderId::Codex,
        command,
        features: Features::read(ProviderId::Codex, Some(HELP), None),
        version: Some("codex-cli 0.169.0".to_owned()),
        request: RunRequest {
            prompt: "Say hello.".to_owned(),
            model: None,
            output: OutputForm::Text,
            system_prompt: None,
            append_system_prompt: None,
            effort: None,
            access: Access::Answer,
            session: Session::Ephemeral,
            tools: ToolLists::default(),
            extras: Extras::default(),
            scratch: PathBuf::new(),
        },
        place: vec!["runs".to_owned(), "bench".to_owned()],
        cwd: None,
        env: env(),
        mark: "bench".to_owned(),
        limits: Limits::within(Duration::from_secs(60)),
        retry: Retry::never(),
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn agent(c: &mut Criterion) {
    let home = tempfile::tempdir().unwrap();
    let command = replaying(home.path());
    let runtime = runtime();
    let mut group = c.benchmark_group("agent run");
    group.bench_function("the program alone", |b| {
        b.iter(|| {
            let exit = runtime.block_on(async {
                let child = spawn(Spec::new(&command, env())).unwrap();
                child.wait(CancellationToken::new()).await
            });
            assert!(exit.is_success());
        });
    });
    let state = Arc::new(OwnerDir::open_or_create(&home.path().join("state")).unwrap());
    let agents = Agents::new(&state, Arc::new(Known)).unwrap();
    let turn = turn(command.clone());
    group.bench_function("through the gateway", |b| {
        b.iter(|| {
            let report = runtime.block_on(agents.run(&turn, &CancellationToken::new(), &mut Deaf));
            assert_eq!(report.answer.unwrap().text, "hello");
        });
    });
    group.finish();
}

criterion_group!(benches, agent);
criterion_main!(benches);
