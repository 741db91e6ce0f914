//! What a run of Codex prints: `codex exec --json`, whole items as they complete.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::domain::run::{Answer, Cumulative, FailureKind, RunEnd, RunEvent, RunFailure};
use crate::provider::answer::{self, Whole};
use crate::provider::codex::item::{Item, Items, Stage, progress};
use crate::provider::codex::schema;
use crate::provider::lean::{self, Raw, Text};
use crate::provider::plan::{Cli, Format};
use crate::provider::request::{OutputForm, RunRequest, Session};
use crate::provider::transcript::{Ended, Transcript};
use crate::provider::trouble;

/// Reads a run of Codex.
#[derive(Debug)]
pub struct Reader {
    /// The session asked for.
    wanted: Option<String>,
    form: Form,
    model: Option<String>,
    /// Stdout as a whole, where it does not come in events.
    whole: Option<Whole>,
    items: Items,
    thread: Option<String>,
    usage: Option<Value>,
    complete: bool,
    failed: Option<String>,
    lost: Option<u64>,
}

/// What the answer has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    /// An object, if the text holds one.
    Json,
    /// An object for certain.
    Object,
    /// An object whose arguments come as text.
    ToolCall,
}

/// A line of stdout.
#[derive(Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
struct Line<'a> {
    #[serde(rename = "type")]
    kind: Text<'a>,
    thread_id: Option<String>,
    item: Option<Box<Item<'a>>>,
    usage: Option<Raw<'a>>,
    message: Option<String>,
    error: Option<Raw<'a>>,
}

impl Reader {
    /// A reader for the answer to that request.
    #[must_use]
    pub fn new(request: &RunRequest, _cli: Cli<'_>, format: Format) -> Self {
        let form = match &request.output {
            OutputForm::Text => Form::Text,
            OutputForm::Json { schema: None } => Form::Json,
            OutputForm::Json { schema: Some(schema) } if schema::is_tool_call(schema) => Form::ToolCall,
            OutputForm::Json { schema: Some(_) } => Form::Object,
        };
        Self {
            wanted: match &request.session {
                Session::Resume(id) => Some(id.clone()),
                Session::Ephemeral | Session::New(_) => None,
            },
            form,
            model: request.model.clone(),
            whole: match format {
                Format::JsonLines => None,
                Format::Text | Format::Json => Some(Whole::default()),
            },
            items: Items::default(),
            thread: None,
            usage: None,
            complete: false,
            failed: None,
            lost: None,
        }
    }

    fn event(&mut self, line: Line<'_>, events: &mut Vec<RunEvent>) {
        let stage = match &*line.kind {
            "thread.started" => return self.thread = line.thread_id,
            "turn.completed" => {
                self.complete = true;
                return self.usage = line.usage.map(Raw::value).filter(Value::is_object);
            }
            "turn.failed" => return self.failed = Some(failure_text(line.error.map(Raw::value).as_ref())),
            "error" => return events.push(complaint(line.message.unwrap_or_default())),
            "item.started" => Stage::Started,
            "item.updated" => Stage::Updated,
            "item.completed" => Stage::Completed,
            // Events of later versions.
            _ => return,
        };
        if let Some(item) = line.item {
            self.items.take(stage, *item, events);
        }
    }

    /// The verdict, by what was read; the exit code only confirms it.
    fn judge(&self, facts: &Ended<'_>) -> Result<Answer, RunFailure> {
        if let (Some(wanted), Some(got)) = (&self.wanted, &self.thread)
            && !wanted.eq_ignore_ascii_case(got)
        {
            let why = format!("Codex answered from session {got} instead of {wanted}");
            return Err(RunFailure::new(FailureKind::Session, why));
        }
        if let Some(text) = &self.failed {
            let kind = trouble::kind(text).unwrap_or(FailureKind::Crash);
            return Err(RunFailure::new(kind, trouble::message(text)));
        }
        let finished = self.complete || self.whole.is_some();
        if !finished || facts.exit_code != Some(0) {
            return Err(ended_early(facts));
        }
        self.answer(&self.text(facts)?)
    }

    /// The last message; from its file if its line could not be read.
    fn text(&self, facts: &Ended<'_>) -> Result<String, RunFailure> {
        let file = || {
            facts
                .output_file
                .and_then(Result::ok)
                .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        };
        let file = || file().filter(|text| !text.trim().is_empty());
        let said = || match &self.whole {
            Some(whole) => whole.text().filter(|text| !text.is_empty()),
            None => self.items.message.clone(),
        };
        let text = if self.lost.is_some() || self.whole.is_some() {
            file().or_else(said)
        } else {
            said().or_else(file)
        };
        text.ok_or_else(|| RunFailure::new(FailureKind::Answer, "Codex ended without a message"))
    }

    fn answer(&self, text: &str) -> Result<Answer, RunFailure> {
        let object = if self.form == Form::Text {
            None
        } else {
            answer::object_in(text)
        };
        let fail = |why: String| Err(RunFailure::new(FailureKind::Answer, why));
        let raw = object.clone().map_or_else(|| Value::from(text), Value::Object);
        let structured = match (self.form, object) {
            (Form::Object | Form::ToolCall, None) => return fail("Failed to parse JSON output".to_owned()),
            (Form::ToolCall, Some(object)) => match schema::with_arguments(object) {
                Ok(object) => Some(Value::Object(object)),
                Err(why) => return fail(why),
            },
            (Form::Text | Form::Json | Form::Object, object) => object.map(Value::Object),
        };
        Ok(Answer {
            text: text.to_owned(),
            structured,
            raw,
        })
    }

    fn metadata(&self) -> Map<String, Value> {
        let warnings = (!self.items.warnings.is_empty()).then(|| Value::from(self.items.warnings.clone()));
        warnings
            .map(|warnings| ("warnings".to_owned(), warnings))
            .into_iter()
            .collect()
    }
}

impl Transcript for Reader {
    fn line(&mut self, line: &[u8], events: &mut Vec<RunEvent>) {
        if let Some(whole) = &mut self.whole {
            whole.line(line);
        } else if let Ok(line) = lean::read::<Line<'_>>(line) {
            self.event(line, events);
        }
    }

    fn overlong(&mut self, length: u64, events: &mut Vec<RunEvent>) {
        if let Some(whole) = &mut self.whole {
            whole.lose();
        }
        self.lost = Some(length);
        events.push(progress("line_dropped", [("bytes", Value::from(length))]));
    }

    fn end(self: Box<Self>, facts: &Ended<'_>) -> RunEnd {
        RunEnd {
            answer: self.judge(facts),
            metadata: self.metadata(),
            session_id: self.thread,
            model: self.model,
            usage: self.usage,
            cost_usd: None,
            // `turn.completed` counts the thread from its first turn on.
            cumulative: Cumulative {
                usage: true,
                cost: false,
            },
            tool_ran: self.items.tool_ran,
        }
    }
}

/// An `error` is no end: most of them announce the next try.
fn complaint(message: String) -> RunEvent {
    let phase = if message.starts_with("Reconnecting") {
        "api_retry"
    } else {
        "error"
    };
    progress(phase, [("message", Value::from(message))])
}

fn failure_text(error: Option<&Value>) -> String {
    let message = error.and_then(|error| error.get("message")).and_then(Value::as_str);
    message.unwrap_or("Codex failed without a reason").to_owned()
}

/// Why there is no verdict on stdout: Codex says it on stderr.
fn ended_early(facts: &Ended<'_>) -> RunFailure {
    if let Some(signal) = facts.signal {
        return RunFailure::new(FailureKind::Crash, format!("Codex was ended by signal {signal}"));
    }
    let stderr = String::from_utf8_lossy(facts.stderr);
    let Some(cause) = cause(&stderr) else {
        let code = facts
            .exit_code
            .map_or_else(|| "no code".to_owned(), |code| format!("code {code}"));
        return RunFailure::new(
            FailureKind::Crash,
            format!("Codex ended with {code} before its turn was complete"),
        );
    };
    // It tells wrong arguments by this code.
    let usage = (facts.exit_code == Some(2)).then_some(FailureKind::Request);
    let kind = usage.or_else(|| trouble::kind(cause)).unwrap_or(FailureKind::Crash);
    RunFailure::new(kind, cause)
}

/// The line with the cause, without what it is called.
fn cause(stderr: &str) -> Option<&str> {
    let named = |line: &'_ str| ["Error: ", "error: "].into_iter().any(|name| line.starts_with(name));
    let lines = || stderr.lines().map(str::trim).filter(|line| !line.is_empty());
    let line = lines().rfind(|line| named(line)).or_else(|| lines().next_back())?;
    Some(line.get("Error: ".len()..).filter(|_| named(line)).unwrap_or(line))
}
