//! What a runner has to know about providers, as one thing that can be replaced by another in a test.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use crate::domain::run::RunFailure;
use crate::provider::ProviderId;
use crate::provider::plan::{Cli, Format, Plan};
use crate::provider::request::RunRequest;
use crate::provider::schema::Schema;
use crate::provider::transcript::Transcript;
use crate::provider::{claude, codex, gemini};

/// Knows how runs are started and read.
pub trait Driver: fmt::Debug + Send + Sync {
    /// How to start the run.
    ///
    /// # Errors
    /// [`RunFailure`] when this CLI cannot do what is asked.
    fn plan(&self, provider: ProviderId, request: &RunRequest, cli: Cli<'_>) -> Result<Plan, RunFailure>;

    /// A reader for what the run prints.
    fn transcript(
        &self,
        provider: ProviderId,
        request: &RunRequest,
        cli: Cli<'_>,
        format: Format,
    ) -> Box<dyn Transcript>;

    /// What holds answers against a schema.
    ///
    /// # Errors
    /// [`RunFailure`] when it is no schema.
    fn schema(&self, schema: &Value) -> Result<Check, RunFailure>;
}

/// Says where and why an answer does not fit.
pub type Check = Arc<dyn Fn(&Value) -> Result<(), RunFailure> + Send + Sync>;

/// The agent CLIs of this program.
#[derive(Debug, Clone, Copy, Default)]
pub struct Known;

impl Driver for Known {
    fn plan(&self, provider: ProviderId, request: &RunRequest, cli: Cli<'_>) -> Result<Plan, RunFailure> {
        match provider {
            ProviderId::ClaudeCode => claude::plan::plan(request, cli),
            ProviderId::Codex => codex::plan::plan(request, cli),
            ProviderId::Gemini => gemini::plan::plan(request, cli),
        }
    }

    fn transcript(
        &self,
        provider: ProviderId,
        request: &RunRequest,
        cli: Cli<'_>,
        format: Format,
    ) -> Box<dyn Transcript> {
        match provider {
            ProviderId::ClaudeCode => Box::new(claude::transcript::Reader::new(request, cli, format)),
            ProviderId::Codex => Box::new(codex::transcript::Reader::new(request, cli, format)),
            ProviderId::Gemini => Box::new(gemini::transcript::Reader::new(request, cli, format)),
        }
    }

    fn schema(&self, schema: &Value) -> Result<Check, RunFailure> {
        let schema = Schema::new(schema)?;
        Ok(Arc::new(move |answer| schema.check(answer)))
    }
}
