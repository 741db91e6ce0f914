//! What a runner has to know about providers, as one thing that can be replaced by another in a test.

use std::fmt;

use serde_json::Value;

use crate::domain::run::RunFailure;
use crate::provider::ProviderId;
use crate::provider::plan::{Cli, Format, Plan};
use crate::provider::request::RunRequest;
use crate::provider::transcript::Transcript;

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

    /// Holds an answer against its schema.
    ///
    /// # Errors
    /// Where and why it does not fit.
    fn validate(&self, schema: &Value, answer: &Value) -> Result<(), String>;
}
