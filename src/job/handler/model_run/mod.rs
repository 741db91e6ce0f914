//! `model_run`: one question to one model, answered by an agent CLI that may use no tools.

mod debug;
mod outcome;
mod request;

use futures_util::future::BoxFuture;
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::warn;

use self::request::Request;
use crate::domain::clock::millis;
use crate::domain::job::{Job, JobOutcome};
use crate::domain::limits::STOP_GRACE;
use crate::domain::run::RunEvent;
use crate::job::agent::retry::Retry;
use crate::job::agent::{CommandLine, How, Limits, Observer, Turn};
use crate::job::audit;
use crate::job::entry::Said;
use crate::job::handler::agents::{ASIDE_PATIENCE, Root, equip, found, looked_at, verdict, withheld};
use crate::job::handler::{Context, JobLife};
use crate::process::hold::{Begun, Registrar, Unregistered};
use crate::provider::ProviderId;
use crate::provider::capability::Finding;
use crate::provider::document::Picture;
use crate::provider::health::{Verdict, Witness};
use crate::provider::request::{Extras, OutputForm, RunRequest};

/// Below the work directory; what an earlier life has left there may go.
pub const PLACE: &str = "model-runs";
/// Bytes of stdout kept for people: with the note about what is left out they fit into any text of the wire.
const KEPT_BYTES: usize = 190_000;

/// What a result says about the question.
#[derive(Debug)]
struct Asked {
    provider: ProviderId,
    command: String,
    output: OutputForm,
    prompt_chars: usize,
    schema_chars: Option<usize>,
    timeout_ms: u64,
    timeout_clamped: bool,
    output_limit: usize,
}

/// Runs one `model_run` job.
pub async fn run(job: &Job, cx: &Context, life: &JobLife) -> JobOutcome {
    let request = match Request::read(job) {
        Ok(request) => request,
        Err(refused) => return refused,
    };
    tokio::select! {
        biased;
        () = life.stop.cancelled() => return life.cancelled(),
        () = looked_at(&cx.providers, |picture| is_known(picture, &request)) => {}
    }
    let provider = request.provider(&cx.providers.picture());
    let limits = Limits {
        grace: STOP_GRACE,
        keep: KEPT_BYTES,
        ..Limits::within(request.limit.value)
    };
    let finding = tokio::select! {
        finding = found(&cx.providers, provider) => finding,
        () = life.stop.cancelled() => return life.cancelled(),
    };
    let asked = Asked::new(&request, provider, &finding, limits.output);
    let version = match &finding.version {
        Ok(version) => version.clone(),
        Err(why) => {
            cx.providers
                .judge(provider, &Verdict::Absent(why.clone()), witness(job));
            return outcome::absent(&asked, why);
        }
    };
    let equipment = match equip(cx, provider) {
        Ok(equipment) => equipment,
        Err(why) => return JobOutcome::failed(why, []),
    };
    let withheld = match withheld((&cx.providers, provider), &finding.command, &equipment.env, None).await {
        Ok(withheld) => withheld,
        Err(why) => return JobOutcome::failed(why, []),
    };
    let mut request = asked_of_provider(request, equipment.root);
    request.extras.withheld = withheld;
    let turn = Turn {
        provider,
        command: finding.command,
        features: finding.features,
        version: Some(version),
        request,
        place: vec![PLACE.to_owned(), job.id.to_string()],
        cwd: None,
        env: equipment.env,
        mark: job.id.to_string(),
        limits,
        retry: Retry::default(),
    };
    let what = [
        ("provider", provider.wire().into()),
        ("model", turn.request.model.clone().into()),
        ("prompt", audit::prompt(&turn.request.prompt)),
    ];
    cx.audit.begins(job, what);
    answer(job, cx, life, &asked, turn).await
}

async fn answer(job: &Job, cx: &Context, life: &JobLife, asked: &Asked, turn: Turn) -> JobOutcome {
    let (planned, seen) = oneshot::channel();
    let run = async {
        let said = Said::<1>::new(&life.entry);
        let mut watcher = Watcher {
            life,
            said: &said,
            planned: Some(planned),
        };
        said.during(Box::pin(cx.agents.run(&turn, &life.stop, &mut watcher)))
            .await
    };
    // The run does not wait for the control plane to hear of it.
    let aside = async {
        let Ok(command) = seen.await else { return };
        let mut debug = Value::Object(debug::before(asked, &command));
        cx.outgoing.value(&mut debug);
        match timeout(ASIDE_PATIENCE, cx.backend.debug(&job.id, &debug)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!(job = %job.id, %error, "Failed to write the debug column"),
            Err(_elapsed) => warn!(job = %job.id, "Writing the debug column took too long"),
        }
    };
    let (report, ()) = tokio::join!(run, aside);
    if let Some(process) = &report.process {
        life.note(debug::after(asked, process, report.how.is_deadline()));
        life.held(process.held);
    }
    if report.how == How::Cancelled {
        return life.cancelled();
    }
    if let Some(verdict) = verdict(&report) {
        cx.providers.judge(asked.provider, &verdict, witness(job));
    }
    outcome::of(asked, report)
}

fn witness(job: &Job) -> Witness {
    Witness {
        context: "model_run",
        job_id: job.id.clone(),
        run_id: None,
    }
}

/// Whether the providers that may answer were looked at.
fn is_known(picture: &Picture, request: &Request) -> bool {
    let seen = |provider| picture.finding(provider).is_some();
    ProviderId::ALL.into_iter().all(seen) || (request.is_decided() && seen(request.provider(picture)))
}

fn asked_of_provider(request: Request, root: Root) -> RunRequest {
    RunRequest {
        model: request.model,
        output: request.output,
        append_system_prompt: request.append_system_prompt,
        effort: request.effort,
        // It never acts freely; as whom it runs is said all the same.
        extras: Extras {
            is_root: root.is_root,
            allow_root: root.allowed,
            ..Extras::default()
        },
        ..RunRequest::answer(request.prompt)
    }
}

impl Asked {
    fn new(request: &Request, provider: ProviderId, finding: &Finding, output_limit: usize) -> Self {
        let schema = match &request.output {
            OutputForm::Json { schema } => schema.as_ref(),
            OutputForm::Text => None,
        };
        Self {
            provider,
            command: finding.command.clone(),
            output: request.output.clone(),
            prompt_chars: request.prompt.encode_utf16().count(),
            schema_chars: schema.map(|schema| schema.to_string().encode_utf16().count()),
            timeout_ms: millis(request.limit.value),
            timeout_clamped: request.limit.clamped,
            output_limit,
        }
    }
}

/// Passes on which process runs, and how it was started.
struct Watcher<'a> {
    life: &'a JobLife,
    said: &'a Said<1>,
    planned: Option<oneshot::Sender<CommandLine>>,
}

impl Registrar for Watcher<'_> {
    fn register(&mut self, begun: Begun) -> BoxFuture<'_, Result<(), Unregistered>> {
        Box::pin(self.life.begins(begun))
    }
}

impl Observer for Watcher<'_> {
    fn planned(&mut self, command: &CommandLine) {
        if let Some(planned) = self.planned.take() {
            // Nobody listens any more: the job is ending.
            drop(planned.send(command.clone()));
        }
    }

    fn event(&mut self, event: RunEvent) {
        self.said.hear_agent(&event);
    }
}
