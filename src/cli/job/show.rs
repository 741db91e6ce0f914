//! `gateway job show`: the way a job came, and every step with its time.

use clap::Args;
use jiff::Timestamp;
use serde_json::Value;

use crate::cli::args::JsonArg;
use crate::cli::context::Context;
use crate::cli::error::CliResult;
use crate::cli::exit::Exit;
use crate::cli::operator::Operator;
use crate::cli::output::Details;
use crate::cli::refusal;
use crate::cli::times::to_the_millisecond;

/// Options of `job show`.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The job
    #[arg(value_name = "ID", value_parser = super::job_id)]
    id: String,

    #[command(flatten)]
    pub(crate) json: JsonArg,
}

pub(crate) async fn run(args: &ShowArgs, cx: &Context) -> CliResult {
    let row = Operator::open(cx).await?.job(&args.id, "*").await?;
    if args.json.json {
        cx.out.document(&row)?;
    } else {
        print(&row, cx);
    }
    Ok(Exit::OK)
}

fn text<'a>(row: &'a Value, pointer: &str) -> Option<&'a str> {
    row.pointer(pointer).and_then(Value::as_str)
}

fn print(row: &Value, cx: &Context) {
    let exit_code = row.pointer("/result/exit_code").and_then(Value::as_i64);
    let refusal = refusal::of_row(row);
    let details = Details::new()
        .maybe("Type", text(row, "/job_type"))
        .maybe("Status", text(row, "/status"))
        .maybe("Gateway", text(row, "/gateway_id"))
        .maybe("Requested via", text(row, "/requested_via"))
        .maybe("Command", text(row, "/payload/command"))
        .maybe("Exit code", exit_code)
        .maybe("Message", text(row, "/result/message"))
        .maybe("Error", text(row, "/error"))
        .maybe("Refused by", refusal.as_ref().map(|refusal| refusal.layer.name()))
        .maybe("Next", refusal.as_ref().map(|refusal| refusal.next.as_str()))
        .maybe("Ingress", ingress(row));
    let id = text(row, "/id").unwrap_or_default();
    cx.out.heading(&format!("Job {id}"), &details);
    cx.out.table(&["STEP", "TIME", "AFTER", "CLOCK"], &steps(row));
}

/// `push` or `poll`: written by the gateway when it took the job.
fn ingress(row: &Value) -> Option<&str> {
    text(row, "/debug/ingress")
}

/// Every transition in the order it happens; the clock column says who wrote the time.
fn steps(row: &Value) -> Vec<Vec<String>> {
    const STEPS: &[(&str, &str, &str)] = &[
        ("created", "/created_at", "control plane"),
        ("received", "/debug/received_at", "gateway"),
        ("claimed", "/started_at", "gateway"),
        ("claim confirmed", "/debug/claimed_at", "gateway"),
        ("process started", "/debug/started_at", "gateway"),
        ("finished", "/debug/finished_at", "gateway"),
        ("completed", "/completed_at", "gateway"),
        ("last change", "/updated_at", "control plane"),
    ];
    STEPS
        .iter()
        .filter_map(|(step, pointer, clock)| {
            let time = text(row, pointer)?;
            Some(vec![
                (*step).to_owned(),
                to_the_millisecond(time),
                since(row, time),
                (*clock).to_owned(),
            ])
        })
        .collect()
}

/// Time since the job was created. Two clocks are compared, so that it may be a little below zero.
fn since(row: &Value, time: &str) -> String {
    let created: Option<Timestamp> = text(row, "/created_at").and_then(|time| time.parse().ok());
    match (created, time.parse::<Timestamp>()) {
        (Some(created), Ok(time)) => format!("{} ms", time.duration_since(created).as_millis()),
        (Some(_) | None, _) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn steps_and_ingress_come_from_the_row_and_its_debug_column() {
        let row = json!({
            "created_at": "t0", "started_at": "t2", "completed_at": null,
            "debug": {"ingress": "push", "received_at": "t1"},
        });
        assert_eq!(ingress(&row), Some("push"));
        let steps: Vec<_> = steps(&row).into_iter().map(|step| step.join(" ")).collect();
        assert_eq!(
            steps,
            [
                "created t0  control plane",
                "received t1  gateway",
                "claimed t2  gateway"
            ]
        );
    }
}
