//! Recorded runs of agent CLIs, read again.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use gateway::domain::run::{FailureKind, RunEnd, RunEvent, RunFailure};
use gateway::provider::ProviderId;
use gateway::provider::capability::Features;
use gateway::provider::plan::Plan;
use gateway::provider::request::{Access, RunRequest, Session};
use gateway::provider::transcript::{Ended, Transcript};
use serde::Deserialize;

/// How a recorded run ended.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct End {
    pub(crate) exit: i32,
    pub(crate) stderr: String,
}

/// What a replay came to.
#[derive(Debug)]
pub(crate) struct Replayed {
    pub(crate) events: Vec<RunEvent>,
    pub(crate) end: RunEnd,
}

/// The recorded runs of one provider.
pub(crate) struct Recordings {
    dir: PathBuf,
    pub(crate) ends: BTreeMap<String, End>,
}

impl Recordings {
    pub(crate) fn of(provider: &str) -> Self {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fixtures/providers")
            .join(provider);
        let ends = serde_json::from_slice(&fs::read(dir.join("ends.json")).unwrap()).unwrap();
        Self { dir, ends }
    }

    pub(crate) fn stdout(&self, name: &str) -> Vec<u8> {
        fs::read(self.dir.join(format!("{name}.jsonl"))).unwrap()
    }

    /// What the CLI says about itself.
    pub(crate) fn help(&self) -> String {
        fs::read_to_string(self.dir.join("help.txt")).unwrap()
    }

    /// Feeds a recorded run to a reader as a runner does: split at `\n` and nowhere else.
    pub(crate) fn replay(&self, name: &str, reader: Box<dyn Transcript>) -> Replayed {
        replay(&self.stdout(name), &self.ends[name], reader)
    }
}

pub(crate) fn replay(stdout: &[u8], end: &End, mut reader: Box<dyn Transcript>) -> Replayed {
    let mut events = Vec::new();
    for line in stdout.split(|byte| *byte == b'\n') {
        reader.line(line, &mut events);
    }
    let facts = Ended {
        exit_code: (end.exit >= 0).then_some(end.exit),
        signal: (end.exit < 0).then_some(-end.exit),
        stderr: end.stderr.as_bytes(),
        output_file: None,
    };
    let end = reader.end(&facts);
    Replayed { events, end }
}

impl Replayed {
    /// The answer's text, or kind and text of the failure.
    pub(crate) fn outcome(&self) -> Result<&str, (FailureKind, &str)> {
        match &self.end.answer {
            Ok(answer) => Ok(&answer.text),
            Err(failure) => Err((failure.kind, &failure.message)),
        }
    }

    /// Everything a wire would see, for a snapshot.
    pub(crate) fn describe(&self) -> String {
        let mut text = String::new();
        for event in &self.events {
            writeln!(text, "  {} {}", event.event_type(), event.payload()).unwrap();
        }
        match &self.end.answer {
            Ok(answer) => writeln!(text, "  = {:?} {:?}", answer.text, answer.structured).unwrap(),
            Err(failure) => writeln!(text, "  ! {} {:?}", failure.kind.code(), failure.message).unwrap(),
        }
        let usage = self.end.usage.as_ref().map(ToString::to_string);
        let (tool_ran, metadata) = (self.end.tool_ran, serde_json::to_string(&self.end.metadata).unwrap());
        writeln!(text, "  usage {usage:?} tool_ran {tool_ran} metadata {metadata}").unwrap();
        text
    }
}

/// A request for a plain answer.
pub(crate) fn request(prompt: &str) -> RunRequest {
    RunRequest {
        access: Access::Restricted,
        session: Session::New("01a1fbb6-25d3-4471-8b5a-ff18f24241f0".to_owned()),
        scratch: PathBuf::from("/scratch"),
        ..RunRequest::answer(prompt)
    }
}

/// The same about ships, with one change.
pub(crate) fn with(change: impl FnOnce(&mut RunRequest)) -> RunRequest {
    let mut request = request("Sail.");
    change(&mut request);
    request
}

/// The features of a CLI whose help names these words.
pub(crate) fn features(provider: ProviderId, help: &str) -> Features {
    Features::read(provider, Some(help), None)
}

/// Starts as text, for a snapshot; the note stands behind the name of each.
pub(crate) fn describe_plans(
    cases: &[(&str, RunRequest)],
    note: &str,
    plan: impl Fn(&RunRequest) -> Result<Plan, RunFailure>,
) -> String {
    let mut text = String::new();
    for (name, request) in cases {
        writeln!(text, "{name}{note}\n{}", describe_plan(&plan(request))).unwrap();
    }
    text
}

/// Arguments in a row, then what they lead to.
fn describe_plan(plan: &Result<Plan, RunFailure>) -> String {
    let plan = match plan {
        Ok(plan) => plan,
        Err(failure) => return format!("  ! {} {}\n", failure.kind.code(), failure.message),
    };
    let mut text = String::new();
    plan.args.iter().for_each(|arg| writeln!(text, "  {arg}").unwrap());
    plan.env
        .iter()
        .for_each(|(name, value)| writeln!(text, "  env {name}={value:?}").unwrap());
    for file in &plan.files {
        writeln!(
            text,
            "  file {} {:?}",
            file.path.display(),
            String::from_utf8_lossy(&file.contents)
        )
        .unwrap();
    }
    let stdin = String::from_utf8_lossy(&plan.stdin);
    writeln!(
        text,
        "  stdin {stdin:?} stdout {:?} output {:?}",
        plan.format, plan.output_file
    )
    .unwrap();
    text
}
