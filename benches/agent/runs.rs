//! What a run costs beyond the CLI's own time: through the runner alone, and through everything.

use std::fs;
use std::future::ready;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use gateway::domain::run::RunEvent;
use gateway::job::agent::retry::Retry;
use gateway::job::agent::{Agents, CommandLine, Limits, Observer, Turn};
use gateway::process::env::ChildEnv;
use gateway::process::hold::{Begun, Registrar, Unregistered};
use gateway::provider::ProviderId;
use gateway::provider::capability::Features;
use gateway::provider::driver::Known;
use gateway::provider::request::RunRequest;
use gateway::state::fs::OwnerDir;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::streams;
use crate::support::figures::{Figure, Guard, quantile};
use crate::support::operator::Operator;
use crate::support::process;
use crate::support::stack::Stack;

const RUNS: usize = 200;
const HELP: &str = include_str!("../../tests/fixtures/providers/codex/help.txt");
/// A short answer as Codex prints it, around whatever else it says.
const BEGIN: &str = r#"{"type":"thread.started","thread_id":"01a1fbb6-0000-7000-8000-000000000000"}
{"type":"turn.started"}
"#;
const END: &str = r#"{"type":"item.completed","item":{"id":"item_0","type":"agent_message","text":"hello"}}
{"type":"turn.completed","usage":{"input_tokens":100,"cached_input_tokens":0,"output_tokens":7}}
"#;

/// A program that answers as Codex does, at once; asked for a flood it says 50 MB before.
pub struct Replaying {
    home: TempDir,
}

impl Replaying {
    pub fn new() -> Self {
        let home = TempDir::new().expect("a temporary directory");
        let file = |name: &str| home.path().join(name);
        fs::write(file("help"), HELP).expect("a file");
        fs::write(file("answer"), [BEGIN, END].concat()).expect("a file");
        let [_, codex, _] = streams::all();
        let flood = [BEGIN.as_bytes(), &codex.pieces, END.as_bytes()].concat();
        fs::write(file("flood"), flood).expect("a file");
        let mut script = fs::File::options();
        let script = script.write(true).create_new(true).mode(0o755).open(file("codex"));
        let body = format!(
            "#!/bin/sh\ncd '{}'\ncase \"$*\" in\n*--version*) echo 'codex-cli 0.169.0' ;;\n*--help*) cat help ;;\n\
             *) case \"$(cat)\" in *flood*) cat flood ;; *) cat answer ;; esac ;;\nesac\n",
            home.path().display()
        );
        script.expect("a file").write_all(body.as_bytes()).expect("a file");
        Self { home }
    }

    fn command(&self) -> PathBuf {
        self.home.path().join("codex")
    }

    /// Wall time and CPU of the program when nobody is between, in milliseconds.
    fn alone(&self) -> Cost {
        let before = children_cpu();
        let walls = (0..RUNS).map(|_| {
            let begun = Instant::now();
            let mut command = Command::new(self.command());
            let output = command.stdin(Stdio::null()).output().expect("the program starts");
            assert!(output.stdout.starts_with(BEGIN.as_bytes()));
            ms(begun.elapsed())
        });
        let mut walls: Vec<f64> = walls.collect();
        Cost {
            wall: quantile(&mut walls, 0.5),
            p99: quantile(&mut walls, 0.99),
            cpu: ms(children_cpu() - before) / RUNS as f64,
        }
    }
}

/// Of one run, in milliseconds.
struct Cost {
    wall: f64,
    p99: f64,
    cpu: f64,
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// CPU time of the children of this process that have ended.
fn children_cpu() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("figures");
    let micros = (usage.user_time() + usage.system_time()).num_microseconds();
    Duration::from_micros(micros.unsigned_abs())
}

/// The runner without a daemon around it.
pub async fn runner(program: &Replaying) -> Figure {
    let state = TempDir::new().expect("a temporary directory");
    let state = Arc::new(OwnerDir::open_or_create(&state.path().join("state")).expect("a directory"));
    let agents = Agents::new(&state, Arc::new(Known)).expect("a work directory");
    let turn = turn(&program.command());
    let alone = program.alone();
    let mut walls = Vec::new();
    for _ in 0..RUNS {
        let begun = Instant::now();
        let report = agents.run(&turn, &CancellationToken::new(), &mut Deaf).await;
        assert_eq!(report.answer.expect("an answer").text, "hello");
        walls.push(ms(begun.elapsed()));
    }
    let wall = quantile(&mut walls, 0.5);
    Figure::new("agent run: the runner's own time", wall - alone.wall, "ms")
        .note(format!(" (the program alone {:.1} ms)", alone.wall))
}

/// `model_run` jobs, one after another.
pub async fn model_runs(binary: &Path, program: &Replaying) -> Vec<Figure> {
    let mut stack = Stack::up(binary, &[("PANORAMA_CODEX_CLI", &program.command())]);
    let mut operator = Operator::of(&stack).await;
    let row = operator.model("codex", "Say hello.");
    // The first one waits until the CLI was looked at.
    operator.run(row.clone()).await;
    let alone = program.alone();
    let (daemon, plane) = (stack.daemon_pid().await, stack.plane_pid());
    let before = (process::cpu_with_children(daemon), process::cpu(plane));
    let mut walls = Vec::new();
    for _ in 0..RUNS {
        walls.push(ms(operator.run(row.clone()).await.1));
    }
    let per_run = |now: Duration, before: Duration| ms(now - before) / RUNS as f64;
    let cpu = per_run(process::cpu_with_children(daemon), before.0) - alone.cpu;
    let plane = per_run(process::cpu(plane), before.1);
    let wall = quantile(&mut walls, 0.5) - alone.wall;
    let p99 = quantile(&mut walls, 0.99) - alone.p99;
    let flood = flood(&mut stack, &mut operator).await;
    let at_most = Guard::AtMost(15.0);
    let wall = Figure::new("model run: insert to completed, beyond the CLI's own time", wall, "ms");
    let cpu = Figure::new("model run: the daemon's CPU beyond the CLI's own", cpu, "ms");
    vec![
        wall.note(format!(" (p99 {p99:.1} ms)")).guard(at_most),
        cpu.note(format!(" (control plane {plane:.1} ms)")).guard(at_most),
        flood,
    ]
}

/// Peak memory of a fresh daemon that reads 50 MB of an agent.
async fn flood(stack: &mut Stack, operator: &mut Operator) -> Figure {
    stack.end_daemon().await;
    stack.start_daemon().await;
    let row = operator.model("codex", "Say hello after a flood.");
    let (_, elapsed) = operator.run(row).await;
    let peak = process::memory_mb(stack.daemon_pid().await, "VmHWM");
    Figure::new("daemon, peak memory, an agent that prints 50 MB", peak, "MB")
        .note(format!(" (in {:.2} s)", elapsed.as_secs_f64()))
        .guard(Guard::AtMost(60.0))
}

struct Deaf;

impl Registrar for Deaf {
    fn register(&mut self, _: Begun) -> BoxFuture<'_, Result<(), Unregistered>> {
        Box::pin(ready(Ok(())))
    }
}

impl Observer for Deaf {
    fn planned(&mut self, _: &CommandLine) {}
    fn event(&mut self, _: RunEvent) {}
}

fn turn(command: &Path) -> Turn {
    Turn {
        provider: ProviderId::Codex,
        command: command.display().to_string(),
        features: Features::read(ProviderId::Codex, Some(HELP), None),
        version: Some("codex-cli 0.169.0".to_owned()),
        request: RunRequest::answer("Say hello."),
        place: vec!["runs".to_owned(), "bench".to_owned()],
        cwd: None,
        env: ChildEnv::exactly([("PATH".into(), "/usr/bin:/bin".into())]),
        mark: "bench".to_owned(),
        limits: Limits::within(Duration::from_secs(60)),
        retry: Retry::never(),
    }
}
