//! What the gateway adds to a run of an agent, and how fast it reads one.
//!
//! ```text
//! cargo build --release && cargo bench --bench agent [-- --check] [-- --binary PATH]
//! ```
//!
//! Linux only. On a busy machine `chrt -r 1` before the built program, as root, keeps others out. The agent is a
//! program that replays an answer at once: all that is left is the gateway's.
#![expect(
    clippy::expect_used,
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

mod parsing;
mod runs;
mod streams;
#[expect(dead_code, reason = "other measurements need more of it")]
#[path = "../support/mod.rs"]
mod support;

use std::path::Path;
use std::process::ExitCode;

use runs::Replaying;
use support::figures::{self, Figure};
use support::stack;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let mut figures = runtime.expect("a runtime").block_on(runs(&stack::binary()));
    figures.extend(parsing::figures());
    figures::report(&figures)
}

async fn runs(binary: &Path) -> Vec<Figure> {
    let program = Replaying::new();
    let runner = runs::runner(&program).await;
    let mut figures = runs::model_runs(binary, &program).await;
    figures.insert(0, runner);
    figures
}
