//! `gateway providers`: agent CLIs of this host, and what its owner sets for them.

mod examine;
mod list;
mod set;
mod shown;
mod telling;

use clap::{Args, Subcommand};

use crate::cli::context::Context;
use crate::cli::error::CliResult;

pub(crate) use self::examine::{Depth, Examined, examine, examine_and_print};
pub(crate) use self::list::doctor_lines;

/// Options of `providers`.
#[derive(Debug, Args)]
#[command(
    after_help = "Without settings a CLI runs with your own login. With an address or a key of a model API it gets a home of its own in \
the state directory, and your login is neither used nor changed. A running gateway follows: settings are read for every \
run, another command is found within seconds.

Examples:
  gateway providers list
  gateway providers set codex --command ~/bin/codex
  gateway providers set claude --base-url http://127.0.0.1:8080 --key-file key
  gateway providers set claude --allow-root
  gateway providers unset claude"
)]
pub(crate) struct ProvidersArgs {
    #[command(subcommand)]
    command: ProvidersCommand,
}

#[derive(Debug, Subcommand)]
enum ProvidersCommand {
    /// Show what is installed, how it is, what it can do and what is set for it
    List(list::ListArgs),
    /// Set what is named; the rest stays
    Set(set::SetArgs),
    /// Forget everything that was set, and use your own login again
    Unset(set::UnsetArgs),
}

impl ProvidersArgs {
    /// Whether a document is wanted.
    pub(crate) const fn json(&self) -> bool {
        match &self.command {
            ProvidersCommand::List(args) => args.json.json,
            ProvidersCommand::Set(args) => args.json.json,
            ProvidersCommand::Unset(args) => args.json.json,
        }
    }
}

pub(crate) async fn run(args: &ProvidersArgs, cx: &Context) -> CliResult {
    match &args.command {
        ProvidersCommand::List(args) => list::run(args, cx).await,
        ProvidersCommand::Set(args) => set::run(args, cx),
        ProvidersCommand::Unset(args) => set::unset(args, cx),
    }
}
