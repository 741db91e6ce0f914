//! Whether a provider answers: one small question to its default model, as a job would ask it.

use std::future::ready;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::domain::run::{FailureKind, RunEvent};
use crate::job::agent::retry::Retry;
use crate::job::agent::{Agents, CommandLine, How, Limits, Observer, Turn, environment};
use crate::process::env::ChildEnv;
use crate::process::hold::{Begun, Registrar, Unregistered};
use crate::provider::ProviderId;
use crate::provider::capability::Finding;
use crate::provider::cause::Cause;
use crate::provider::health::Call;
use crate::provider::home::Homes;
use crate::provider::request::{OutputForm, RunRequest};

/// Below the work directory.
const PLACE: &str = "validation";
const PROMPT: &str = "Say hi.";
/// Time for the whole call.
const DEADLINE: Duration = Duration::from_secs(30);
/// More than this is no greeting.
const OUTPUT_BYTES: usize = 5_000_000;
const GRACE: Duration = Duration::from_secs(2);

/// Asks providers.
#[derive(Debug, Clone)]
pub struct Validator {
    agents: Agents,
    homes: Homes,
    env: ChildEnv,
}

impl Validator {
    /// Asks with the owner's settings as they are at the time.
    #[must_use]
    pub const fn new(agents: Agents, homes: Homes, env: ChildEnv) -> Self {
        Self { agents, homes, env }
    }

    /// Asks one provider; none when `stop` came first. Nothing of it runs any more when this returns.
    pub async fn call(&self, provider: ProviderId, finding: &Finding, stop: &CancellationToken) -> Option<Call> {
        let setup = match self.homes.prepare(provider) {
            Ok(setup) => setup,
            Err(error) => return Some(Call::failed(Cause::Other.tell(&error.to_string()))),
        };
        let turn = turn(provider, finding, environment(&self.env, &setup));
        let report = self.agents.run(&turn, stop, &mut Unheard).await;
        let result = match report.answer {
            Ok(_) => Ok(()),
            Err(_) if report.how == How::Cancelled => return None,
            Err(failure) if report.how == How::NotStarted => {
                Err(Cause::of_probe(&failure.message).tell(&failure.message))
            }
            // Its time was up, and nothing tells why.
            Err(failure) if failure.kind == FailureKind::Limit && report.how.is_deadline() => {
                Err(Cause::Network.tell(&failure.message))
            }
            Err(failure) => Err(Cause::of_failure(failure.kind).tell(&failure.message)),
        };
        Some(Call {
            result,
            model: report.model,
            duration: report.duration,
        })
    }
}

fn turn(provider: ProviderId, finding: &Finding, env: ChildEnv) -> Turn {
    let id = Uuid::new_v4().to_string();
    Turn {
        provider,
        command: finding.command.clone(),
        features: finding.features.clone(),
        version: finding.version.clone().ok(),
        request: question(),
        place: vec![PLACE.to_owned(), provider.wire().to_owned(), id.clone()],
        cwd: None,
        env,
        mark: id,
        limits: Limits {
            grace: GRACE,
            output: OUTPUT_BYTES,
            ..Limits::within(DEADLINE)
        },
        retry: Retry::never(),
    }
}

fn question() -> RunRequest {
    let schema = json!({
        "type": "object",
        "required": ["message"],
        "properties": {"message": {"type": "string"}},
        "additionalProperties": false,
    });
    RunRequest {
        output: OutputForm::Json { schema: Some(schema) },
        ..RunRequest::answer(PROMPT)
    }
}

/// Only the end matters.
struct Unheard;

impl Registrar for Unheard {
    fn register(&mut self, _begun: Begun) -> BoxFuture<'_, Result<(), Unregistered>> {
        Box::pin(ready(Ok(())))
    }
}

impl Observer for Unheard {
    fn planned(&mut self, _command: &CommandLine) {}
    fn event(&mut self, _event: RunEvent) {}
}
