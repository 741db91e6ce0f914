//! Reads what Claude Code prints.

use serde_json::{Map, Value};

use crate::domain::run::{RunEnd, RunEvent};
use crate::provider::answer::Whole;
use crate::provider::claude::line::{Line, Message, StreamEvent};
use crate::provider::claude::message::Messages;
use crate::provider::claude::quirks;
use crate::provider::claude::usage::Usage;
use crate::provider::claude::verdict::{self, Heard};
use crate::provider::lean;
use crate::provider::plan::{Cli, Format};
use crate::provider::request::{OutputForm, RunRequest, Session};
use crate::provider::tame;
use crate::provider::transcript::{Ended, Transcript};

/// What of `system` lines is worth an event: each with the members that go with it.
const PROGRESS: &[(&str, &[&str])] = &[
    ("init", &["session_id", "model", "permissionMode"]),
    (
        "api_retry",
        &["attempt", "max_retries", "retry_delay_ms", "error_status", "error"],
    ),
    ("permission_denied", &["tool_name", "tool_use_id", "message"]),
    ("task_started", &["task_id", "description"]),
    ("task_notification", &["task_id", "status", "summary"]),
    ("compact_boundary", &["compact_metadata"]),
];

/// Reader of one run.
#[derive(Debug)]
pub struct Reader {
    format: Format,
    asked: Asked,
    messages: Messages,
    usage: Usage,
    init: Map<String, Value>,
    result: Option<Map<String, Value>>,
    results: u64,
    whole: Whole,
    dropped: Option<u64>,
    message_open: bool,
}

/// What the answer is held against.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) session: Option<String>,
    pub(crate) schema: bool,
    pub(crate) native_schema: bool,
    pub(crate) cost_is_cumulative: bool,
}

impl Reader {
    /// A reader for a run of that request on that CLI.
    #[must_use]
    pub fn new(request: &RunRequest, cli: Cli<'_>, format: Format) -> Self {
        let asked = Asked {
            session: match &request.session {
                Session::Ephemeral => None,
                Session::New(id) => cli.features.has("sessionIdFlag").then(|| id.clone()),
                Session::Resume(id) => Some(id.clone()),
            },
            schema: matches!(request.output, OutputForm::Json { schema: Some(_) }),
            native_schema: cli.features.has("jsonSchemaFlag"),
            cost_is_cumulative: quirks::cost_is_cumulative(cli.version),
        };
        Self {
            format,
            asked,
            messages: Messages::default(),
            usage: Usage::default(),
            init: Map::new(),
            result: None,
            results: 0,
            whole: Whole::default(),
            dropped: None,
            message_open: false,
        }
    }

    fn stream_line(&mut self, bytes: &[u8], events: &mut Vec<RunEvent>) {
        let Ok(line) = lean::read::<Line<'_>>(bytes) else {
            return;
        };
        let parent = line.parent_tool_use_id.as_deref();
        match line.kind.as_deref().unwrap_or_default() {
            "stream_event" if parent.is_none() => self.stream_event(line.event.as_ref(), events),
            "assistant" => {
                if let Some(raw) = line.message {
                    self.messages.assistant(Message::read(raw), parent, events);
                }
            }
            "user" => {
                if let Some(raw) = line.message {
                    self.messages.user(Message::read(raw), events);
                }
            }
            "system" => self.system(line.subtype.as_deref().unwrap_or_default(), bytes, events),
            "result" => self.result(bytes),
            _ => {}
        }
    }

    fn stream_event(&mut self, event: Option<&StreamEvent<'_>>, events: &mut Vec<RunEvent>) {
        let Some(event) = event else {
            return;
        };
        match event.kind.as_deref().unwrap_or_default() {
            "content_block_delta" => {
                let piece = event.delta.as_ref().and_then(|delta| delta.text.as_ref());
                if let Some(piece) = piece.filter(|piece| !piece.is_empty()) {
                    let text = piece.to_string();
                    events.push(RunEvent::Partial { text });
                }
            }
            // The stream broke and the CLI asks again: the same text may come once more.
            "message_start" if self.message_open => events.push(progress("stream_restarted", Map::new())),
            "message_start" => self.message_open = true,
            "message_stop" => self.message_open = false,
            _ => {}
        }
    }

    fn system(&mut self, subtype: &str, bytes: &[u8], events: &mut Vec<RunEvent>) {
        let Some((phase, members)) = PROGRESS.iter().find(|(phase, _)| *phase == subtype) else {
            return;
        };
        let mut object = tame::read::<Map<String, Value>>(bytes).unwrap_or_default();
        object.retain(|name, value| members.contains(&name.as_str()) && !value.is_null());
        if *phase == "init" {
            // A second result has a second one in front; it is the same run.
            if self.init.is_empty() {
                self.init.clone_from(&object);
                events.push(progress("session_started", object));
            }
        } else {
            events.push(progress(phase, object));
        }
    }

    fn result(&mut self, bytes: &[u8]) {
        if let Ok(result) = tame::read::<Map<String, Value>>(bytes) {
            self.usage.add(&result);
            self.results += 1;
            self.result = Some(result);
        }
    }

    /// One document: a result, or everything as a list with the result in it.
    fn document(&mut self) -> Option<String> {
        let text = self.whole.text()?;
        let found = match tame::read::<Value>(text.as_bytes()) {
            Ok(Value::Array(lines)) => lines
                .into_iter()
                .rev()
                .find(|line| line.get("type") == Some(&Value::from("result"))),
            Ok(other) => Some(other),
            Err(_) => text.lines().rev().find_map(|line| tame::read(line.as_bytes()).ok()),
        };
        if let Some(Value::Object(result)) = found {
            self.usage.add(&result);
            self.results = 1;
            self.result = Some(result);
        }
        Some(text)
    }
}

impl Transcript for Reader {
    fn line(&mut self, line: &[u8], events: &mut Vec<RunEvent>) {
        match self.format {
            Format::JsonLines => self.stream_line(line, events),
            Format::Json | Format::Text => self.whole.line(line),
        }
    }

    fn overlong(&mut self, length: u64, events: &mut Vec<RunEvent>) {
        self.dropped = Some(length);
        self.whole.lose();
        events.push(progress(
            "line_dropped",
            Map::from_iter([("bytes".to_owned(), Value::from(length))]),
        ));
    }

    fn end(mut self: Box<Self>, facts: &Ended<'_>) -> RunEnd {
        let text = match self.format {
            Format::JsonLines => None,
            Format::Json => self.document(),
            Format::Text => self.whole.text(),
        };
        verdict::judge(
            &Heard {
                asked: &self.asked,
                plain: text.filter(|_| self.format == Format::Text),
                only_result: self.format != Format::JsonLines,
                init: &self.init,
                result: self.result.as_ref(),
                results: self.results,
                dropped: self.dropped,
                usage: &self.usage,
                model: self.messages.model.as_deref(),
                tool_ran: self.messages.tool_ran,
            },
            facts,
        )
    }
}

fn progress(phase: &str, details: Map<String, Value>) -> RunEvent {
    let phase = phase.to_owned();
    RunEvent::Progress { phase, details }
}
