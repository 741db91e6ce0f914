//! What a run asks of a provider, whichever it is.

use std::path::PathBuf;

use serde_json::Value;

/// The wire's name for the CLI's own default model.
pub const DEFAULT_MODEL: &str = "__default__";

/// One turn of one agent. The prompt travels on stdin, never in an argument.
#[derive(Debug, Clone, PartialEq)]
pub struct RunRequest {
    /// What to say to the agent, exactly.
    pub prompt: String,
    /// Model; none takes the CLI's own default.
    pub model: Option<String>,
    /// Form of the answer.
    pub output: OutputForm,
    /// Replaces the agent's own instructions.
    pub system_prompt: Option<String>,
    /// Is added to the agent's own instructions.
    pub append_system_prompt: Option<String>,
    /// How hard to think.
    pub effort: Option<Effort>,
    /// What the agent may do.
    pub access: Access,
    /// Session in which the turn takes place.
    pub session: Session,
    /// Tools named by the request.
    pub tools: ToolLists,
    /// Knobs of one provider only.
    pub extras: Extras,
    /// Directory for the plan's files, absolute, private to this run, not the agent's working directory.
    pub scratch: PathBuf,
}

impl RunRequest {
    /// A prompt to be answered, without any wishes.
    #[must_use]
    pub fn answer(prompt: impl Into<String>) -> Self {
        Self {
            prompt: prompt.into(),
            model: None,
            output: OutputForm::Text,
            system_prompt: None,
            append_system_prompt: None,
            effort: None,
            access: Access::Answer,
            session: Session::Ephemeral,
            tools: ToolLists::default(),
            extras: Extras::default(),
            scratch: PathBuf::new(),
        }
    }
}

/// Form of the answer.
#[derive(Debug, Clone, PartialEq)]
pub enum OutputForm {
    /// Plain text.
    Text,
    /// A JSON object, of that schema if there is one.
    Json {
        /// JSON schema.
        schema: Option<Value>,
    },
}

/// How hard a model thinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// Little.
    Low,
    /// Usual.
    Medium,
    /// Much.
    High,
}

impl Effort {
    /// The word of the wire and of the CLIs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }

    /// Reads the wire's word; others count as not given.
    #[must_use]
    pub fn from_wire(word: &str) -> Option<Self> {
        [Self::Low, Self::Medium, Self::High]
            .into_iter()
            .find(|effort| effort.as_str() == word)
    }
}

/// What an agent may do on this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Answer only; no tools at all.
    Answer,
    /// What its restricted mode allows. Refused when the CLI lacks the flags that restrict.
    Restricted,
    /// Everything this account may do. Only when all layers of machine control agree.
    Full,
}

/// Session of a turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Session {
    /// Leaves nothing behind where the CLI can do that.
    Ephemeral,
    /// A new one under this id (a UUID), where the CLI lets us choose; else under its own.
    New(String),
    /// Goes on with this one.
    Resume(String),
}

/// Tools by name, in the provider's own words.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ToolLists {
    /// May be used without asking.
    pub allowed: Vec<String>,
    /// May not be used.
    pub disallowed: Vec<String>,
}

/// Knobs that only one provider has; the others ignore them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Extras {
    /// Claude's `--permission-mode`.
    pub permission_mode: Option<String>,
    /// Claude's `--max-budget-usd`.
    pub max_budget_usd: Option<f64>,
    /// Whether this account is root. Claude refuses to act freely for it, unless told that it lives in a sandbox.
    pub is_root: bool,
    /// Whether the host's owner allowed that for root.
    pub allow_root: bool,
    /// Claude's `--betas`.
    pub betas: Vec<String>,
    /// Gemini's `--extensions`.
    pub extensions: Vec<String>,
    /// MCP servers of Codex' owner, which a run that may not do everything does not start.
    pub withheld: Vec<String>,
}
