//! The policy file that takes tools away from a run.

use crate::provider::argument::toml_string;
use crate::provider::request::{Access, RunRequest};

/// Tools that change something on this host.
const CHANGING: &[&str] = &["run_shell_command", "write_file", "replace"];
/// The tool with which Gemini looks for files of a similar name behind an `@`.
const LOOK_FOR_NAMES: &str = "glob";

/// The file's text; none when nothing is taken away. `at_path`: something in the prompt looks like a file's name.
pub(crate) fn policy(request: &RunRequest, at_path: bool) -> Option<String> {
    let mut denied: Vec<&str> = match request.access {
        Access::Answer => vec!["*"],
        Access::Restricted => CHANGING.to_vec(),
        Access::Full => Vec::new(),
    };
    if request.access != Access::Answer {
        denied.extend(request.tools.disallowed.iter().map(String::as_str));
        denied.extend(at_path.then_some(LOOK_FOR_NAMES));
    }
    (!denied.is_empty()).then(|| denied.into_iter().map(rule).collect())
}

fn rule(tool: &str) -> String {
    let tool = toml_string(tool);
    format!("[[rule]]\ntoolName = {tool}\ndecision = \"deny\"\npriority = 999\n")
}
