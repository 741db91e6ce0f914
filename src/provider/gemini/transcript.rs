//! What a run of Gemini CLI prints: `stream-json`, or one JSON document where an older version has nothing else.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::domain::run::{Answer, Cumulative, FailureKind, RunEnd, RunEvent, RunFailure};
use crate::provider::answer::{self, Whole};
use crate::provider::gemini::text::Draft;
use crate::provider::gemini::verdict;
use crate::provider::lean::{self, Raw, Text};
use crate::provider::plan::{Cli, Format};
use crate::provider::request::{Access, OutputForm, RunRequest, Session};
use crate::provider::tame;
use crate::provider::transcript::{Ended, Transcript};

/// More calls than this are never open at once.
const MAX_OPEN: usize = 256;
/// More complaints than this are not kept.
const MAX_WARNINGS: usize = 16;

/// Reads a run of Gemini CLI.
#[derive(Debug)]
pub struct Reader {
    /// The session asked for.
    wanted: Option<String>,
    output: OutputForm,
    format: Format,
    /// Whether it has tools at all.
    acts: bool,
    /// Stdout as a whole, where it does not come in events.
    whole: Whole,
    found: Found,
}

/// What was read so far.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) session: Option<String>,
    pub(crate) model: Option<String>,
    /// The text that is being written.
    text: Draft,
    /// The newest whole message: the answer, once there is a result.
    pub(crate) message: Option<String>,
    /// `success` or `error`.
    pub(crate) status: Option<String>,
    /// Why it failed.
    pub(crate) error: Option<String>,
    /// What it complained of without failing.
    pub(crate) warnings: Vec<String>,
    pub(crate) stats: Option<Value>,
    pub(crate) tool_ran: bool,
    /// Something that may have been part of the answer was too long to be kept.
    pub(crate) lost: bool,
    /// Whether the prompt, which comes back as the first message, was seen.
    pub(crate) echoed: bool,
    pub(crate) last_line: LastLine,
    /// Names of the tools whose answer is awaited.
    open: BTreeMap<String, String>,
}

/// How the newest line came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum LastLine {
    /// As a whole.
    #[default]
    Whole,
    /// As the beginning of one.
    Torn,
}

/// A line of stdout.
#[derive(Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
struct Line<'a> {
    #[serde(rename = "type")]
    kind: Text<'a>,
    #[serde(default)]
    timestamp: Text<'a>,
    #[serde(default)]
    role: Text<'a>,
    #[serde(default)]
    content: Text<'a>,
    session_id: Option<Text<'a>>,
    model: Option<Text<'a>>,
    tool_name: Option<Text<'a>>,
    tool_id: Option<Text<'a>>,
    parameters: Option<Raw<'a>>,
    status: Option<Text<'a>>,
    output: Option<Text<'a>>,
    error: Option<Raw<'a>>,
    severity: Option<Text<'a>>,
    message: Option<Text<'a>>,
    stats: Option<Raw<'a>>,
}

/// The document of `--output-format json`.
#[derive(Deserialize)]
struct Document {
    session_id: Option<String>,
    response: Option<String>,
    stats: Option<Value>,
    error: Option<Value>,
    warnings: Option<Vec<String>>,
}

impl Reader {
    /// A reader for the answer to that request.
    #[must_use]
    pub fn new(request: &RunRequest, cli: Cli<'_>, format: Format) -> Self {
        let found = Found {
            model: request.model.clone(),
            ..Found::default()
        };
        Self {
            wanted: match &request.session {
                Session::Resume(id) => Some(id.clone()),
                Session::New(id) if cli.features.offers("--session-id") => Some(id.clone()),
                Session::Ephemeral | Session::New(_) => None,
            },
            output: request.output.clone(),
            format,
            acts: request.access != Access::Answer,
            whole: Whole::default(),
            found,
        }
    }

    fn judge(&self, facts: &Ended<'_>) -> Result<Answer, RunFailure> {
        if let (Some(wanted), Some(got)) = (&self.wanted, &self.found.session)
            && !wanted.eq_ignore_ascii_case(got)
        {
            let why = format!("Gemini answered from session {got} instead of {wanted}");
            return Err(RunFailure::new(FailureKind::Session, why));
        }
        self.answer(&verdict::text(&self.found, facts)?)
    }

    fn answer(&self, text: &str) -> Result<Answer, RunFailure> {
        let (object, demanded) = match &self.output {
            OutputForm::Text => (None, false),
            OutputForm::Json { schema } => (answer::object_in(text), schema.is_some()),
        };
        if demanded && object.is_none() {
            return Err(RunFailure::new(FailureKind::Answer, "Failed to parse JSON output"));
        }
        let structured = object.map(Value::Object);
        Ok(Answer {
            text: text.to_owned(),
            raw: structured.clone().unwrap_or_else(|| Value::from(text)),
            structured,
        })
    }

    /// Reads what came as a whole.
    fn unfold(&mut self) {
        let text = self.whole.text().unwrap_or_default();
        let success = || Some("success".to_owned());
        match self.format {
            Format::JsonLines => {}
            Format::Text => {
                self.found.status = (!text.is_empty()).then(success).flatten();
                self.found.message = Some(text);
            }
            Format::Json => {
                let Ok(document) = tame::read::<Document>(text.as_bytes()) else {
                    return;
                };
                self.found.error = document.error.as_ref().map(error_text);
                self.found.status = if self.found.error.is_none() { success() } else { None };
                self.found.session = document.session_id;
                self.found.message = document.response.filter(|text| !text.is_empty());
                let calls = document
                    .stats
                    .as_ref()
                    .and_then(|stats| stats.pointer("/tools/totalCalls")?.as_u64());
                self.found.tool_ran = self.acts && calls != Some(0);
                self.found.stats = document.stats;
                self.found.warnings = document.warnings.unwrap_or_default();
            }
        }
    }
}

impl Found {
    fn event(&mut self, line: Line<'_>, events: &mut Vec<RunEvent>) {
        match &*line.kind {
            "init" => {
                self.session = line.session_id.map(String::from);
                self.model = line.model.map(String::from).or(self.model.take());
            }
            "message" => self.said(&line, events),
            "tool_use" => self.call(line, events),
            "tool_result" => self.result(line, events),
            "error" => self.complain(line, events),
            "result" => {
                self.flush(events);
                self.status = line.status.map(String::from);
                self.error = line.error.map(error_in).or(self.error.take());
                self.stats = line.stats.map(Raw::value).filter(Value::is_object);
            }
            // Events of later versions.
            _ => {}
        }
    }

    fn said(&mut self, line: &Line<'_>, events: &mut Vec<RunEvent>) {
        if &*line.role != "assistant" {
            self.echoed = true;
        } else if !line.content.is_empty() {
            self.lost |= !self.text.push(&line.content, &line.timestamp);
            let text = line.content.to_string();
            events.push(RunEvent::Partial { text });
        }
    }

    fn flush(&mut self, events: &mut Vec<RunEvent>) {
        let Some(content) = self.text.take() else {
            return;
        };
        self.message = Some(content.clone());
        events.push(RunEvent::Message {
            id: None,
            content,
            reasoning: false,
            model: self.model.clone(),
            stop_reason: None,
        });
    }

    fn call(&mut self, line: Line<'_>, events: &mut Vec<RunEvent>) {
        self.flush(events);
        self.tool_ran = true;
        let id = String::from(line.tool_id.unwrap_or_default());
        let input = line.parameters.map(Raw::value).unwrap_or_default();
        let name = line.tool_name.map(String::from);
        if let Some(name) = name.clone().filter(|_| self.open.len() < MAX_OPEN) {
            self.open.insert(id.clone(), name);
        }
        events.push(RunEvent::ToolCall {
            id,
            name,
            summary: summary(&input),
            input,
            message_id: None,
        });
    }

    fn result(&mut self, line: Line<'_>, events: &mut Vec<RunEvent>) {
        let id = String::from(line.tool_id.unwrap_or_default());
        let output = line.output.filter(|text| !text.is_empty()).map(String::from);
        events.push(RunEvent::ToolResult {
            name: self.open.remove(&id),
            id,
            is_error: line.status.as_deref() == Some("error"),
            content: output.or_else(|| line.error.map(error_in)).unwrap_or_default(),
            message_id: None,
        });
    }

    fn complain(&mut self, line: Line<'_>, events: &mut Vec<RunEvent>) {
        let message = String::from(line.message.unwrap_or_default());
        let severe = line.severity.as_deref() == Some("error");
        let phase = if severe { "error" } else { "warning" };
        events.push(progress(phase, "message", Value::from(message.as_str())));
        if severe {
            self.error = Some(message);
        } else if self.warnings.len() < MAX_WARNINGS {
            self.warnings.push(message);
        }
    }

    /// Before anything else was said the long line is the prompt that comes back.
    fn overlong(&mut self) {
        self.lost |= self.echoed || self.tool_ran;
        self.echoed = true;
    }
}

impl Transcript for Reader {
    fn line(&mut self, line: &[u8], events: &mut Vec<RunEvent>) {
        match self.format {
            Format::Text | Format::Json => self.whole.line(line),
            Format::JsonLines => {
                let read = lean::read::<Line<'_>>(line);
                self.found.last_line = match &read {
                    Err(_) if line.starts_with(b"{") => LastLine::Torn,
                    Err(_) | Ok(_) => LastLine::Whole,
                };
                if let Ok(line) = read {
                    self.found.event(line, events);
                }
            }
        }
    }

    fn overlong(&mut self, length: u64, events: &mut Vec<RunEvent>) {
        self.whole.lose();
        self.found.overlong();
        if self.found.lost {
            events.push(progress("line_dropped", "bytes", Value::from(length)));
        }
    }

    fn end(mut self: Box<Self>, facts: &Ended<'_>) -> RunEnd {
        self.unfold();
        let answer = self.judge(facts);
        let found = self.found;
        let warnings = (!found.warnings.is_empty()).then(|| ("warnings".to_owned(), Value::from(found.warnings)));
        RunEnd {
            answer,
            session_id: found.session,
            model: found.model.or_else(|| first_model(found.stats.as_ref())),
            usage: found.stats,
            cost_usd: None,
            cumulative: Cumulative::default(),
            tool_ran: found.tool_ran,
            metadata: warnings.into_iter().collect::<Map<_, _>>(),
        }
    }
}

fn first_model(stats: Option<&Value>) -> Option<String> {
    stats?.get("models")?.as_object()?.keys().next().cloned()
}

fn error_in(raw: Raw<'_>) -> String {
    error_text(&raw.value())
}

fn error_text(error: &Value) -> String {
    let message = error.get("message").and_then(Value::as_str).or_else(|| error.as_str());
    message.map_or_else(|| error.to_string(), str::to_owned)
}

/// The one argument that says most.
fn summary(input: &Value) -> Option<String> {
    const TELLING: [&str; 6] = ["command", "file_path", "absolute_path", "path", "pattern", "query"];
    let text = TELLING.iter().find_map(|name| input.get(name)?.as_str())?;
    Some(text.lines().next()?.chars().take(200).collect())
}

fn progress(phase: &str, name: &str, detail: Value) -> RunEvent {
    RunEvent::Progress {
        phase: phase.to_owned(),
        details: [(name.to_owned(), detail)].into_iter().collect(),
    }
}
