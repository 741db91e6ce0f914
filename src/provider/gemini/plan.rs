//! How a turn of Gemini CLI is started: the prompt on stdin, no `--prompt`.

use crate::domain::prompt::GEMINI_PROMPT;
use crate::domain::run::{FailureKind, RunFailure};
use crate::provider::argument::{self, refusal};
use crate::provider::gemini::ONE_PROCESS;
use crate::provider::gemini::policy;
use crate::provider::gemini::quirks;
use crate::provider::plan::{Cli, Files, Format, Plan};
use crate::provider::prompt;
use crate::provider::request::{Access, OutputForm, RunRequest, Session};

const LABEL: &str = "Gemini";

/// Thinks the start through.
///
/// # Errors
/// The request cannot be served as it is asked for: the failure says why.
pub fn plan(request: &RunRequest, cli: Cli<'_>) -> Result<Plan, RunFailure> {
    let mut draft = Draft {
        request,
        cli,
        args: Vec::new(),
        env: vec![(ONE_PROCESS.0, Some(ONE_PROCESS.1.to_owned()))],
        files: Files::below(&request.scratch),
    };
    let format = draft.format();
    draft.access()?;
    draft.policy()?;
    draft.flags()?;
    draft.session()?;
    draft.instructions()?;
    Ok(Plan {
        stdin: draft.prompt()?.into_bytes(),
        args: draft.args,
        env: draft.env,
        files: draft.files.list,
        output_file: None,
        format,
    })
}

struct Draft<'a> {
    request: &'a RunRequest,
    cli: Cli<'a>,
    args: Vec<String>,
    env: Vec<(&'static str, Option<String>)>,
    files: Files<'a>,
}

impl Draft<'_> {
    fn push<const N: usize>(&mut self, args: [&str; N]) {
        self.args.extend(args.map(str::to_owned));
    }

    /// The prompt as it is sent, or why it cannot be.
    fn prompt(&self) -> Result<String, RunFailure> {
        let prompt = &self.request.prompt;
        if let Some(agent) = quirks::named_agent(prompt) {
            let why = format!("Gemini would hand the prompt over to its agent {agent}, because of @{agent}");
            return refusal(FailureKind::Request, why);
        }
        let space = if quirks::is_command(prompt, self.cli.version) {
            " "
        } else {
            ""
        };
        let sent = format!("{space}{prompt}");
        prompt::check(LABEL, prompt, &sent, GEMINI_PROMPT)?;
        Ok(sent)
    }

    fn format(&mut self) -> Format {
        if !self.cli.features.has("outputFormatFlag") {
            return Format::Text;
        }
        let lines = self.cli.features.offers("\"stream-json\"");
        let (word, format) = if lines {
            ("stream-json", Format::JsonLines)
        } else {
            ("json", Format::Json)
        };
        self.push(["--output-format", word]);
        format
    }

    /// What the agent may do; fails closed.
    fn access(&mut self) -> Result<(), RunFailure> {
        let features = self.cli.features;
        let modes = features.has("approvalModeFlag");
        match self.request.access {
            Access::Full if modes => self.push(["--approval-mode", "yolo"]),
            Access::Full if features.has("yoloFlag") => self.push(["--yolo"]),
            Access::Full => return self.too_old("--yolo flag to grant full control with"),
            Access::Answer if features.offers("--policy") => {}
            Access::Restricted | Access::Answer if modes && features.offers("\"plan\"") => {
                self.push(["--approval-mode", "plan"]);
            }
            Access::Restricted | Access::Answer => return self.too_old("--approval-mode plan to restrict it with"),
        }
        Ok(())
    }

    fn too_old<T>(&self, lacking: &str) -> Result<T, RunFailure> {
        let version = self.cli.version.unwrap_or("of no known version");
        let lacking = format!("the installed Gemini CLI ({version}) has no {lacking}; update it");
        Err(self.cli.features.lack("Gemini", lacking))
    }

    /// The owner's own policies stay in force beside an admin policy; `--policy` would replace them, which only a run
    /// without any tool can afford.
    fn policy(&mut self) -> Result<(), RunFailure> {
        let at_path = quirks::at_paths(&self.request.prompt).next().is_some();
        let Some(text) = policy::policy(self.request, at_path) else {
            return Ok(());
        };
        let features = self.cli.features;
        let answer = self.request.access == Access::Answer;
        let flags = [
            ("--policy", answer || !features.offers("--admin-policy")),
            ("--admin-policy", true),
        ];
        let flags: Vec<_> = flags
            .into_iter()
            .filter(|(flag, wanted)| *wanted && features.offers(flag))
            .collect();
        if flags.is_empty() {
            let needed = at_path || !self.request.tools.disallowed.is_empty();
            return if needed {
                self.too_old("--policy to keep files out of a prompt with")
            } else {
                Ok(())
            };
        }
        let path = self.files.add("policy.toml", text)?;
        flags.into_iter().for_each(|(flag, _)| self.push([flag, &path]));
        Ok(())
    }

    fn flags(&mut self) -> Result<(), RunFailure> {
        if let Some(model) = argument::model(self.request)? {
            self.push(["--model", model]);
        }
        let extensions = &self.request.extras.extensions;
        if let Some(name) = extensions
            .iter()
            .find(|name| !argument::is_plain(name) || name.contains(','))
        {
            return refusal(FailureKind::Request, format!("{name:?} is no name of an extension"));
        }
        if !extensions.is_empty() {
            self.push(["--extensions", &extensions.join(",")]);
        } else if self.request.access == Access::Answer {
            self.push(["--extensions", "none"]);
        }
        // The owner's MCP servers are for what may do everything: no sandbox confines their tools.
        if self.request.access != Access::Full {
            if !self.cli.features.offers(quirks::SERVERS) {
                return self.too_old("--allowed-mcp-server-names to keep its owner's MCP servers away with");
            }
            self.push([quirks::SERVERS, quirks::NO_SERVER]);
        }
        // The directory was allowed by the owner, or is ours; without a word it would be asked about.
        if self.cli.features.offers("--skip-trust") {
            self.push(["--skip-trust"]);
        }
        Ok(())
    }

    fn session(&mut self) -> Result<(), RunFailure> {
        match &self.request.session {
            Session::New(id) if self.cli.features.offers("--session-id") => {
                self.push(["--session-id", &argument::session(LABEL, id)?]);
            }
            Session::Ephemeral | Session::New(_) => {}
            Session::Resume(id) if self.cli.features.offers("--resume") => {
                self.push(["--resume", &argument::session(LABEL, id)?]);
            }
            Session::Resume(_) => return self.too_old("--resume to go on with a session"),
        }
        Ok(())
    }

    /// What is said beside the prompt. It takes the place of Gemini's own instructions, for there is no adding to them.
    fn instructions(&mut self) -> Result<(), RunFailure> {
        let request = self.request;
        let strict = "Return STRICT JSON only. Do not wrap in code fences.";
        let form = match &request.output {
            OutputForm::Text => None,
            OutputForm::Json { schema: None } => Some(strict.to_owned()),
            OutputForm::Json { schema: Some(schema) } => Some(format!("{strict}\nSchema:\n{schema}")),
        };
        let parts = [
            request.system_prompt.clone(),
            request.append_system_prompt.clone(),
            form,
        ];
        let parts: Vec<_> = parts.into_iter().flatten().filter(|part| !part.is_empty()).collect();
        // A plain answer is asked of a model, not of a coding agent.
        if !parts.is_empty() || request.access == Access::Answer {
            let path = self.files.add("system.md", parts.join("\n"))?;
            self.env.push(("GEMINI_SYSTEM_MD", Some(path)));
        }
        Ok(())
    }
}
