//! `gateway control-plane resource`: remote shells and the resource layer of machine control.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::Value;

use crate::cli::args::JsonArg;
use crate::cli::context::Context;
use crate::cli::control_plane::gateway::{cell, print_rows};
use crate::cli::control_plane::{DatabaseArg, on_off, values};
use crate::cli::error::{CliError, CliResult};
use crate::cli::exit::Exit;
use crate::cli::output::Details;

/// Options of `resource`.
#[derive(Debug, Args)]
#[command(
    after_help = "A command needs a remote_shell resource of its gateway with access above viewer and machine control on. Pairing makes \
one with machine control off.

Examples:
  gateway control-plane resource list
  gateway control-plane resource full-control ID on
  gateway control-plane resource create --gateway ID --full-control on"
)]
pub(crate) struct ResourceArgs {
    #[command(flatten)]
    database: DatabaseArg,

    #[command(subcommand)]
    command: ResourceCommand,
}

#[derive(Debug, Subcommand)]
enum ResourceCommand {
    /// Make a remote shell of a gateway
    Create {
        /// The gateway
        #[arg(long, value_name = "ID")]
        gateway: String,
        /// The most that anybody may do with it
        #[arg(long, value_enum, default_value_t)]
        access: Access,
        /// Machine control: on or off
        #[arg(long, value_name = "on|off", value_parser = on_off, default_value = "off", action = clap::ArgAction::Set)]
        full_control: bool,
        #[command(flatten)]
        json: JsonArg,
    },
    /// List remote shells
    List {
        #[command(flatten)]
        json: JsonArg,
    },
    /// Switch the resource layer of machine control
    FullControl {
        /// Its id, from `resource list`
        #[arg(value_name = "ID")]
        id: String,
        /// on or off
        #[arg(value_name = "on|off", value_parser = on_off, action = clap::ArgAction::Set)]
        on: bool,
    },
    /// Remove a resource; jobs that name it are refused from then on
    Revoke {
        /// Its id, from `resource list`
        #[arg(value_name = "ID")]
        id: String,
    },
}

/// Access level of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Access {
    /// Look only: commands are refused
    Viewer,
    /// Run commands
    #[default]
    Full,
}

impl Access {
    const fn word(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Full => "full",
        }
    }
}

impl ResourceArgs {
    pub(crate) const fn json(&self) -> bool {
        match &self.command {
            ResourceCommand::Create { json, .. } | ResourceCommand::List { json } => json.json,
            ResourceCommand::Revoke { .. } | ResourceCommand::FullControl { .. } => false,
        }
    }
}

pub(crate) async fn run(args: &ResourceArgs, cx: &Context) -> CliResult {
    let admin = args.database.open(cx).await?;
    match &args.command {
        ResourceCommand::Create {
            gateway,
            access,
            full_control,
            json,
        } => {
            let row = admin.create_resource(gateway, access.word(), *full_control).await?;
            created(&values(&[row])?, json.json, cx)?;
        }
        ResourceCommand::FullControl { id, on } => {
            admin.set_machine_control(id, *on).await?;
            let word = if *on { "enabled" } else { "disabled" };
            cx.out.ok(
                &format!("Resource layer of machine control {word}"),
                &Details::new().add("ID", id),
            );
        }
        ResourceCommand::List { json } => list(&values(&admin.resources().await?)?, json.json, cx)?,
        ResourceCommand::Revoke { id } => {
            admin.revoke_resource(id).await?;
            cx.out.ok("Resource revoked", &Details::new().add("ID", id));
        }
    }
    Ok(Exit::OK)
}

fn created(rows: &[Value], as_json: bool, cx: &Context) -> Result<(), CliError> {
    for row in rows {
        if as_json {
            cx.out.document(row)?;
        } else {
            cx.out
                .ok("Resource created", &Details::new().add("ID", cell(row, "id")));
        }
    }
    Ok(())
}

fn list(rows: &[Value], as_json: bool, cx: &Context) -> Result<(), CliError> {
    if as_json {
        return cx.out.document(&rows);
    }
    let flat: Vec<Value> = rows.iter().map(flattened).collect();
    let columns = [
        ("RESOURCE", "id"),
        ("ACCESS", "access"),
        ("CONTROL", "machine_control"),
        ("GATEWAY", "gateway"),
        ("NAME", "name"),
    ];
    print_rows(&flat, &columns, "No remote shells.", cx);
    Ok(())
}

fn flattened(row: &Value) -> Value {
    let metadata = |key: &str| row.pointer(&format!("/metadata/{key}")).cloned();
    let on = metadata("full_control") == Some(Value::Bool(true));
    serde_json::json!({
        "id": row.get("id"), "name": row.get("display_name"), "access": row.get("max_access_level"),
        "machine_control": on, "gateway": metadata("gateway_id"),
    })
}
