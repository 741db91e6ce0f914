//! How a turn of Codex is started: `codex exec ... -`, the prompt on stdin.

use std::path::PathBuf;

use crate::domain::prompt::CODEX_PROMPT;
use crate::domain::run::{FailureKind, RunFailure};
use crate::provider::argument::{self, refusal, toml_string};
use crate::provider::codex::quirks::knows_settings;
use crate::provider::codex::schema::{self, TOOL_HINT};
use crate::provider::plan::{Cli, Files, Format, Plan};
use crate::provider::prompt;
use crate::provider::request::{Access, OutputForm, RunRequest, Session};

const LABEL: &str = "Codex";
/// One argument of a command line holds at most 128 KiB; longer instructions go behind the prompt.
const MAX_ARGUMENT: usize = 64 * 1024;

/// Thinks the start through.
///
/// # Errors
/// The request cannot be served as it is asked for: the failure says why.
pub fn plan(request: &RunRequest, cli: Cli<'_>) -> Result<Plan, RunFailure> {
    let mut draft = Draft::new(request, cli);
    let resumed = draft.resumed()?;
    draft.access(resumed.is_some())?;
    draft.flags()?;
    draft.settings();
    let hint = draft.schema()?;
    draft.instructions(hint)?;
    let output_file = draft.output_file()?;
    draft.args.extend(resumed);
    draft.args.push("-".to_owned());
    prompt::check(LABEL, &request.prompt, &draft.prompt, CODEX_PROMPT)?;
    Ok(Plan {
        args: draft.args,
        env: Vec::new(),
        stdin: draft.prompt.into_bytes(),
        files: draft.files.list,
        output_file,
        format: if cli.features.has("jsonFlag") {
            Format::JsonLines
        } else {
            Format::Text
        },
    })
}

struct Draft<'a> {
    request: &'a RunRequest,
    cli: Cli<'a>,
    /// Whether `-c key=value` can be given.
    configurable: bool,
    /// Whether the settings of today's versions are known.
    current: bool,
    args: Vec<String>,
    files: Files<'a>,
    prompt: String,
}

impl<'a> Draft<'a> {
    fn new(request: &'a RunRequest, cli: Cli<'a>) -> Self {
        let configurable = cli.features.has("configFlag");
        Self {
            request,
            cli,
            configurable,
            current: configurable && knows_settings(cli.version),
            args: vec!["exec".to_owned()],
            files: Files::below(&request.scratch),
            prompt: request.prompt.clone(),
        }
    }

    fn push<const N: usize>(&mut self, args: [&str; N]) {
        self.args.extend(args.map(str::to_owned));
    }

    fn set(&mut self, setting: &str) {
        self.push(["-c", setting]);
    }

    /// The session to go on with. Codex would answer an id that is none from a new session.
    fn resumed(&mut self) -> Result<Option<String>, RunFailure> {
        let Session::Resume(id) = &self.request.session else {
            return Ok(None);
        };
        if !self.cli.features.offers("resume") || !self.configurable {
            return refusal(
                FailureKind::Session,
                "the installed Codex cannot go on with a session; update it",
            );
        }
        self.push(["resume"]);
        argument::session(LABEL, id).map(Some)
    }

    /// What the agent may do; fails closed. `exec resume` has no `--sandbox`, but the setting behind it.
    fn access(&mut self, resumed: bool) -> Result<(), RunFailure> {
        let full = self.request.access == Access::Full;
        let mode = if full { "danger-full-access" } else { "read-only" };
        if full && self.cli.features.has("dangerouslyBypassApprovalsAndSandboxFlag") {
            self.push(["--dangerously-bypass-approvals-and-sandbox"]);
        } else if resumed {
            self.set(&format!("sandbox_mode={}", toml_string(mode)));
        } else if self.cli.features.has("sandboxFlag") {
            self.push(["--sandbox", mode]);
        } else {
            let why = format!("the installed Codex has no --sandbox flag to run with {mode} access; update it");
            return Err(self.cli.features.lack(LABEL, why));
        }
        if self.request.access == Access::Answer && !self.configurable {
            let why = "the installed Codex has no -c flag to take its tools away; update it";
            return Err(self.cli.features.lack(LABEL, why.to_owned()));
        }
        if !full && !self.request.extras.withheld.is_empty() && !self.current {
            let why = "the installed Codex is not known to keep the owner's MCP servers away from a restricted run; \
                       update it";
            return Err(self.cli.features.lack(LABEL, why.to_owned()));
        }
        Ok(())
    }

    fn flags(&mut self) -> Result<(), RunFailure> {
        let features = self.cli.features;
        if features.has("skipGitRepoCheckFlag") {
            self.push(["--skip-git-repo-check"]);
        }
        if features.has("jsonFlag") {
            self.push(["--json"]);
        }
        if self.request.session == Session::Ephemeral && features.offers("--ephemeral") {
            self.push(["--ephemeral"]);
        }
        if let Some(model) = argument::model(self.request)? {
            self.push(["--model", model]);
        }
        Ok(())
    }

    fn settings(&mut self) {
        if !self.configurable {
            return;
        }
        if let Some(effort) = self.request.effort {
            self.set(&format!("model_reasoning_effort={}", toml_string(effort.as_str())));
        }
        let full = self.request.access == Access::Full;
        self.set(&format!("features.shell_tool={full}"));
        let search = full || self.may_search();
        if !self.current {
            return self.set(&format!("features.web_search_request={search}"));
        }
        self.set(if search {
            r#"web_search="live""#
        } else {
            r#"web_search="disabled""#
        });
        QUIET.iter().for_each(|setting| self.set(setting));
        if !full && !self.request.extras.withheld.is_empty() {
            self.set(&format!("mcp_servers={{{}}}", disabled(&self.request.extras.withheld)));
        }
        if !full {
            FEWER_TOOLS.iter().for_each(|setting| self.set(setting));
        }
        if self.request.access == Access::Answer {
            NO_TOOLS.iter().for_each(|setting| self.set(setting));
        }
    }

    /// Whether the request names the web search, however it is spelt.
    fn may_search(&self) -> bool {
        let letters = |name: &String| name.chars().filter(char::is_ascii_alphabetic).collect::<String>();
        let named = |name| letters(name).eq_ignore_ascii_case("websearch");
        self.request.access == Access::Restricted && self.request.tools.allowed.iter().any(named)
    }

    /// The form of the answer; what has to be said to the model about it comes back.
    fn schema(&mut self) -> Result<Option<String>, RunFailure> {
        let OutputForm::Json { schema: Some(schema) } = &self.request.output else {
            return Ok(None);
        };
        let sent = schema::sent(schema);
        let hint = sent.tool_call.then_some(TOOL_HINT);
        if self.cli.features.has("outputSchemaFlag") {
            let path = self.files.add("schema.json", sent.schema.to_string())?;
            self.push(["--output-schema", &path]);
            return Ok(hint.map(str::to_owned));
        }
        let asked = format!("Return STRICT JSON matching this schema:\n{}", sent.schema);
        Ok(Some(
            [Some(asked.as_str()), hint]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
                .join("\n\n"),
        ))
    }

    /// What is said beside the prompt. Older versions read it behind the prompt.
    fn instructions(&mut self, hint: Option<String>) -> Result<(), RunFailure> {
        let mut beside = Vec::new();
        match self.request.system_prompt.clone() {
            Some(text) if self.current => {
                let path = self.files.add("instructions.md", text)?;
                self.set(&format!("model_instructions_file={}", toml_string(&path)));
            }
            text => beside.extend(text),
        }
        beside.extend(self.request.append_system_prompt.clone());
        beside.extend(hint);
        let beside = beside.join("\n\n");
        if self.current && !beside.is_empty() && beside.len() <= MAX_ARGUMENT {
            self.set(&format!("developer_instructions={}", toml_string(&beside)));
        } else if !beside.is_empty() {
            self.prompt = format!("{}\n\n{beside}", self.prompt);
        }
        Ok(())
    }

    /// The last message as a file: the answer, should its line on stdout be too long to be read.
    fn output_file(&mut self) -> Result<Option<PathBuf>, RunFailure> {
        if !self.cli.features.has("outputLastMessageFlag") {
            return Ok(None);
        }
        let path = self.request.scratch.join("last-message.txt");
        self.push(["--output-last-message", argument::path(&path)?]);
        Ok(Some(path))
    }
}

/// Laid over what the owner's configuration says of them.
fn disabled(servers: &[String]) -> String {
    let disabled = servers
        .iter()
        .map(|name| format!("{}={{enabled=false}}", toml_string(name)));
    disabled.collect::<Vec<_>>().join(",")
}

/// No telemetry, no look for updates; a refused connection is an error, not something to wait on for ever.
const QUIET: &[&str] = &[
    "analytics.enabled=false",
    "check_for_update_on_startup=false",
    "features.unbounded_connection_retries=false",
];
/// Tools that act outside of the sandbox.
const FEWER_TOOLS: &[&str] = &["features.plugins=false", "features.apps=false"];
/// What is left of the tools, but for a patch tool that the sandbox refuses.
const NO_TOOLS: &[&str] = &[
    "features.view_image=false",
    "features.goals=false",
    "features.tool_suggest=false",
    "features.multi_agent=false",
];
