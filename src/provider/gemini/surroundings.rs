//! What lies around a run of Gemini CLI and would change its prompt. This looks at files; plans do not.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::domain::run::{FailureKind, RunFailure};
use crate::provider::gemini::quirks;

/// A prompt with more different paths than this is not looked through.
const MAX_PATHS: usize = 4096;

/// Checks that a prompt reaches the model as it is: that nothing named in it by `@` exists in the working directory,
/// and that there is no command file of the name it begins with. `home` is the `.gemini` directory in use.
///
/// # Errors
/// The prompt would be changed. There is no way to escape it: a backslash would reach the model.
pub fn check(prompt: &str, workspace: &Path, home: &Path) -> Result<(), RunFailure> {
    let refuse = |why| Err(RunFailure::new(FailureKind::Request, why));
    if let Some(file) = command_file(prompt, workspace, home) {
        return refuse(format!(
            "Gemini would run its own command {} instead of the prompt",
            file.display()
        ));
    }
    let paths: BTreeSet<_> = quirks::at_paths(prompt).take(MAX_PATHS + 1).collect();
    if paths.len() > MAX_PATHS {
        return refuse("Gemini would look for a file behind every @ of the prompt, and there are too many".to_owned());
    }
    match paths.into_iter().find(|path| is_readable(path, workspace, home)) {
        Some(path) => refuse(format!(
            "Gemini would put the file {path} into the prompt, because of @{path}"
        )),
        None => Ok(()),
    }
}

/// The file behind a command that the owner or the workspace defines; `/git:log` lies in `git/log.toml`.
fn command_file(prompt: &str, workspace: &Path, home: &Path) -> Option<PathBuf> {
    let word = quirks::command_word(prompt)?;
    let name = format!("{}.toml", word.replace(':', "/"));
    let extensions = fs::read_dir(home.join("extensions")).into_iter().flatten().flatten();
    let places = extensions
        .map(|entry| entry.path())
        .chain([home.to_owned(), workspace.join(".gemini")]);
    places
        .map(|place| place.join("commands").join(&name))
        .find(|file| file.is_file())
}

/// Whether Gemini may read what the path names: inside the workspace, or its own notes.
fn is_readable(path: &str, workspace: &Path, home: &Path) -> bool {
    let path = path.replace(['"', '\\'], "");
    let below = |root: &Path, file: &Path| fs::canonicalize(root).is_ok_and(|root| file.starts_with(root));
    let agent = |place: PathBuf| place.join("agents").join(format!("{path}.md")).is_file();
    fs::canonicalize(workspace.join(&path)).is_ok_and(|file| below(workspace, &file) || below(home, &file))
        || agent(home.to_owned())
        || agent(workspace.join(".gemini"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    fn refusal(prompt: &str, dir: &TempDir) -> Option<String> {
        let home = dir.path().join("home");
        check(prompt, &dir.path().join("ws"), &home)
            .err()
            .map(|failure| failure.message)
    }

    #[test]
    fn what_would_change_the_prompt_is_named() {
        let dir = TempDir::new().unwrap();
        for path in ["ws/src", "ws/with space", "home/commands/git", "ws/.gemini/agents"] {
            fs::create_dir_all(dir.path().join(path)).unwrap();
        }
        for file in [
            "ws/src/main.rs",
            "home/commands/git/log.toml",
            "ws/.gemini/agents/pilot.md",
            "outside",
        ] {
            fs::File::options()
                .create(true)
                .append(true)
                .open(dir.path().join(file))
                .unwrap();
        }
        let inlined = |path: &str| {
            Some(format!(
                "Gemini would put the file {path} into the prompt, because of @{path}"
            ))
        };
        assert_eq!(refusal("see @src/main.rs!", &dir), inlined("src/main.rs"));
        assert_eq!(refusal("see @with\\ space", &dir), inlined("with\\ space"));
        assert_eq!(refusal("ask @pilot", &dir), inlined("pilot"));
        assert!(refusal("/git:log 3", &dir).is_some_and(|why| why.contains("git/log.toml")));
        for fine in [
            "@../outside",
            "@/etc/passwd",
            "me@example.com",
            "/git:push",
            "@main.rs",
            "",
        ] {
            assert_eq!(refusal(fine, &dir), None, "{fine}");
        }
    }
}
