//! `gateway run`: a turn of an agent as a job, watched as it happens. It writes rows and watches them.

mod ask;
mod choose;
mod end;
mod live;
mod view;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::Value;
use tokio::signal::unix::{Signal, SignalKind};

use self::ask::Ask;
use self::end::End;
use self::live::Live;
use self::view::View;
use crate::cli::args::JsonArg;
use crate::cli::context::Context;
use crate::cli::duration;
use crate::cli::error::{CliError, CliResult};
use crate::cli::exit::Exit;
use crate::cli::interrupt::listen;
use crate::cli::operator::{Operator, StartedRun};
use crate::cli::output::Details;
use crate::cli::watcher;
use crate::provider::ProviderId;
use crate::state::last_run::{self, LastRun};

/// A turn's own bounds on the gateway.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_hours(4);
/// How long a cancelled run may take to end.
const CANCELLED_WITHIN: Duration = Duration::from_secs(10);
/// Why a run was cancelled by Ctrl-C.
const INTERRUPTED: &str = "Interrupted by the operator";

/// Options of `run`.
#[derive(Debug, Args)]
#[command(
    after_help = "What the agent says goes to stdout as it comes; tools, retries and the summary go to stderr. With --schema stdout holds \
the JSON answer alone, when the run has ended. With --json it holds one document: subagent_id, run_id, run_sequence, \
job_id, provider, resumed, status, content, content_type, error, session_id, model, usage, cost_usd, duration_ms, \
timed_out, retry_count.

An agent works in a directory of its own, which stays as long as its subagent; in another one only if the owner of the \
host allowed it (`gateway workspace add DIR`). It has harmless tools only: it runs no commands and writes nothing. With \
--full-control it may do what the gateway's account may, if all layers of machine control agree.

A prompt reaches its agent as it is, without the white space around it. Claude takes 10,000,000 bytes, Codex 1,048,576 \
characters, Gemini 8,388,608 bytes; a model may take less. NUL is refused.

A turn that goes on with a subagent keeps its model and its directory; everything else is as this command says.

Exit codes:
    0  the agent answered
    1  the run failed, or somebody else cancelled it
    4  the control plane cannot be reached
    5  no gateway took the run within 10 seconds; it was taken back
    6  refused by a layer of machine control
    7  no operator credential
  124  the run took longer than --timeout, or the agent said nothing for five minutes, for
       90 seconds where its model API refuses it
  130  interrupted; the run was cancelled

Examples:
  gateway run \"What is a semaphore?\"
  gateway run --resume \"And a mutex?\"
  gateway run --provider codex --full-control --cwd ~/code/app --timeout 10m \"Make the tests pass\"
  gateway run --schema answer.json \"List three risks\" | jq .risks
  git diff | gateway run -
  gateway run -- \"--help is what my users ask for most. Why?\""
)]
pub(crate) struct RunArgs {
    /// What to say to the agent; `-` reads it from stdin, where it may be longer than the 128 KiB of an argument
    #[arg(value_name = "PROMPT")]
    prompt: String,

    /// Which agent [default: one that is healthy; for JSON one that takes a schema]
    #[arg(long, value_enum, value_name = "NAME")]
    provider: Option<ProviderWord>,

    /// Model [default: the agent's own]
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,

    /// Answer with JSON of the schema in this file
    #[arg(long, value_name = "FILE")]
    schema: Option<PathBuf>,

    /// Go on with this subagent
    #[arg(long, value_name = "SUBAGENT_ID", conflicts_with = "resume")]
    session: Option<uuid::Uuid>,

    /// Go on with the subagent that this machine started or went on with last
    #[arg(long)]
    resume: bool,

    /// Directory on the gateway's host to work in; its owner must have allowed it
    #[arg(long, value_name = "DIR")]
    cwd: Option<PathBuf>,

    /// Ask for everything the gateway's account may do
    #[arg(long)]
    full_control: bool,

    /// Time limit, from 1s to 4h [default: 30m]
    #[arg(long, value_name = "DURATION", value_parser = limit)]
    timeout: Option<Duration>,

    /// The gateway that shall run it; needed when the team has several
    #[arg(long, value_name = "ID", conflicts_with_all = ["session", "resume"])]
    gateway: Option<String>,

    #[command(flatten)]
    pub(crate) json: JsonArg,
}

/// Agents by the names of their programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProviderWord {
    /// Claude Code
    #[value(alias = "claude_code")]
    Claude,
    /// Codex
    Codex,
    /// Gemini CLI
    Gemini,
}

impl ProviderWord {
    pub(crate) const fn id(self) -> ProviderId {
        match self {
            Self::Claude => ProviderId::ClaudeCode,
            Self::Codex => ProviderId::Codex,
            Self::Gemini => ProviderId::Gemini,
        }
    }
}

fn limit(text: &str) -> Result<Duration, String> {
    let limit = duration::parse(text)?;
    if (SHORTEST..=LONGEST).contains(&limit) {
        Ok(limit)
    } else {
        Err("a run may take from 1s to 4h".to_owned())
    }
}

pub(crate) async fn run(args: &RunArgs, cx: &Context) -> CliResult {
    let prompt = ask::prompt(&args.prompt)?;
    let schema = args.schema.as_deref().map(ask::schema).transpose()?;
    let operator = Operator::open(cx).await?;
    let ask = ask::plan(args, prompt, schema, &operator, cx).await?;
    // From here on Ctrl-C does not end this process by itself: it would leave the run behind.
    let mut interrupts = listen(SignalKind::interrupt())?;
    let started = operator.start_run(&ask.body).await?;
    remember(&operator, &started, cx);
    announce(&ask, &started, cx);
    let watching = !cx.out.is_json();
    let speaks = args.schema.is_none();
    let mut live = Live::new(&started.run_id, watching.then(|| View::new(&cx.out, speaks)));
    let job = tokio::select! {
        job = watcher::follow(&operator, &started.job_id, ask.limit, &mut live) => Some(job?),
        _interrupted = interrupts.recv() => None,
    };
    let interrupted = job.is_none();
    let job = match job {
        Some(job) => job,
        None => cancel(&operator, &ask, &started, &mut live, &mut interrupts).await?,
    };
    let run = operator.run_row(&started.run_id).await?;
    let end = End {
        ask: &ask,
        started: &started,
        job: &job,
        run: &run,
    };
    let shown = end.show(live.view, &cx.out);
    if interrupted {
        return Err(CliError::with(Exit::INTERRUPTED, "Interrupted; the run was cancelled."));
    }
    shown
}

/// Ends the run and waits until it has ended; another Ctrl-C leaves it to its gateway.
async fn cancel(
    operator: &Operator,
    ask: &Ask,
    started: &StartedRun,
    live: &mut Live<'_>,
    interrupts: &mut Signal,
) -> Result<Value, CliError> {
    let left = |why: &str| CliError::with(Exit::INTERRUPTED, why).hint(format!("gateway job watch {}", started.job_id));
    if operator.withdraw_run(&started.job_id, INTERRUPTED).await? {
        return operator.job(&started.job_id, "*").await;
    }
    operator.cancel_run(&ask.gateway_id, started, INTERRUPTED).await?;
    tokio::select! {
        job = watcher::follow(operator, &started.job_id, CANCELLED_WITHIN, live) => job,
        () = tokio::time::sleep(CANCELLED_WITHIN) => Err(left("Interrupted; the gateway was asked to cancel the run and has not done so yet.")),
        _again = interrupts.recv() => Err(left("Interrupted again; the gateway goes on cancelling the run.")),
    }
}

/// The next turn needs no id then. A run that is under way is not given up for it.
fn remember(operator: &Operator, started: &StartedRun, cx: &Context) {
    let last = LastRun {
        url: operator.url().to_owned(),
        subagent_id: started.subagent_id.clone(),
    };
    let saved = cx.state_dir().and_then(|dir| Ok(last_run::save(&dir, &last)?));
    if let Err(error) = saved {
        let details = Details::new().maybe("Details", error.detail);
        cx.out.warn("`--resume` will not know this run.", &details);
    }
}

fn announce(ask: &Ask, started: &StartedRun, cx: &Context) {
    let label = ask.provider.label();
    let subagent = &started.subagent_id;
    if ask.resumed {
        let sequence = started.run_sequence;
        cx.out.aside(&format!(
            "Going on with {label}, turn {sequence} of subagent {subagent}"
        ));
    } else {
        cx.out.progress(&format!("{label}, subagent {subagent}"));
    }
}
