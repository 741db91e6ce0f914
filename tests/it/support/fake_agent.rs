//! Agent CLIs made of a few lines of shell, and a driver that understands what they print.
//!
//! One JSON object a line: `text` says something, `tool` and `tool_result` use one, `answer`, `usage`, `cost`,
//! `session` and `error` (a kind) with `message` make the end. Anything else is ignored.

use std::future::ready;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::{Arc, Barrier, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use gateway::domain::run::{Answer, Cumulative, FailureKind, RunEnd, RunEvent, RunFailure};
use gateway::job::agent::retry::Retry;
use gateway::job::agent::{Agents, CommandLine, Limits, Observer, Turn};
use gateway::process::env::ChildEnv;
use gateway::process::hold::{Begun, Registrar, Unregistered};
use gateway::process::identity::ProcessIdentity;
use gateway::provider::ProviderId;
use gateway::provider::capability::Features;
use gateway::provider::driver::{Check, Driver};
use gateway::provider::plan::{Cli, Format, Plan, PlanFile};
use gateway::provider::request::{Access, RunRequest, Session};
use gateway::provider::transcript::{Ended, Transcript};
use gateway::state::fs::OwnerDir;
use serde_json::{Map, Value};

/// What the driver plans.
#[derive(Debug)]
pub(crate) struct FakeDriver {
    pub(crate) format: Format,
    pub(crate) writes_file: bool,
    pub(crate) cumulative: bool,
    /// Where an answer's check waits, when it begins and before it ends.
    pub(crate) slow: Option<Arc<Barrier>>,
    /// Sessions of the plans that were made.
    pub(crate) sessions: Mutex<Vec<Session>>,
}

impl Default for FakeDriver {
    fn default() -> Self {
        Self {
            format: Format::JsonLines,
            writes_file: false,
            cumulative: false,
            slow: None,
            sessions: Mutex::default(),
        }
    }
}

impl Driver for FakeDriver {
    fn plan(&self, _: ProviderId, request: &RunRequest, _: Cli<'_>) -> Result<Plan, RunFailure> {
        self.sessions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(request.session.clone());
        if request.prompt.contains('\0') {
            return Err(RunFailure::new(FailureKind::Request, "a prompt cannot hold NUL"));
        }
        let file = request.scratch.join("plan.json");
        Ok(Plan {
            args: vec![
                "--plan".to_owned(),
                file.display().to_string(),
                "--api-key".to_owned(),
                "hunter2".to_owned(),
            ],
            env: vec![("FAKE_SET", Some("1".to_owned())), ("FAKE_UNSET", None)],
            stdin: request.prompt.clone().into_bytes(),
            files: vec![PlanFile {
                path: file,
                contents: b"{\"planned\":true}".to_vec(),
            }],
            output_file: self.writes_file.then(|| request.scratch.join("out.json")),
            format: self.format,
        })
    }

    fn transcript(&self, _: ProviderId, _: &RunRequest, _: Cli<'_>, format: Format) -> Box<dyn Transcript> {
        Box::new(Reader {
            format,
            cumulative: self.cumulative,
            ..Reader::default()
        })
    }

    fn schema(&self, schema: &Value) -> Result<Check, RunFailure> {
        let Some(needed) = schema["needs"].as_str().map(str::to_owned) else {
            return Err(RunFailure::new(FailureKind::Request, "no schema"));
        };
        let slow = self.slow.clone();
        Ok(Arc::new(move |answer| {
            if let Some(slow) = &slow {
                slow.wait();
                slow.wait();
            }
            match answer.get(&needed) {
                Some(_) => Ok(()),
                None => Err(RunFailure::new(FailureKind::Answer, format!("{needed} is missing"))),
            }
        }))
    }
}

#[derive(Debug)]
struct Reader {
    format: Format,
    cumulative: bool,
    said: Map<String, Value>,
    text: String,
    tool_ran: bool,
}

impl Default for Reader {
    fn default() -> Self {
        Self {
            format: Format::JsonLines,
            cumulative: false,
            said: Map::new(),
            text: String::new(),
            tool_ran: false,
        }
    }
}

impl Transcript for Reader {
    fn line(&mut self, line: &[u8], events: &mut Vec<RunEvent>) {
        if self.format != Format::JsonLines {
            self.text.push_str(&String::from_utf8_lossy(line));
            self.text.push('\n');
            return;
        }
        let Ok(Value::Object(line)) = serde_json::from_slice(line) else {
            return;
        };
        let word = |key: &str| line.get(key).and_then(Value::as_str).map(str::to_owned);
        events.extend(word("text").map(|content| RunEvent::Message {
            id: None,
            content,
            reasoning: false,
            model: None,
            stop_reason: None,
        }));
        events.extend(word("tool").map(|id| RunEvent::ToolCall {
            id,
            name: None,
            input: Value::Null,
            summary: None,
            message_id: None,
        }));
        self.tool_ran |= line.contains_key("tool");
        events.extend(word("tool_result").map(|id| RunEvent::ToolResult {
            id,
            name: None,
            content: String::new(),
            is_error: false,
            message_id: None,
        }));
        self.said.extend(line);
    }

    fn overlong(&mut self, length: u64, events: &mut Vec<RunEvent>) {
        events.push(RunEvent::Progress {
            phase: "line_dropped".to_owned(),
            details: Map::from_iter([("bytes".to_owned(), Value::from(length))]),
        });
    }

    fn end(self: Box<Self>, facts: &Ended<'_>) -> RunEnd {
        let word = |key: &str| self.said.get(key).and_then(Value::as_str).map(str::to_owned);
        let text = match facts.output_file {
            Some(Ok(bytes)) => Some(String::from_utf8_lossy(bytes).into_owned()),
            Some(Err(why)) => Some(format!("no file: {why}")),
            None if self.format == Format::JsonLines => word("answer"),
            None => Some(self.text.clone()),
        };
        let answer = match (word("error"), text) {
            (Some(error), _) => Err(RunFailure::new(kind(&error), word("message").unwrap_or_default())),
            (None, Some(text)) if facts.exit_code == Some(0) || self.said.contains_key("answer") => Ok(Answer {
                text,
                structured: self.said.get("structured").cloned(),
                raw: Value::Object(self.said.clone()),
            }),
            (None, _) => Err(RunFailure::new(
                FailureKind::Crash,
                String::from_utf8_lossy(facts.stderr).trim().to_owned(),
            )),
        };
        RunEnd {
            answer,
            session_id: word("session"),
            model: word("model"),
            usage: self.said.get("usage").cloned(),
            cost_usd: self.said.get("cost").and_then(Value::as_f64),
            cumulative: Cumulative {
                usage: self.cumulative,
                cost: self.cumulative,
            },
            tool_ran: self.tool_ran,
            metadata: Map::new(),
        }
    }
}

fn kind(code: &str) -> FailureKind {
    [
        FailureKind::Authentication,
        FailureKind::Quota,
        FailureKind::Capacity,
        FailureKind::Network,
        FailureKind::Model,
    ]
    .into_iter()
    .find(|kind| kind.code() == code)
    .unwrap()
}

/// A runner with its state in `dir`.
pub(crate) fn agents(dir: &Path, driver: FakeDriver) -> Agents {
    let state = OwnerDir::open_or_create(&dir.join("state")).unwrap();
    Agents::new(&Arc::new(state), Arc::new(driver)).unwrap()
}

/// Writes an executable script. `$0` knows where it lies, so it can keep notes beside itself.
pub(crate) fn script(dir: &Path, body: &str) -> String {
    use std::io::Write as _;
    let path = dir.join("agent");
    let mut options = std::fs::File::options();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o755)
        .open(&path)
        .unwrap();
    write!(file, "#!/bin/sh\n{body}\n").unwrap();
    path.display().to_string()
}

/// Everything heard of a run.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(crate) planned: Vec<CommandLine>,
    pub(crate) started: Vec<ProcessIdentity>,
    pub(crate) events: Vec<RunEvent>,
    /// Is cancelled by a message with the text `stop me`.
    pub(crate) stop: tokio_util::sync::CancellationToken,
}

impl Heard {
    /// Messages, and the names of everything else.
    pub(crate) fn words(&self) -> Vec<String> {
        let word = |event: &RunEvent| match event {
            RunEvent::Message { content, .. } => content.clone(),
            RunEvent::Progress { phase, .. } => phase.clone(),
            RunEvent::Partial { .. } | RunEvent::ToolCall { .. } | RunEvent::ToolResult { .. } => {
                event.event_type().to_owned()
            }
        };
        self.events.iter().map(word).collect()
    }
}

impl Registrar for Heard {
    fn register(&mut self, begun: Begun) -> BoxFuture<'_, Result<(), Unregistered>> {
        self.started.push(begun.process);
        Box::pin(ready(Ok(())))
    }
}

impl Observer for Heard {
    fn planned(&mut self, command: &CommandLine) {
        self.planned.push(command.clone());
    }

    fn event(&mut self, event: RunEvent) {
        if matches!(&event, RunEvent::Message { content, .. } if content == "stop me") {
            self.stop.cancel();
        }
        self.events.push(event);
    }
}

/// A turn of the scripted agent with short patience.
pub(crate) fn turn(command: String, mark: &str) -> Turn {
    let second = std::time::Duration::from_secs(1);
    Turn {
        provider: ProviderId::Codex,
        command,
        features: Features::default(),
        version: None,
        request: RunRequest {
            access: Access::Restricted,
            ..RunRequest::answer("hello")
        },
        place: vec!["runs".to_owned(), mark.to_owned()],
        cwd: None,
        env: ChildEnv::exactly([
            ("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into()),
            ("FAKE_UNSET".into(), "1".into()),
        ]),
        mark: mark.to_owned(),
        limits: Limits {
            grace: second / 5,
            ..Limits::within(60 * second)
        },
        retry: Retry {
            base: second / 1000,
            ..Retry::default()
        },
    }
}
