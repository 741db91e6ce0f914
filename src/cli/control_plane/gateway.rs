//! `gateway control-plane gateway`: the team's gateways and the team layer of machine control.

use clap::{Args, Subcommand};
use serde_json::Value;

use crate::cli::args::JsonArg;
use crate::cli::context::Context;
use crate::cli::control_plane::{DatabaseArg, on_off, values};
use crate::cli::error::{CliError, CliResult};
use crate::cli::exit::Exit;
use crate::cli::output::Details;
use crate::cli::status::enabled;
use crate::cli::times::{relative, to_the_second};
use crate::control_plane::admin::GatewayInfo;
use crate::domain::clock;

/// Options of `gateway`.
#[derive(Debug, Args)]
pub(crate) struct GatewayArgs {
    #[command(flatten)]
    database: DatabaseArg,

    #[command(subcommand)]
    command: GatewayCommand,
}

#[derive(Debug, Subcommand)]
enum GatewayCommand {
    /// List gateways
    List {
        #[command(flatten)]
        json: JsonArg,
    },
    /// Show one gateway
    Show {
        /// The gateway
        #[arg(value_name = "ID")]
        id: String,
        #[command(flatten)]
        json: JsonArg,
    },
    /// Switch the team layer of machine control
    FullControl {
        /// The gateway
        #[arg(value_name = "ID")]
        id: String,
        /// on or off
        #[arg(value_name = "on|off", value_parser = on_off, action = clap::ArgAction::Set)]
        on: bool,
    },
    /// Take a gateway out of the team: its sessions end, its unfinished jobs are cancelled
    Remove {
        /// The gateway
        #[arg(value_name = "ID")]
        id: String,
    },
}

impl GatewayArgs {
    pub(crate) const fn json(&self) -> bool {
        match &self.command {
            GatewayCommand::List { json } | GatewayCommand::Show { json, .. } => json.json,
            GatewayCommand::FullControl { .. } | GatewayCommand::Remove { .. } => false,
        }
    }
}

/// Columns of a list, the one of any length last.
const COLUMNS: &[(&str, &str)] = &[
    ("GATEWAY", "id"),
    ("STATUS", "status"),
    ("CONTROL", "full_control_enabled"),
    ("SEEN", "last_seen_at"),
    ("DEVICE", "device_name"),
];

pub(crate) async fn run(args: &GatewayArgs, cx: &Context) -> CliResult {
    let admin = args.database.open(cx).await?;
    match &args.command {
        GatewayCommand::List { json } => {
            let rows = effective(&admin.gateways().await?)?;
            if json.json {
                cx.out.document(&rows)?;
            } else {
                print_rows(&rows, COLUMNS, "No gateways.", cx);
            }
        }
        GatewayCommand::Show { id, json } => {
            for row in effective(&[admin.gateway(id).await?])? {
                if json.json {
                    cx.out.document(&row)?;
                } else {
                    show(&row, cx);
                }
            }
        }
        GatewayCommand::Remove { id } => {
            admin.remove_gateway(id).await?;
            cx.out.ok("Gateway removed", &Details::new().add("Gateway", id));
        }
        GatewayCommand::FullControl { id, on } => {
            admin.set_full_control(id, *on).await?;
            let word = if *on { "enabled" } else { "disabled" };
            cx.out.ok(
                &format!("Team layer of machine control {word}"),
                &Details::new().add("Gateway", id),
            );
        }
    }
    Ok(Exit::OK)
}

fn show(row: &Value, cx: &Context) {
    let on = row.get("full_control_enabled") == Some(&Value::Bool(true));
    let details = Details::new()
        .add("Device", cell(row, "device_name"))
        .add("Status", cell(row, "status"))
        .add("Last seen", cell(row, "last_seen_at"))
        .add("Team layer of machine control", enabled(on))
        .add("Team ID", cell(row, "team_id"));
    cx.out.heading(&format!("Gateway {}", cell(row, "id")), &details);
}

/// Rows with the status that a person should see.
fn effective(gateways: &[GatewayInfo]) -> Result<Vec<Value>, CliError> {
    let now = clock::now();
    let mut rows = values(gateways)?;
    for (row, gateway) in rows.iter_mut().zip(gateways) {
        if let Some(columns) = row.as_object_mut() {
            columns.insert("status".to_owned(), Value::from(gateway.effective_status(now)));
        }
    }
    Ok(rows)
}

/// A row's column for people; null is a dash.
pub(crate) fn cell(row: &Value, column: &str) -> String {
    match row.get(column) {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) if column.ends_with("_at") => to_the_second(text),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Bool(on)) => if *on { "on" } else { "off" }.to_owned(),
        Some(other @ (Value::Number(_) | Value::Array(_) | Value::Object(_))) => other.to_string(),
    }
}

/// Rows as a table of these headings and columns; `none` where there are none.
pub(crate) fn print_rows(rows: &[Value], columns: &[(&str, &str)], none: &str, cx: &Context) {
    if rows.is_empty() {
        cx.out.line(none);
        return;
    }
    let now = clock::now();
    let in_list = |row: &Value, column: &str| {
        let shown = cell(row, column);
        if column.ends_with("_at") {
            relative(&shown, now)
        } else {
            shown
        }
    };
    let head: Vec<&str> = columns.iter().map(|(heading, _)| *heading).collect();
    let line = |row: &Value| columns.iter().map(|(_, column)| in_list(row, column)).collect();
    let lines: Vec<Vec<String>> = rows.iter().map(line).collect();
    cx.out.table(&head, &lines);
}
