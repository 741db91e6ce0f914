//! `diagnostic`: examines this host and the agent CLIs on it.
//!
//! The job is completed when the host could be examined, also when no agent CLI is installed: then `success` is
//! false and the members about Claude say why.

use std::fs;
use std::sync::LazyLock;

use nix::sys::utsname;
use serde_json::{Map, Value, json};

use crate::domain::clock;
use crate::domain::job::{Job, JobOutcome, JobResult, RawField};
use crate::job::handler::{Context, JobLife};
use crate::process::containment;
use crate::provider::document::{Picture, arch, platform};
use crate::provider::probe::Answer;
use crate::provider::{ProviderId, Providers};

/// Facts of the host do not change while we run.
static HOST: LazyLock<Result<Value, String>> = LazyLock::new(host);

/// Runs the job; its payload is ignored.
pub async fn run(_job: &Job, cx: &Context, life: &JobLife) -> JobOutcome {
    tokio::select! {
        outcome = examine(&cx.providers) => outcome,
        () = life.stop.cancelled() => life.cancelled(),
    }
}

/// Asks Claude's version anew; the other providers are as last seen.
async fn examine(providers: &Providers) -> JobOutcome {
    let picture = providers.picture();
    let claude = picture.finding(ProviderId::ClaudeCode);
    let command = claude.map_or(ProviderId::ClaudeCode.program(), |finding| finding.command.as_str());
    let answer = providers.prober.version_now(command).await;
    report(HOST.clone(), &picture, command, answer)
}

fn report(host: Result<Value, String>, picture: &Picture, command: &str, answer: Answer) -> JobOutcome {
    let host = match host {
        Ok(host) => host,
        Err(error) => return JobOutcome::failed(format!("Host check failed: {error}"), []),
    };
    let version = answer.version().ok().filter(|version| !version.is_empty());
    let mut fields = Map::new();
    let mut put = |key: &str, value: Value| fields.insert(key.to_owned(), value);
    put("success", json!(picture.any_ready()));
    put("command", json!(format!("{command} --version")));
    put("exit_code", json!(answer.exit_code));
    put("duration_ms", json!(clock::millis(answer.duration)));
    if let Some(version) = version {
        put("version", json!(version));
    }
    if let Some(error) = answer.error {
        put("error", json!(error));
    }
    put("host", host);
    put("providers", providers_block(picture));
    let raw = [("stdout", answer.stdout), ("stderr", answer.stderr)].map(|(key, bytes)| RawField {
        key: key.to_owned(),
        bytes,
    });
    JobOutcome::Completed {
        result: JobResult {
            fields,
            raw: raw.into(),
            run: None,
        },
    }
}

fn providers_block(picture: &Picture) -> Value {
    let block = |provider: ProviderId| {
        let command = picture
            .finding(provider)
            .map_or(provider.program(), |finding| finding.command.as_str());
        let seen = picture.block(provider);
        let block = json!({
            "command": command, "version": seen.version, "available": seen.available,
            "health": seen.health, "error": seen.error,
        });
        (provider.wire().to_owned(), block)
    };
    Value::Object(ProviderId::ALL.into_iter().map(block).collect())
}

fn host() -> Result<Value, String> {
    let system = utsname::uname().map_err(|errno| errno.to_string())?;
    let held = containment::current();
    Ok(json!({
        "os": platform(),
        "arch": arch(),
        "kernel": system.release().to_string_lossy(),
        "versions": {"gateway": env!("CARGO_PKG_VERSION"), "os": os_name()},
        "containment": {
            "method": held.method, "reason": held.reason, "cgroup": cgroup(), "container": container(),
        },
    }))
}

/// The distribution's own name for itself.
fn os_name() -> Option<String> {
    let text = fs::read_to_string("/etc/os-release").ok()?;
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(name.trim_matches('"').to_owned())
}

/// Our cgroup (version 2), where there is one.
fn cgroup() -> Option<String> {
    let text = fs::read_to_string("/proc/self/cgroup").ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix("0::"))
        .map(str::to_owned)
}

/// Which container engine left its mark at the root.
fn container() -> Option<&'static str> {
    let marks = [("/.dockerenv", "docker"), ("/run/.containerenv", "podman")];
    marks
        .into_iter()
        .find(|(mark, _)| fs::exists(mark).unwrap_or(false))
        .map(|(_, engine)| engine)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;

    use super::*;
    use crate::provider::capability::{Features, Finding};

    fn answer(stdout: &str, exit_code: Option<i32>, error: Option<&str>) -> Answer {
        Answer {
            stdout: stdout.into(),
            stderr: Vec::new(),
            exit_code,
            duration: Duration::from_millis(12),
            error: error.map(str::to_owned),
        }
    }

    #[test]
    fn without_any_provider_the_job_is_completed_and_success_is_false() {
        let missing = answer("", None, Some("spawn claude ENOENT"));
        let outcome = report(host(), &Picture::default(), "claude", missing);
        assert_eq!(outcome.error(), None);
        let fields = Value::from(outcome.result().fields.clone());
        assert_eq!(fields["success"], json!(false));
        assert_eq!(fields["command"], json!("claude --version"));
        assert_eq!(fields["exit_code"], Value::Null);
        assert_eq!(fields["error"], json!("spawn claude ENOENT"));
        assert_eq!(fields.get("version"), None);
        assert_eq!(fields["host"]["arch"], json!(arch()));
        assert!(fields["host"]["kernel"].is_string());
        assert_eq!(fields["providers"]["codex"]["available"], json!(false));
    }

    #[test]
    fn a_usable_claude_is_a_success() {
        let mut picture = Picture::default();
        let finding = Finding {
            command: "/opt/claude".to_owned(),
            version: Ok("2.1.0".to_owned()),
            features: Features::default(),
        };
        picture.see(ProviderId::ClaudeCode, finding, Timestamp::UNIX_EPOCH);
        let outcome = report(host(), &picture, "/opt/claude", answer("2.1.0\n", Some(0), None));
        let fields = Value::from(outcome.result().fields.clone());
        assert_eq!(
            (&fields["success"], &fields["version"]),
            (&json!(true), &json!("2.1.0"))
        );
        assert_eq!((&fields["exit_code"], &fields["duration_ms"]), (&json!(0), &json!(12)));
        assert_eq!(fields["providers"]["claude_code"]["command"], json!("/opt/claude"));
        assert_eq!(outcome.result().raw[0].bytes, b"2.1.0\n");
    }

    #[test]
    fn a_host_that_cannot_be_examined_fails_the_job() {
        let outcome = report(
            Err("EFAULT".to_owned()),
            &Picture::default(),
            "claude",
            answer("", None, None),
        );
        assert_eq!(outcome.error(), Some("Host check failed: EFAULT"));
    }
}
