//! `gateway job list`.

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use serde_json::Value;

use crate::cli::args::JsonArg;
use crate::cli::context::Context;
use crate::cli::error::CliResult;
use crate::cli::exit::Exit;
use crate::cli::operator::{JobFilter, Operator};
use crate::cli::output::shortened;
use crate::cli::times::relative;
use crate::domain::job::JobStatus;

/// Characters of a command or an error, where no terminal says how many fit.
const LONGEST: usize = 48;

/// Options of `job list`.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Only jobs in this state
    #[arg(long, value_enum)]
    status: Option<StatusWord>,

    /// Only jobs of this gateway
    #[arg(long, value_name = "ID")]
    gateway: Option<String>,

    /// How many at most
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,

    #[command(flatten)]
    pub(crate) json: JsonArg,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum StatusWord {
    Queued,
    Running,
    Completed,
    Failed,
    Cancelled,
}

impl From<StatusWord> for JobStatus {
    fn from(word: StatusWord) -> Self {
        match word {
            StatusWord::Queued => Self::Queued,
            StatusWord::Running => Self::Running,
            StatusWord::Completed => Self::Completed,
            StatusWord::Failed => Self::Failed,
            StatusWord::Cancelled => Self::Cancelled,
        }
    }
}

pub(crate) async fn run(args: &ListArgs, cx: &Context) -> CliResult {
    let filter = JobFilter {
        status: args.status.map(JobStatus::from),
        gateway_id: args.gateway.as_deref(),
        limit: args.limit,
    };
    let operator = Operator::open(cx).await?;
    let rows = operator.jobs(&filter).await?;
    if args.json.json {
        cx.out.document(&rows)?;
    } else if rows.is_empty() {
        cx.out.line("No jobs.");
    } else {
        let now = operator.server_time();
        let lines: Vec<Vec<String>> = rows.iter().map(|row| cells(row, now)).collect();
        cx.out.table(&["JOB", "TYPE", "STATUS", "CREATED", "WHAT"], &lines);
    }
    Ok(Exit::OK)
}

fn cells(row: &Value, now: Timestamp) -> Vec<String> {
    let text = |key: &str| row.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let asked = |key: &str| row.pointer(key).and_then(Value::as_str);
    let subagent = || asked("/payload/subagent_id").map(|id| format!("subagent {id}"));
    let what = match text("error") {
        error if !error.is_empty() => error,
        _ => asked("/payload/command")
            .map(str::to_owned)
            .or_else(subagent)
            .unwrap_or_default(),
    };
    let what = what.split_whitespace().collect::<Vec<_>>().join(" ");
    vec![
        text("id"),
        text("job_type"),
        text("status"),
        relative(&text("created_at"), now),
        shortened(&what, LONGEST).into_owned(),
    ]
}
