//! Programs that stand in for agent CLIs: shell scripts that say what the real ones say, under a daemon that cannot
//! tell the difference.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

/// What the real ones print when they are asked what they can do.
const CODEX_HELP: &str = include_str!("../../fixtures/providers/codex/help.txt");

const CLAUDE_ANSWER: &str = include_str!("../../fixtures/providers/claude/text.jsonl");

/// A folder of programs. Scripts find it as `$here`.
#[derive(Debug)]
pub(crate) struct StandIns {
    dir: tempfile::TempDir,
}

impl StandIns {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let here = Self { dir };
        here.put("codex.help", CODEX_HELP);
        here
    }

    /// A Claude that says hello to whatever it is asked.
    pub(crate) fn claude(&self) -> String {
        self.put("claude.answer", CLAUDE_ANSWER);
        self.script(
            "claude",
            r#"case "$1" in
--version) echo '2.1.329 (Claude Code)';;
--help) echo '--tools --allowedTools --disallowedTools --output-format (stream-json) --input-format --verbose --json-schema --system-prompt --append-system-prompt --permission-mode --session-id --resume --no-session-persistence --include-partial-messages --model --settings --setting-sources --strict-mcp-config --mcp-config --disable-slash-commands';;
*) cat >/dev/null; cat "$here/claude.answer";;
esac"#,
        )
    }

    pub(crate) fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    #[expect(clippy::disallowed_methods, reason = "files of a test")]
    pub(crate) fn put(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// A program. Written aside and renamed: one that is open for writing cannot be started.
    pub(crate) fn script(&self, name: &str, body: &str) -> String {
        let aside = format!("{name}.new");
        self.put(&aside, &format!("#!/bin/sh\nhere=${{0%/*}}\n{body}\n"));
        fs::set_permissions(self.path(&aside), fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(self.path(&aside), self.path(name)).unwrap();
        self.path(name).display().to_string()
    }

    /// A Codex whose turn is this script, with the prompt in `$prompt`; it begins and ends as every turn does.
    pub(crate) fn codex(&self, turn: &str) -> String {
        self.moody_codex("", turn)
    }

    /// The same, with something that comes before the answer to every question.
    pub(crate) fn moody_codex(&self, mood: &str, turn: &str) -> String {
        self.script(
            "codex",
            &format!(
                r#"case "$1 $2" in
--version*|*--help) {mood}
:;;
esac
case "$1 $2" in
"--version "*) echo 'codex-cli 0.169.0'; exit;;
"exec --help") cat "$here/codex.help"; exit;;
esac
prompt=$(cat)
say() {{ printf '{{"type":"item.completed","item":{{"id":"item_%s","type":"agent_message","text":"%s"}}}}\n' "$1" "$2"; }}
echo '{{"type":"thread.started","thread_id":"01a1fbb6-0000-7000-8000-000000000000"}}'
echo '{{"type":"turn.started"}}'
{turn}
echo '{{"type":"turn.completed","usage":{{"input_tokens":100,"cached_input_tokens":0,"output_tokens":7}}}}'"#
            ),
        )
    }
}
