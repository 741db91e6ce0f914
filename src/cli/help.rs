//! `gateway help`: a command's long help, or a topic.

use clap::{Args, CommandFactory as _};

use crate::cli::args::Cli;
use crate::cli::error::{CliError, CliResult};
use crate::cli::exit::{self, Exit};
use crate::cli::output::Output;
use crate::cli::texts;

/// Options of `help`.
#[derive(Debug, Args)]
#[command(after_help = "Topics: examples, environment, exit-codes")]
pub(crate) struct HelpArgs {
    /// A command (also of two words, such as `job submit`) or a topic
    #[arg(value_name = "COMMAND|TOPIC")]
    words: Vec<String>,
}

pub(crate) fn run(args: &HelpArgs, out: &Output) -> CliResult {
    let text = match args.words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["examples"] => texts::EXAMPLES.to_owned(),
        ["environment"] => texts::ENVIRONMENT.to_owned(),
        ["exit-codes"] => exit::table_text(),
        words => of_command(words)?,
    };
    out.line(text.trim_end());
    Ok(Exit::OK)
}

/// What `gateway` alone says.
pub(crate) fn overview(out: &Output) -> CliResult {
    out.line(of_command(&[])?.trim_end());
    Ok(Exit::OK)
}

fn of_command(words: &[&str]) -> Result<String, CliError> {
    let mut root = Cli::command();
    root.build();
    let mut command = &mut root;
    for word in words {
        command = command.find_subcommand_mut(word).ok_or_else(|| {
            CliError::usage(format!("There is no command or topic `{word}`.")).hint(format!(
                "`gateway help` lists the commands; topics are {}",
                texts::TOPICS.join(", ")
            ))
        })?;
    }
    Ok(command.render_long_help().ansi().to_string())
}
