//! `shell_exec`: one command line in a login shell, its output and its exit code.
//!
//! Whatever the command did, the job is completed and says so; failed is what was refused before anything ran.

mod record;
mod request;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tokio::time::Instant;

use self::record::Record;
use self::request::Request;
use crate::domain::job::{Job, JobOutcome, JobResult};
use crate::job::audit;
use crate::job::entry::Said;
use crate::job::handler::gate::Gate;
use crate::job::handler::time_limit::TimeLimit;
use crate::job::handler::{Context, JobLife, StopReason};
use crate::job::policy::{self, Access};
use crate::process::capture::Hearer;
use crate::process::env::ChildEnv;
use crate::process::exit::{Ending, Exit};
use crate::process::mark::{self, Swept};
use crate::process::patience::{Unstarted, spawn_patiently};
use crate::process::spec::Spec;

/// Where every command starts.
const WORKING_DIRECTORY: &str = "/";

/// A request that may run.
#[derive(Debug, Clone, PartialEq)]
struct Admitted {
    resource_id: String,
    command: String,
    shell: PathBuf,
    limit: TimeLimit,
}

/// Runs one `shell_exec` job.
pub async fn run(job: &Job, cx: &Context, life: &JobLife) -> JobOutcome {
    if let Some(why) = life.stop_reason() {
        return not_begun(why, life);
    }
    let gate = Gate::of(cx, life);
    match admit(&Request::read(job), &gate) {
        Err(refused) => refused,
        Ok((resource_id, command, limit)) => {
            let shell = choose_shell(&cx.child_env, Path::exists);
            let admitted = Admitted {
                resource_id,
                command,
                shell,
                limit,
            };
            let command = audit::command(&admitted.command);
            cx.audit
                .begins(job, [("command", command), ("cwd", WORKING_DIRECTORY.into())]);
            execute(&admitted, cx, job.id.as_str(), life).await
        }
    }
}

/// A job that was asked to end before it began.
fn not_begun(why: &StopReason, life: &JobLife) -> JobOutcome {
    match why {
        StopReason::Cancelled => JobOutcome::failed(
            "Gateway remote shell exec job was cancelled before execution",
            [("cancelled", Value::Bool(true))],
        ),
        StopReason::Shutdown(_) => life.cancelled(),
    }
}

/// Every check before the start, in the documented order.
fn admit(request: &Request, gate: &Gate<'_>) -> Result<(String, String, TimeLimit), JobOutcome> {
    policy::machine_control(&gate.gateway, gate.host_enabled, gate.server_now)
        .map_err(|refusal| JobOutcome::failed(refusal.to_string(), []))?;
    let Some(id) = request.resource_id.clone() else {
        return Err(JobOutcome::failed("Missing resource_id in payload", []));
    };
    let refused = |why: &str| Err(JobOutcome::failed(why, [("resource_id", Value::from(id.clone()))]));
    if request.is_probe {
        return refused("VM restore readiness probe is not authorized for this staged gateway");
    }
    let ours = (&gate.identity.team_id, &gate.identity.gateway_id);
    if let Err(refusal) = policy::remote_shell(gate.resource(&id), &gate.gateway, ours, Access::Write) {
        return refused(&refusal.to_string());
    }
    let Some(command) = request.command.clone() else {
        return refused("Missing command in payload");
    };
    if request.wants_secrets {
        return refused("Team secrets can only be injected inside a managed VM");
    }
    Ok((id, command, request.limit))
}

fn choose_shell(env: &ChildEnv, exists: impl Fn(&Path) -> bool) -> PathBuf {
    let usual = ["/bin/bash", "/bin/sh"].map(PathBuf::from);
    let found = usual.iter().find(|shell| exists(shell)).cloned();
    let own = || {
        let shell = env.get("SHELL")?.to_str()?.trim();
        (!shell.is_empty()).then(|| PathBuf::from(shell))
    };
    found.or_else(own).unwrap_or_else(|| PathBuf::from("/bin/bash"))
}

async fn execute(admitted: &Admitted, cx: &Context, id: &str, life: &JobLife) -> JobOutcome {
    let began = Instant::now();
    let env = cx.child_env.clone().with(mark::NAME, id);
    let mut spec = Spec::new(&admitted.shell, env)
        .args(["-lc", &admitted.command])
        .timeout(admitted.limit.value);
    spec.cwd = PathBuf::from(WORKING_DIRECTORY);
    match spawn_patiently(&spec, admitted.limit.value, &life.stop, &mut &*life).await {
        Err(Unstarted::Stopped) => life.cancelled(),
        Err(Unstarted::Unregistered(why)) => JobOutcome::failed(why.to_string(), []),
        Err(Unstarted::Failed(error)) => JobOutcome::Completed {
            result: Record::unstarted(&error, began.elapsed()).into_result(admitted),
        },
        Ok(child) => {
            let said = Said::<2>::new(&life.entry);
            let hearers: [Hearer<'_>; 2] = [&|bytes| said.hear(0, bytes), &|bytes| said.hear(1, bytes)];
            let exit = said.during(child.wait_heard(life.stop.clone(), hearers)).await;
            let swept = match exit.ending {
                Ending::Exited => Swept::default(),
                // What has left the process group has to end as well.
                Ending::TimedOut { .. } | Ending::Stopped { .. } => mark::kill_marked(&HashSet::from([id])).await,
            };
            life.held(exit.held(&swept));
            ended(admitted, exit, life)
        }
    }
}

fn ended(admitted: &Admitted, exit: Exit, life: &JobLife) -> JobOutcome {
    let stopped = match exit.ending {
        Ending::Exited | Ending::TimedOut { .. } => false,
        Ending::Stopped { .. } => true,
    };
    let result = Record::of(exit).into_result(admitted);
    if !stopped {
        return JobOutcome::Completed { result };
    }
    match (life.stop_reason(), life.cancelled()) {
        // The row takes this result, so what the command said until then is worth keeping.
        (Some(StopReason::Shutdown(_)), JobOutcome::Cancelled { result: why, error }) => JobOutcome::Cancelled {
            result: with_reason(result, why),
            error,
        },
        (_, outcome) => outcome,
    }
}

fn with_reason(mut result: JobResult, why: JobResult) -> JobResult {
    result.fields.extend(why.fields);
    result
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::ids::{GatewayId, TeamId};
    use crate::job::handler::Identity;
    use crate::job::policy::{Fact, GatewayFacts, ResourceFacts};

    fn job(payload: &Value, requested_via: Option<&str>) -> Job {
        let row = json!({
            "id": "j", "team_id": "t", "gateway_id": "g", "status": "running", "job_type": "shell_exec",
            "payload": payload, "created_at": "c", "updated_at": "u", "requested_via": requested_via
        });
        crate::wire::job_row::decode(&row).unwrap()
    }

    fn identity() -> Identity {
        Identity {
            gateway_id: GatewayId::new("g").unwrap(),
            team_id: TeamId::new("t").unwrap(),
        }
    }

    fn verdict(payload: &Value, via: Option<&str>, change: impl FnOnce(&mut Gate<'_>)) -> Result<String, JobOutcome> {
        let identity = identity();
        let now = crate::domain::clock::now();
        let mut gate = Gate {
            identity: &identity,
            gateway: Fact::Present(GatewayFacts {
                full_control_enabled: true,
                last_seen_at: Some(now),
                machine_control_ready: true,
                ..GatewayFacts::default()
            }),
            resource: Fact::Present(ResourceFacts {
                id: "r".to_owned(),
                team_id: "t".to_owned(),
                resource_type: "remote_shell".to_owned(),
                gateway_id: Some("g".to_owned()),
                full_control: true,
                ..ResourceFacts::default()
            }),
            host_enabled: true,
            server_now: now,
        };
        change(&mut gate);
        admit(&Request::read(&job(payload, via)), &gate).map(|(_, command, _)| command)
    }

    /// The outcome's error, and whether its result names the resource.
    fn refusal(outcome: &JobOutcome) -> (&str, bool) {
        let fields = &outcome.result().fields;
        assert_eq!(fields.get("message").and_then(Value::as_str), outcome.error());
        (outcome.error().unwrap(), fields.get("resource_id") == Some(&json!("r")))
    }

    #[test]
    fn a_good_request_keeps_its_command_untrimmed() {
        let payload = json!({"resource_id": " r ", "command": "  id\n"});
        assert_eq!(verdict(&payload, Some("cli"), |_| ()), Ok("  id\n".to_owned()));
    }

    #[test]
    fn each_check_refuses_in_its_order() {
        let (bare, blank) = (json!({}), json!({"resource_id": "r", "command": " \n"}));
        let secret = json!({"resource_id": "r", "command": "id", "secret_env": {"A": ""}});
        let probe = Some("vm_restore_readiness_probe");

        let outcome = verdict(&bare, None, |gate| gate.gateway = Fact::Absent).unwrap_err();
        assert_eq!(refusal(&outcome), ("Gateway control state unavailable", false));
        assert_eq!(
            refusal(&verdict(&bare, None, |_| ()).unwrap_err()),
            ("Missing resource_id in payload", false)
        );
        let outcome = verdict(&blank, probe, |gate| gate.resource = Fact::Absent).unwrap_err();
        let text = "VM restore readiness probe is not authorized for this staged gateway";
        assert_eq!(refusal(&outcome), (text, true));
        let outcome = verdict(&blank, None, |gate| gate.resource = Fact::Absent).unwrap_err();
        assert_eq!(refusal(&outcome), ("Remote shell resource not found", true));
        let other = json!({"resource_id": "other", "command": "id"});
        let outcome = verdict(&other, None, |_| ()).unwrap_err();
        assert_eq!(outcome.error(), Some("Remote shell resource not found"));
        assert_eq!(
            refusal(&verdict(&blank, None, |_| ()).unwrap_err()),
            ("Missing command in payload", true)
        );
        let text = "Team secrets can only be injected inside a managed VM";
        assert_eq!(refusal(&verdict(&secret, None, |_| ()).unwrap_err()), (text, true));
    }

    #[test]
    fn no_secrets_are_no_reason() {
        for none in [json!(null), json!({}), json!([1]), json!("x")] {
            let payload = json!({"resource_id": "r", "command": "id", "secret_env": none});
            assert!(verdict(&payload, None, |_| ()).is_ok());
        }
    }

    #[test]
    fn shells_are_tried_in_order() {
        let env = ChildEnv::default().with("SHELL", " /opt/zsh ");
        let choose =
            |env: &ChildEnv, there: &[&str]| choose_shell(env, |path| there.iter().any(|t| path == Path::new(t)));
        assert_eq!(choose(&env, &["/bin/sh", "/bin/bash"]), Path::new("/bin/bash"));
        assert_eq!(choose(&env, &["/bin/sh"]), Path::new("/bin/sh"));
        assert_eq!(choose(&env, &[]), Path::new("/opt/zsh"));
        assert_eq!(
            choose(&ChildEnv::default().with("SHELL", " "), &[]),
            Path::new("/bin/bash")
        );
    }
}
