//! The whole journey, measured from outside: the release binary as two processes, and an operator who writes rows.
//!
//! ```text
//! cargo build --release && cargo bench --bench journey [-- --check] [-- --binary PATH]
//! ```
//!
//! Linux only: memory and CPU come from `/proc`. Times are this process's monotonic clock; "claimed" and "completed" are
//! when the control plane's Realtime message arrived here, so its own share and the loopback are in every figure.
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unused_result_ok,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    unreachable_pub,
    reason = "a measuring tool: what goes wrong ends it, and what it says is printed"
)]

mod journal;
#[expect(dead_code, reason = "other measurements need more of it")]
#[path = "../support/mod.rs"]
mod support;

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::figures::{self, Figure, Guard, quantile};
use support::operator::Operator;
use support::process;
use support::stack::{self, Stack};

const STARTS: usize = 7;
const JOBS: usize = 200;
const BACKLOG: usize = 500;
/// 100 MB of text.
const LOUD: &str = "yes 'the quick brown fox jumps over the lazy dog' | head -c 100000000";

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let figures = runtime.unwrap().block_on(journey(&stack::binary()));
    figures::report(&figures)
}

async fn journey(binary: &Path) -> Vec<Figure> {
    let mut all = Vec::new();
    let mut stack = Stack::up(binary, &[]);
    starts(&mut stack, &mut all).await;
    idle(&stack, &mut all).await;
    let mut operator = Operator::of(&stack).await;
    let row = operator.diagnostic();
    latency(
        &mut operator,
        &row,
        ["diagnostic: insert to claimed", "diagnostic: insert to completed"],
        &mut all,
    )
    .await;
    let row = operator.shell("true");
    latency(
        &mut operator,
        &row,
        ["`true`: insert to claimed", "`true`: insert to completed"],
        &mut all,
    )
    .await;
    pushed(&stack, &mut operator, &mut all).await;
    polled(&mut stack, &mut operator, &mut all).await;
    let one = loud_jobs(&mut stack, &mut operator, 1).await;
    all.push(Figure::new("daemon, peak memory, one output of 100 MB", one, "MB").guard(Guard::AtMost(60.0)));
    let ten = loud_jobs(&mut stack, &mut operator, 10).await;
    all.push(Figure::new(
        "daemon, peak memory, ten outputs of 100 MB at once",
        ten,
        "MB",
    ));
    journal::journal(&mut all).await;
    let size = std::fs::metadata(binary).expect("a binary").len() as f64 / 1e6;
    all.push(Figure::new("binary", size, "MB").guard(Guard::AtMost(20.0)));
    all
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

async fn starts(stack: &mut Stack, all: &mut Vec<Figure>) {
    let (mut heartbeat, mut subscribed) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        stack.end_daemon().await;
        let start = stack.start_daemon().await;
        heartbeat.push(ms(start.first_heartbeat));
        subscribed.push(ms(start.subscribed));
    }
    let figure = Figure::new("start to first heartbeat", quantile(&mut heartbeat, 0.5), "ms");
    all.push(figure.guard(Guard::AtMost(60.0)));
    all.push(Figure::new("start to subscribed", quantile(&mut subscribed, 0.5), "ms"));
}

async fn idle(stack: &Stack, all: &mut Vec<Figure>) {
    // Long enough for the first heartbeat, reconcile and probes to be over.
    tokio::time::sleep(Duration::from_secs(8)).await;
    let daemon = process::memory_mb(stack.daemon_pid().await, "VmRSS");
    let plane = process::memory_mb(stack.plane_pid(), "VmRSS");
    all.push(Figure::new("daemon, idle RSS", daemon, "MB").guard(Guard::AtMost(20.0)));
    all.push(Figure::new("control plane, idle RSS", plane, "MB"));
}

async fn latency(operator: &mut Operator, row: &Value, names: [&'static str; 2], all: &mut Vec<Figure>) {
    let (mut claimed, mut completed) = (Vec::new(), Vec::new());
    for _ in 0..JOBS {
        let (to_claimed, to_completed) = operator.run(row.clone()).await;
        claimed.push(ms(to_claimed));
        completed.push(ms(to_completed));
    }
    for (name, mut values) in names.into_iter().zip([claimed, completed]) {
        let p99 = quantile(&mut values, 0.99);
        let median = quantile(&mut values, 0.5);
        all.push(Figure::new(name, median, "ms").note(format!(" (p99 {p99:.1} ms)")));
    }
}

/// All jobs arrive while the daemon listens.
async fn pushed(stack: &Stack, operator: &mut Operator, all: &mut Vec<Figure>) {
    let (daemon, plane) = (stack.daemon_pid().await, stack.plane_pid());
    let before = (process::cpu(daemon), process::cpu(plane));
    let rows = vec![operator.shell("true"); BACKLOG];
    let begun = Instant::now();
    operator.run_all(rows).await;
    let elapsed = begun.elapsed().as_secs_f64();
    let per_job = |now: Duration, before: Duration| ms(now - before) / BACKLOG as f64;
    let daemon_cpu = per_job(process::cpu(daemon), before.0);
    let plane_cpu = per_job(process::cpu(plane), before.1);
    all.push(Figure::new(
        "500 pushed jobs, 10 at once",
        BACKLOG as f64 / elapsed,
        "jobs/s",
    ));
    all.push(Figure::new("daemon, own CPU per job", daemon_cpu, "ms").guard(Guard::AtMost(1.6)));
    all.push(Figure::new("control plane, CPU per job", plane_cpu, "ms"));
}

/// All jobs wait before the daemon starts.
async fn polled(stack: &mut Stack, operator: &mut Operator, all: &mut Vec<Figure>) {
    stack.end_daemon().await;
    let ids = operator.insert(&vec![operator.shell("true"); BACKLOG]).await;
    stack.start_daemon().await;
    let seen = operator.all_finished(&ids).await;
    let first = seen.values().filter_map(|steps| steps.claimed).min().expect("claims");
    let last = seen.values().filter_map(|steps| steps.finished).max().expect("ends");
    let rate = BACKLOG as f64 / last.duration_since(first).as_secs_f64();
    all.push(Figure::new("500 queued jobs, 10 at once", rate, "jobs/s").guard(Guard::AtLeast(250.0)));
}

/// Peak memory of a fresh daemon after so many loud jobs at once.
async fn loud_jobs(stack: &mut Stack, operator: &mut Operator, count: usize) -> f64 {
    stack.end_daemon().await;
    stack.start_daemon().await;
    operator.run_all(vec![operator.shell(LOUD); count]).await;
    process::memory_mb(stack.daemon_pid().await, "VmHWM")
}
