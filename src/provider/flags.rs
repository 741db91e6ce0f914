//! Which flags a provider's help text gives away: tables of wire name and the texts that prove it.

use std::collections::{BTreeMap, BTreeSet};

use crate::provider::ProviderId;

/// A wire name, and the texts of which one must occur in the lower-cased help.
type Flag = (&'static str, &'static [&'static str]);

const CLAUDE: &[Flag] = &[
    ("toolsFlag", &["--tools"]),
    ("allowedToolsFlag", &["--allowedtools", "--allowed-tools"]),
    ("disallowedToolsFlag", &["--disallowedtools", "--disallowed-tools"]),
    ("outputFormatFlag", &["--output-format"]),
    ("streamJsonFlag", &["stream-json"]),
    ("modelFlag", &["--model"]),
    ("jsonSchemaFlag", &["--json-schema"]),
    ("appendSystemPromptFlag", &["--append-system-prompt"]),
    ("systemPromptFlag", &["--system-prompt"]),
    ("includePartialMessagesFlag", &["--include-partial-messages"]),
    ("permissionModeFlag", &["--permission-mode"]),
    ("maxBudgetFlag", &["--max-budget-usd"]),
    ("inputFormatFlag", &["--input-format"]),
    ("betasFlag", &["--betas"]),
    ("noSessionPersistenceFlag", &["--no-session-persistence"]),
    ("sessionIdFlag", &["--session-id"]),
    ("resumeFlag", &["--resume"]),
    ("verboseFlag", &["--verbose"]),
    ("settingsFlag", &["--settings"]),
    ("settingSourcesFlag", &["--setting-sources"]),
    ("disableSlashCommandsFlag", &["--disable-slash-commands"]),
    ("strictMcpConfigFlag", &["--strict-mcp-config"]),
    ("mcpConfigFlag", &["--mcp-config"]),
    ("pluginDirFlag", &["--plugin-dir"]),
    ("dangerouslySkipPermissionsFlag", &["--dangerously-skip-permissions"]),
    (
        "allowDangerouslySkipPermissionsFlag",
        &["--allow-dangerously-skip-permissions"],
    ),
];
/// Assumed of a Claude whose help cannot be read.
const CLAUDE_ASSUMED: &[&str] = &[
    "allowedToolsFlag",
    "disallowedToolsFlag",
    "outputFormatFlag",
    "systemPromptFlag",
];

const CODEX: &[Flag] = &[
    ("outputSchemaFlag", &["--output-schema"]),
    ("outputLastMessageFlag", &["--output-last-message"]),
    ("jsonFlag", &["--json"]),
    ("modelFlag", &["--model"]),
    ("sandboxFlag", &["--sandbox"]),
    ("skipGitRepoCheckFlag", &["--skip-git-repo-check"]),
    ("configFlag", &["-c, --config", "--config <key=value>"]),
    (
        "dangerouslyBypassApprovalsAndSandboxFlag",
        &["--dangerously-bypass-approvals-and-sandbox"],
    ),
];

const GEMINI: &[Flag] = &[
    ("outputFormatFlag", &["--output-format"]),
    ("modelFlag", &["--model"]),
    ("approvalModeFlag", &["--approval-mode"]),
    ("yoloFlag", &["--yolo"]),
    ("sandboxFlag", &["--sandbox"]),
];
/// Assumed of a Gemini whose help cannot be read.
const GEMINI_ASSUMED: &[&str] = &["outputFormatFlag", "modelFlag"];

/// Flags by wire name; `help` is none when the help command failed.
pub(crate) fn supported(provider: ProviderId, help: Option<&str>) -> BTreeMap<String, bool> {
    let help = help.map(str::to_lowercase);
    let read = |table: &[Flag], assumed: &[&str]| {
        let holds = |&(name, proofs): &Flag| {
            let holds = match &help {
                Some(help) => proofs.iter().any(|proof| help.contains(proof)),
                None => assumed.contains(&name),
            };
            (name.to_owned(), holds)
        };
        table.iter().map(holds).collect::<BTreeMap<_, _>>()
    };
    match provider {
        ProviderId::ClaudeCode => read(CLAUDE, CLAUDE_ASSUMED),
        // Nothing at all is known of a Codex without help.
        ProviderId::Codex if help.is_none() => BTreeMap::new(),
        ProviderId::Codex => read(CODEX, &[]),
        ProviderId::Gemini => {
            let mut flags = read(GEMINI, GEMINI_ASSUMED);
            flags.insert("extensionsFlag".to_owned(), true);
            flags
        }
    }
}

/// More words than this are no help text.
const MAX_WORDS: usize = 500;

/// The `--options`, subcommands (first on a line indented by two) and quoted choices of a help text.
pub(crate) fn words(help: &str) -> BTreeSet<String> {
    let command = |line: &str| {
        let rest = line.strip_prefix("  ")?;
        let word = rest.split_whitespace().next()?;
        (rest.starts_with(word) && word.chars().all(|c| c.is_ascii_lowercase() || c == '-')).then(|| word.to_owned())
    };
    let named = |word: &str| {
        let word = word.trim_matches(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '"');
        let bare = word.trim_matches('"');
        let quoted = word.len() == bare.len() + 2;
        (word.starts_with("--") || quoted).then(|| word.to_owned())
    };
    let on_line = |line| command(line).into_iter().chain(split(line).filter_map(named));
    help.lines().flat_map(on_line).take(MAX_WORDS).collect()
}

fn split(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| c.is_whitespace() || matches!(c, ',' | '=' | '[' | ']'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_of_the_wire_is_answered() {
        let help = Some("nothing known");
        assert_eq!(supported(ProviderId::ClaudeCode, help).len(), 26);
        assert_eq!(supported(ProviderId::Codex, help).len(), 8);
        assert_eq!(supported(ProviderId::Gemini, help).len(), 6);
    }

    #[test]
    fn help_is_searched_without_regard_to_case() {
        let flags = supported(ProviderId::ClaudeCode, Some("  --allowedTools <t>  stream-json"));
        let on: Vec<_> = flags
            .iter()
            .filter(|(_, on)| **on)
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(on, ["allowedToolsFlag", "streamJsonFlag"]);
    }

    #[test]
    fn words_are_options_commands_and_quoted_choices() {
        let help = "Commands:\n  resume  Resume a session\n  -c, --config <key=value>  Like --this.\n      \
                    --approval-mode  Modes: default (ask) [choices: \"default\", \"plan\"]\n          deep text\n";
        let found: Vec<_> = words(help).into_iter().collect();
        assert_eq!(
            found,
            [
                "\"default\"",
                "\"plan\"",
                "--approval-mode",
                "--config",
                "--this",
                "resume"
            ]
        );
    }

    #[test]
    fn without_help_the_assumptions_stand() {
        let on = |provider| supported(provider, None).values().filter(|on| **on).count();
        assert_eq!([ProviderId::ClaudeCode, ProviderId::Gemini].map(on), [4, 3]);
        assert_eq!(supported(ProviderId::Codex, None), BTreeMap::new());
    }
}
