//! `gateway completions`.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::cli::args::Cli;
use crate::cli::error::CliResult;
use crate::cli::exit::Exit;
use crate::cli::output::Output;

/// Options of `completions`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  gateway completions bash > ~/.local/share/bash-completion/completions/gateway
  gateway completions zsh > ~/.zfunc/_gateway
  gateway completions fish > ~/.config/fish/completions/gateway.fish")]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(crate) fn run(args: &CompletionsArgs, out: &Output) -> CliResult {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "gateway", &mut script);
    out.raw_stdout(&script);
    Ok(Exit::OK)
}
