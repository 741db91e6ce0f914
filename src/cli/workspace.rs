//! `gateway workspace`: where agents may work on this host.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use serde_json::json;

use crate::cli::args::JsonArg;
use crate::cli::context::Context;
use crate::cli::error::{CliError, CliResult};
use crate::cli::exit::Exit;
use crate::cli::output::Details;
use crate::domain::clock::wire_time;
use crate::state::own_directories::OwnDirectories;
use crate::state::workspaces::{WorkspaceError, Workspaces};

/// Options of `workspace`.
#[derive(Debug, Args)]
#[command(
    after_help = "An agent works in a directory of its own unless a run names another one (`gateway run --cwd DIR`). That one must lie \
in a directory that you allowed here, links resolved. A running gateway follows at once.

A directory of its own is kept as long as the control plane has the agent's subagent: until then the agent can be resumed, \
however its last turn ended. The running gateway asks at its start and once a day; a week after a subagent was first \
found missing its directory is removed. `prune` shows those that are missing, and removes them now.

This says where an agent starts. What it may do there is a matter of machine control: with full control it may do \
whatever your account may.

Examples:
  gateway workspace add ~/code
  gateway workspace list
  gateway workspace prune --dry-run
  gateway workspace remove ~/code"
)]
pub(crate) struct WorkspaceArgs {
    #[command(subcommand)]
    command: WorkspaceCommand,
}

#[derive(Debug, Subcommand)]
enum WorkspaceCommand {
    /// Allow a directory and everything below it
    Add {
        /// The directory
        #[arg(value_name = "DIR")]
        dir: PathBuf,
        #[command(flatten)]
        json: JsonArg,
    },
    /// List the allowed directories
    List {
        #[command(flatten)]
        json: JsonArg,
    },
    /// Remove directories of agents whose subagent is gone
    Prune {
        /// Show them and remove nothing
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        json: JsonArg,
    },
    /// Take a directory back; it is not deleted
    Remove {
        /// The directory
        #[arg(value_name = "DIR")]
        dir: PathBuf,
        #[command(flatten)]
        json: JsonArg,
    },
}

impl WorkspaceArgs {
    /// Whether a document is wanted.
    pub(crate) const fn json(&self) -> bool {
        match &self.command {
            WorkspaceCommand::Add { json, .. }
            | WorkspaceCommand::List { json }
            | WorkspaceCommand::Prune { json, .. }
            | WorkspaceCommand::Remove { json, .. } => json.json,
        }
    }
}

pub(crate) fn run(args: &WorkspaceArgs, cx: &Context) -> CliResult {
    let state = Arc::new(cx.state_dir()?);
    let workspaces = Workspaces::new(&state);
    match &args.command {
        WorkspaceCommand::Add { dir, json } => add(&workspaces, dir, json.json, cx),
        WorkspaceCommand::List { json } => list(&workspaces, json.json, cx),
        WorkspaceCommand::Prune { dry_run, json } => prune(&OwnDirectories::new(&state), *dry_run, json.json, cx),
        WorkspaceCommand::Remove { dir, json } => remove(&workspaces, dir, json.json, cx),
    }
}

fn add(workspaces: &Workspaces, dir: &Path, as_json: bool, cx: &Context) -> CliResult {
    let (real, is_new) = workspaces.add(dir)?;
    if real.parent().is_none() {
        let note = "agents may start anywhere but in the state directory";
        let details = Details::new()
            .add("Note", note)
            .add("Next", "gateway workspace remove /");
        cx.out.warn("That is every directory of this host.", &details);
    }
    if as_json {
        return list(workspaces, true, cx);
    }
    let shown = cx.out.path(&real);
    if is_new {
        cx.out.ok(&format!("Agents may work in {shown}"), &Details::new());
    } else {
        cx.out
            .info(&format!("Agents may work in {shown} already"), &Details::new());
    }
    Ok(Exit::OK)
}

fn list(workspaces: &Workspaces, as_json: bool, cx: &Context) -> CliResult {
    let roots = workspaces.list()?;
    if as_json {
        cx.out.document(&json!({"workspaces": roots}))?;
    } else if roots.is_empty() {
        cx.out.info(
            "Agents work in directories of their own only.",
            &Details::new().add("Next", "gateway workspace add DIR"),
        );
    } else {
        roots.iter().for_each(|root| cx.out.line(&root.display().to_string()));
    }
    Ok(Exit::OK)
}

fn prune(directories: &OwnDirectories, dry_run: bool, as_json: bool, cx: &Context) -> CliResult {
    let missing = directories.missing()?;
    for gone in missing.iter().filter(|_| !dry_run) {
        OwnDirectories::remove(gone).map_err(|error| {
            CliError::failed(format!("{} could not be removed.", cx.out.path(&gone.path))).detail(error.to_string())
        })?;
    }
    if as_json {
        cx.out.document(&json!({"removed": !dry_run, "directories": missing}))?;
        return Ok(Exit::OK);
    }
    let word = if dry_run { "Would be removed" } else { "Removed" };
    for gone in &missing {
        let path = cx.out.path(&gone.path);
        cx.out
            .line(&format!("{word}: {path}  (gone since {})", wire_time(gone.since)));
    }
    if missing.is_empty() {
        cx.out.info("No agent's directory is left over.", &Details::new());
    }
    Ok(Exit::OK)
}

fn remove(workspaces: &Workspaces, dir: &Path, as_json: bool, cx: &Context) -> CliResult {
    let full = std::path::absolute(dir).unwrap_or_else(|_no_current_dir| dir.to_path_buf());
    if !workspaces.remove(&full)? {
        let message = format!("{} was not allowed.", cx.out.path(&full));
        return Err(CliError::failed(message).hint("gateway workspace list"));
    }
    if as_json {
        return list(workspaces, true, cx);
    }
    let message = format!("Agents may not work in {} any more", cx.out.path(&full));
    cx.out.ok(&message, &Details::new());
    Ok(Exit::OK)
}

/// With a capital letter in front.
fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|first| first.to_uppercase().to_string());
    first.unwrap_or_default() + chars.as_str()
}

impl From<WorkspaceError> for CliError {
    fn from(error: WorkspaceError) -> Self {
        match error {
            WorkspaceError::Document(error) => Self::from(error),
            WorkspaceError::File(error) => Self::from(error),
            WorkspaceError::Missing { .. }
            | WorkspaceError::Relative(_)
            | WorkspaceError::NotAllowed(_)
            | WorkspaceError::OwnState(_)
            | WorkspaceError::Unspeakable(_)
            | WorkspaceError::Full => Self::failed(sentence(&error.to_string())),
        }
    }
}
