//! The spellings that a declarative parser cannot see: done on the words, before parsing.
//!
//! * a leading `--` (left by script runners) is dropped once;
//! * `pair --full-control yes CODE`: the next word is a value only if it is a boolean word;
//! * `--flag=true` and `--flag=false` for flags that otherwise take no value.

use std::ffi::OsString;

use clap::{ArgAction, Command};

/// Rewrites the words after the program name. Words after a later `--` stay as they are.
pub(crate) fn normalise(words: Vec<OsString>, parser: &Command) -> Vec<OsString> {
    let mut words = words.into_iter().peekable();
    words.next_if(|word| word == "--");
    let mut flags = own_flags(parser);
    let mut out: Vec<OsString> = Vec::new();
    let mut command: Option<String> = None;
    while let Some(word) = words.next() {
        let Some(text) = word.to_str() else {
            out.push(word);
            continue;
        };
        if text == "--" {
            out.push(word);
            out.extend(words);
            return out;
        }
        let after_option = out.last().is_some_and(|last| last.to_string_lossy().starts_with('-'));
        if text.is_empty() && !after_option {
            continue;
        }
        if text == "--full-control" && command.as_deref() == Some("pair") {
            let value = words.next_if(|next| next.to_str().and_then(boolean_word).is_some());
            out.push(full_control(value));
            continue;
        }
        if let Some((flag, on)) = assigned_flag(text, &flags) {
            out.retain(|word| *word != *flag);
            out.extend(on.then(|| OsString::from(flag)));
            continue;
        }
        if command.is_none()
            && let Some(chosen) = parser.find_subcommand(text)
        {
            command = Some(text.to_owned());
            flags.extend(all_flags(chosen));
        }
        out.push(word);
    }
    out
}

/// Reads the boolean words of the environment and of `--full-control`.
pub(crate) fn boolean_word(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Some(true),
        "0" | "false" | "no" | "off" => Some(false),
        _ => None,
    }
}

fn full_control(value: Option<OsString>) -> OsString {
    let mut word = OsString::from("--full-control=");
    word.push(value.unwrap_or_else(|| OsString::from("true")));
    word
}

fn assigned_flag(text: &str, flags: &[String]) -> Option<(String, bool)> {
    let (flag, value) = text.split_once('=')?;
    let on = boolean_word(value)?;
    flags.iter().any(|known| known == flag).then(|| (flag.to_owned(), on))
}

/// Long names of a command's flags without a value.
fn own_flags(command: &Command) -> Vec<String> {
    let switches = command
        .get_arguments()
        .filter(|arg| matches!(arg.get_action(), ArgAction::SetTrue));
    switches
        .filter_map(|arg| arg.get_long())
        .map(|long| format!("--{long}"))
        .collect()
}

/// The same, with those of its subcommands. One name may be a switch in one command and take a value in another.
fn all_flags(command: &Command) -> Vec<String> {
    let mut flags = own_flags(command);
    flags.extend(command.get_subcommands().flat_map(all_flags));
    flags
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::args::Cli;

    fn normal(words: &[&str]) -> Vec<String> {
        let words = words.iter().map(OsString::from).collect();
        normalise(words, &Cli::command())
            .into_iter()
            .map(|word| word.into_string().unwrap())
            .collect()
    }

    #[test]
    fn a_leading_separator_is_dropped_once() {
        assert_eq!(normal(&["--", "start"]), ["start"]);
        assert_eq!(normal(&["--", "--", "start"]), ["--", "start"]);
    }

    #[test]
    fn full_control_of_pair_takes_only_boolean_words() {
        for word in ["true", "1", "YES", "on", "false", "0", "no", "off"] {
            assert_eq!(
                normal(&["pair", "--full-control", word, "CODE"]),
                ["pair", &format!("--full-control={word}"), "CODE"]
            );
        }
        assert_eq!(
            normal(&["pair", "--force", "--full-control=off", "CODE"]),
            ["pair", "--force", "--full-control=off", "CODE"]
        );
        assert_eq!(
            normal(&["pair", "--full-control", "CODE"]),
            ["pair", "--full-control=true", "CODE"]
        );
        assert_eq!(
            normal(&["pair", "CODE", "--full-control"]),
            ["pair", "CODE", "--full-control=true"]
        );
    }

    #[test]
    fn assigned_flags_become_bare_and_the_last_wins() {
        assert_eq!(normal(&["start", "--foreground=true"]), ["start", "--foreground"]);
        assert_eq!(normal(&["start", "--foreground", "--foreground=no"]), ["start"]);
        assert_eq!(
            normal(&["start", "--foreground=maybe"]),
            ["start", "--foreground=maybe"]
        );
    }

    #[test]
    fn the_words_of_a_command_to_run_are_left_alone() {
        let words = ["exec", "--", "x", "--json=true", ""];
        assert_eq!(normal(&words), words);
    }

    #[test]
    fn empty_words_are_skipped_unless_they_are_a_value() {
        assert_eq!(normal(&["", "start", ""]), ["start"]);
        assert_eq!(normal(&["start", "--device-name", ""]), ["start", "--device-name", ""]);
    }
}
