//! From a request to arguments, variables and stdin of Claude Code. Pure.

use serde_json::json;

use crate::domain::prompt::CLAUDE_PROMPT;
use crate::domain::run::{FailureKind, RunFailure};
use crate::provider::argument::{self, is_plain, refusal};
use crate::provider::capability::Features;
use crate::provider::claude::access::{self, Permissions};
use crate::provider::claude::{LABEL, quirks};
use crate::provider::plan::{Cli, Format, Plan};
use crate::provider::prompt;
use crate::provider::request::{Access, OutputForm, RunRequest, Session};

/// The kernel's limit for one argument, its final NUL included.
const MAX_ARGUMENT_BYTES: usize = 128 * 1024 - 1;

/// Plans a run.
///
/// # Errors
/// The CLI cannot do what is asked, or what is asked cannot be done safely. Nothing was started then.
pub fn plan(request: &RunRequest, cli: Cli<'_>) -> Result<Plan, RunFailure> {
    let permissions = access::permissions(request, cli.features)?;
    let mut prompt = request.prompt.clone();
    let format = quirks::format(cli.features);
    let mut args = Args::new(cli.features);
    args.output(format);
    args.model(argument::model(request)?);
    args.tools(&permissions);
    args.instructions(request, &mut prompt);
    args.schema(&request.output, &mut prompt);
    args.permissions(&permissions);
    args.limits(request)?;
    args.session(&request.session)?;
    args.seclusion(&permissions);
    args.effort(request);
    prompt::check(LABEL, &request.prompt, &prompt, CLAUDE_PROMPT)?;
    Ok(Plan {
        args: args.checked()?,
        env: env(request),
        stdin: stdin(prompt, cli)?,
        files: Vec::new(),
        output_file: None,
        format,
    })
}

/// One message line. The empty second part is what keeps the text a text: the CLI looks for its own commands and for
/// mentions of files in the last part only, and never sends an empty one to the model.
fn stdin(prompt: String, cli: Cli<'_>) -> Result<Vec<u8>, RunFailure> {
    if !quirks::reads_messages(cli) {
        return plain(prompt);
    }
    let parts = json!([{"type": "text", "text": prompt}, {"type": "text", "text": ""}]);
    let message = json!({"type": "user", "message": {"role": "user", "content": parts}});
    let line = message
        .to_string()
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029");
    Ok((line + "\n").into_bytes())
}

/// Plain text for a CLI that reads no messages, unless it would see more in it than text.
fn plain(prompt: String) -> Result<Vec<u8>, RunFailure> {
    let mentions = |word: &str| word.len() > 1 && word.starts_with('@');
    if prompt.trim_start().starts_with('/') || prompt.split_whitespace().any(mentions) {
        let why = "This Claude would run a prompt that starts with / as a command and open files behind an @. \
                   Update Claude Code";
        return refusal(FailureKind::Request, why);
    }
    Ok(prompt.into_bytes())
}

/// Nothing but the model is asked, and not for ever. A session around the daemon is none of the agent's business.
fn env(request: &RunRequest) -> Vec<(&'static str, Option<String>)> {
    let as_root = request.access == Access::Full && request.extras.is_root && request.extras.allow_root;
    let set = |value: &str| Some(value.to_owned());
    vec![
        ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", set("1")),
        ("DISABLE_AUTOUPDATER", set("1")),
        ("CLAUDE_CODE_MAX_RETRIES", set("2")),
        ("API_TIMEOUT_MS", set("120000")),
        ("CLAUDECODE", None),
        ("CLAUDE_CODE_ENTRYPOINT", None),
        ("IS_SANDBOX", as_root.then(|| "1".to_owned())),
    ]
}

/// Arguments, each only where the CLI knows it.
struct Args<'a> {
    features: &'a Features,
    list: Vec<String>,
}

impl<'a> Args<'a> {
    fn new(features: &'a Features) -> Self {
        let list = vec!["--print".to_owned()];
        Self { features, list }
    }

    fn has(&self, flag: &str) -> bool {
        self.features.has(flag)
    }

    fn switch(&mut self, flag: &str, option: &str) {
        if self.has(flag) {
            self.list.push(option.to_owned());
        }
    }

    /// Adds an option with its value; says whether the CLI knows it.
    fn option(&mut self, flag: &str, option: &str, value: impl Into<String>) -> bool {
        let known = self.has(flag);
        if known {
            self.list.extend([option.to_owned(), value.into()]);
        }
        known
    }

    fn output(&mut self, format: Format) {
        match format {
            Format::Text => {}
            Format::Json => self.list.extend(["--output-format", "json"].map(str::to_owned)),
            Format::JsonLines => {
                self.list
                    .extend(["--output-format", "stream-json", "--verbose"].map(str::to_owned));
                self.switch("includePartialMessagesFlag", "--include-partial-messages");
                self.option("inputFormatFlag", "--input-format", "stream-json");
            }
        }
    }

    fn model(&mut self, model: Option<&str>) {
        if let Some(model) = model {
            self.option("modelFlag", "--model", model);
        }
    }

    fn tools(&mut self, permissions: &Permissions) {
        let allowed = permissions.allowed.join(",");
        if let Some(available) = &permissions.available {
            self.option("toolsFlag", "--tools", available.join(","));
        }
        if !allowed.is_empty() && !self.option("allowedToolsFlag", "--allowedTools", allowed.as_str()) {
            let unset = permissions.available.is_none();
            let _known = unset && self.option("toolsFlag", "--tools", allowed);
        }
        if !permissions.disallowed.is_empty() {
            self.option(
                "disallowedToolsFlag",
                "--disallowedTools",
                permissions.disallowed.join(","),
            );
        }
    }

    /// Where only an answer is wanted, what is added to the instructions replaces those for an agent with tools.
    fn instructions(&mut self, request: &RunRequest, prompt: &mut String) {
        let replaces = request.access == Access::Answer && request.system_prompt.is_none();
        if let Some(added) = request.append_system_prompt.as_deref() {
            let told = (replaces && self.option("systemPromptFlag", "--system-prompt", added))
                || self.option("appendSystemPromptFlag", "--append-system-prompt", added);
            if !told {
                *prompt += &format!("\n\n{added}");
            }
        }
        if let Some(own) = request.system_prompt.as_deref() {
            self.option("systemPromptFlag", "--system-prompt", own);
        }
    }

    fn schema(&mut self, output: &OutputForm, prompt: &mut String) {
        if let OutputForm::Json { schema: Some(schema) } = output
            && !self.option("jsonSchemaFlag", "--json-schema", schema.to_string())
        {
            *prompt += &format!("\n\nReturn STRICT JSON matching this schema:\n{schema}");
        }
    }

    fn permissions(&mut self, permissions: &Permissions) {
        if let Some(mode) = &permissions.mode {
            self.option("permissionModeFlag", "--permission-mode", mode.as_str());
        }
        if permissions.skip {
            self.list.push("--dangerously-skip-permissions".to_owned());
        }
    }

    fn limits(&mut self, request: &RunRequest) -> Result<(), RunFailure> {
        if let Some(budget) = request.extras.max_budget_usd {
            if !(budget.is_finite() && budget > 0.0) {
                return refusal(FailureKind::Request, format!("{budget} is no budget in US dollars"));
            }
            self.option("maxBudgetFlag", "--max-budget-usd", budget.to_string());
        }
        let betas = &request.extras.betas;
        if let Some(wrong) = betas.iter().find(|beta| !is_plain(beta)) {
            return refusal(FailureKind::Request, format!("{wrong:?} is no name of a beta"));
        }
        if !betas.is_empty() && self.has("betasFlag") {
            self.list.push("--betas".to_owned());
            self.list.extend(betas.iter().cloned());
        }
        Ok(())
    }

    fn session(&mut self, session: &Session) -> Result<(), RunFailure> {
        match session {
            Session::Ephemeral => self.switch("noSessionPersistenceFlag", "--no-session-persistence"),
            Session::New(id) => {
                self.option("sessionIdFlag", "--session-id", argument::session(LABEL, id)?);
            }
            Session::Resume(id) => {
                if !self.option("resumeFlag", "--resume", argument::session(LABEL, id)?) {
                    let why = "Claude CLI does not support session continuation (--resume)";
                    return refusal(FailureKind::Session, why);
                }
            }
        }
        Ok(())
    }

    fn seclusion(&mut self, permissions: &Permissions) {
        if !permissions.secluded {
            return;
        }
        self.option("settingSourcesFlag", "--setting-sources", "local");
        self.switch("disableSlashCommandsFlag", "--disable-slash-commands");
        self.switch("strictMcpConfigFlag", "--strict-mcp-config");
        if self.features.offers("--restricted") {
            self.list.push("--restricted".to_owned());
        }
    }

    fn effort(&mut self, request: &RunRequest) {
        if let Some(effort) = request.effort.filter(|_| self.features.offers("--effort")) {
            self.list.extend(["--effort", effort.as_str()].map(str::to_owned));
        }
    }

    fn checked(self) -> Result<Vec<String>, RunFailure> {
        let wrong = |arg: &&String| arg.len() > MAX_ARGUMENT_BYTES || arg.contains('\0');
        let Some(at) = self.list.iter().position(|arg| wrong(&arg)) else {
            return Ok(self.list);
        };
        let option = self.list.get(at.saturating_sub(1)).map_or("", String::as_str);
        let why = format!("Claude takes at most {MAX_ARGUMENT_BYTES} bytes and no NUL character for {option}");
        refusal(FailureKind::Request, why)
    }
}
