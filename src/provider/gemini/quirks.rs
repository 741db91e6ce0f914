//! What has to be known of Gemini CLI and stands in none of its help texts. Measured on 0.61.0.
//!
//! It has no way to say "this is text": a prompt that begins with one of its commands runs the command (`/init` writes
//! a file), and `@path` in a prompt pulls a file of the workspace into it, a file of a similar name if there is none of
//! that name, and hands the task over if it names an agent.

use crate::provider::version::Version;

/// Names the MCP servers that are started; without it all of them are.
pub const SERVERS: &str = "--allowed-mcp-server-names";
/// No server is called that.
pub const NO_SERVER: &str = "no-server-of-the-owner";

/// First words of the commands of 0.61.
const COMMANDS: &[&str] = &[
    "about",
    "agents",
    "auth",
    "background",
    "bg",
    "bug",
    "bug-memory",
    "chat",
    "clear",
    "commands",
    "compact",
    "compress",
    "copy",
    "corgi",
    "dir",
    "directory",
    "docs",
    "editor",
    "exit",
    "export-session",
    "extensions",
    "footer",
    "gemma",
    "help",
    "hooks",
    "ide",
    "init",
    "mcp",
    "memory",
    "model",
    "new",
    "oncall",
    "permissions",
    "plan",
    "policies",
    "privacy",
    "profile",
    "quit",
    "restore",
    "resume",
    "rewind",
    "settings",
    "setup-github",
    "shortcuts",
    "skills",
    "stats",
    "statusline",
    "summarize",
    "tasks",
    "terminal-setup",
    "theme",
    "tools",
    "upgrade",
    "usage",
    "vim",
    "voice",
];
/// Agents that every installation has.
const AGENTS: &[&str] = &["browser_agent", "cli_help", "codebase_investigator", "generalist"];

/// Whether a prompt has to be sent behind a space, so that it is no command. Other versions have other commands, so
/// that every word behind a slash may be one there.
#[must_use]
pub fn is_command(prompt: &str, version: Option<&str>) -> bool {
    command_word(prompt).is_some_and(|word| !is_measured(version) || COMMANDS.contains(&word))
}

fn is_measured(version: Option<&str>) -> bool {
    let version = version.and_then(Version::find);
    version.is_some() && version >= Version::find("0.61.0") && version < Version::find("0.62.0")
}

/// The word that would be a command, if there were one of that name.
#[must_use]
pub fn command_word(prompt: &str) -> Option<&str> {
    let behind = prompt.strip_prefix('/').filter(|rest| !rest.starts_with(['/', '*']))?;
    behind.split_whitespace().next()
}

/// The agent that a prompt would be handed over to.
#[must_use]
pub fn named_agent(prompt: &str) -> Option<&'static str> {
    let agent = |path: &str| AGENTS.iter().find(|agent| **agent == path).copied();
    at_paths(prompt).find_map(agent)
}

/// What Gemini reads as a path behind an `@`, in order, escapes and quotes still in it.
pub fn at_paths(prompt: &str) -> impl Iterator<Item = &str> {
    let mut rest = prompt;
    let mut escaped = false;
    std::iter::from_fn(move || {
        loop {
            let at = rest.find('@')?;
            let before = rest.get(..at)?.chars().next_back();
            escaped = before.map_or(escaped, |c| c == '\\');
            let behind = rest.get(at + 1..)?;
            let length = if escaped { 0 } else { path_length(behind) };
            escaped = false;
            rest = behind.get(length..)?;
            if length > 0 {
                return behind.get(..length);
            }
        }
    })
}

/// Bytes of a text that belong to a path: quoted parts, escaped characters, and all but blanks and punctuation; a dot
/// belongs to it when no blank follows.
fn path_length(text: &str) -> usize {
    let mut length = 0;
    while let Some(part) = text.get(length..).map(path_part).filter(|part| *part > 0) {
        length += part;
    }
    length
}

fn path_part(text: &str) -> usize {
    const BLANK: [char; 4] = [' ', '\t', '\n', '\r'];
    let mut characters = text.chars();
    let Some(first) = characters.next() else {
        return 0;
    };
    let behind = characters.as_str();
    let next = characters.next();
    let ends = |c: char| BLANK.contains(&c);
    match first {
        '"' if behind.contains('"') => behind.find('"').map_or(1, |end| end + 2),
        '\\' if next.is_some_and(|c| !matches!(c, '\n' | '\r' | '\u{2028}' | '\u{2029}')) => {
            1 + next.map_or(0, char::len_utf8)
        }
        '.' if next.is_none_or(ends) => 0,
        ',' | ';' | '!' | '?' | '(' | ')' | '[' | ']' | '{' | '}' => 0,
        other if ends(other) => 0,
        other => other.len_utf8(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEASURED: Option<&str> = Some("0.61.0");

    fn paths(prompt: &str) -> Vec<&str> {
        at_paths(prompt).collect()
    }

    #[test]
    fn only_commands_are_sent_behind_a_space() {
        for (prompt, expected) in [
            ("/init", true),
            ("/quit now", true),
            ("/ help", true),
            ("/cost", false),
            ("/etc/passwd is broken", false),
            ("//init", false),
            ("/* init */", false),
            (" /init", false),
            ("init", false),
        ] {
            assert_eq!(is_command(prompt, MEASURED), expected, "{prompt}");
        }
        assert!(is_command("/cost", Some("0.62.1")));
        assert!(is_command("/cost", None));
    }

    #[test]
    fn paths_are_read_as_gemini_reads_them() {
        assert_eq!(
            paths("@a.txt. See me@example.com, @\"b c\"d and \\@no"),
            ["a.txt", "example.com", "\"b c\"d"]
        );
        assert_eq!(paths("@ @, @(x) @.\n@a\\ b @é"), ["a\\ b", "é"]);
        assert_eq!(paths("@a@b @\"open @\\"), ["a@b", "\"open", "\\"]);
        assert_eq!(paths(""), [""; 0]);
    }

    #[test]
    fn an_agent_is_found_by_its_name_alone() {
        assert_eq!(named_agent("ask @generalist, please"), Some("generalist"));
        assert_eq!(named_agent("ask @generalists"), None);
    }
}
