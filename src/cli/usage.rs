//! What is said about a command line that is none.

use clap::error::ErrorKind;

use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::output::{Color, Output};

/// Shows help, or what is wrong: in the parser's words, or as the document of every other error.
pub(crate) fn explain(error: &clap::Error, json: bool) -> Exit {
    if !error.use_stderr() || !json {
        // The reader of help may be gone already; there is no one left to tell.
        drop(error.print());
    } else {
        Output::new(false, Color::Never, None)
            .for_json(true)
            .error(&described(error));
    }
    if error.use_stderr() { Exit::USAGE } else { Exit::OK }
}

/// The first paragraph is what is wrong, the others say what would be right.
fn described(error: &clap::Error) -> CliError {
    let text = error.render().to_string();
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return CliError::usage("The command is not complete.").detail(text.trim());
    }
    let text = text.trim().trim_start_matches("error: ");
    let (wrong, right) = text.split_once("\n\n").unwrap_or((text, ""));
    CliError::usage(wrong).detail(right.trim())
}
