//! Chooses the answer. The same requests in the same order get the same answers.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use crate::fake_model::asked::Request;
use crate::fake_model::instance::instance;
use crate::fake_model::reply::{Call, Message, Outcome, Reply, Usage, words};
use crate::fake_model::script::{ErrorWish, Script};
use crate::fake_model::tools;

/// Name of the tool by which Claude Code takes a structured answer.
const STRUCTURED: &str = "StructuredOutput";
/// How much of a prompt is repeated in the answer to it, in characters.
const ECHOED: usize = 200;
/// How much of a tool's result is repeated, in characters.
const ECHOED_RESULT: usize = 400;
/// Tokens that a message of tool calls alone counts.
const CALL_TOKENS: u64 = 7;
/// Prompts whose failed tries are remembered; when there are more, all are forgotten.
const MAX_REMEMBERED: usize = 1000;

/// The model.
#[derive(Debug, Default)]
pub(super) struct Brain {
    tries: Mutex<HashMap<String, u32>>,
}

/// What a message says.
#[derive(Debug, Default)]
struct Content {
    text: Option<String>,
    calls: Vec<Call>,
}

impl Content {
    fn text(text: impl Into<String>) -> Self {
        Self {
            text: Some(text.into()),
            calls: Vec::new(),
        }
    }
}

impl Brain {
    /// The answer to request number `number`.
    pub(super) fn reply(&self, number: u64, request: &Request) -> Reply {
        let script = script(request);
        let outcome = match self.problem(&script, request) {
            Some(error) => Outcome::Problem {
                status: error.status,
                retry_after: error.retry_after,
            },
            None => Outcome::Message {
                message: message(number, &script, request),
                slow: script.slow,
                fault: script.fault,
            },
        };
        Reply {
            delay: script.delay,
            outcome,
        }
    }

    fn problem(&self, script: &Script, request: &Request) -> Option<ErrorWish> {
        let error = script.error.clone()?;
        let Some(tries) = error.tries else {
            return Some(error);
        };
        let mut known = self.tries.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_REMEMBERED && !known.contains_key(&request.talk.prompt) {
            known.clear();
        }
        let seen = known.entry(request.talk.prompt.clone()).or_default();
        *seen += 1;
        (*seen <= tries).then_some(error)
    }
}

/// The script that counts: of the newest prompt, or the last that sticks. A client's own questions follow none.
fn script(request: &Request) -> Script {
    let talk = &request.talk;
    let own = Script::read(&talk.prompt);
    if is_aside(request) && own.as_ref().is_none_or(|script| script.jsons.is_empty()) {
        return Script::default();
    }
    let sticky = || {
        talk.prompts
            .iter()
            .rev()
            .filter_map(|text| Script::read(text))
            .find(|script| script.sticky)
    };
    own.or_else(sticky).unwrap_or_default()
}

fn is_aside(request: &Request) -> bool {
    request.schema_is_aside && request.schema.is_some()
}

fn message(number: u64, script: &Script, request: &Request) -> Message {
    let content = content(script, request);
    let counted = content
        .text
        .as_deref()
        .map_or(CALL_TOKENS, |text| words(text).len() as u64);
    Message {
        number,
        model: request.model.clone(),
        thinking: script.think.clone(),
        text: content.text,
        calls: content.calls,
        stop: script.stop,
        usage: script.usage.unwrap_or(Usage {
            input: 100 * request.talk.turn.max(1),
            output: counted,
        }),
    }
}

fn content(script: &Script, request: &Request) -> Content {
    let done = request.talk.results.len();
    if let Some(content) = wished(script, request, done) {
        return content;
    }
    if let Some(content) = structured(script, request, done) {
        return content;
    }
    if let Some(what) = &script.show {
        return Content::text(shown(what, request));
    }
    if let Some(value) = script.jsons.last() {
        return Content::text(value.to_string());
    }
    if let Some(text) = &script.say {
        return Content::text(text.clone());
    }
    if let Some(schema) = request.schema.clone().or_else(|| schema_in_words(&request.system)) {
        return Content::text(instance(&schema).to_string());
    }
    match request.talk.results.last() {
        Some(result) => Content::text(format!("tool said: {}", start(result.trim(), ECHOED_RESULT))),
        None => Content::text(format!(
            "fake({}): {}",
            request.talk.turn,
            start(&request.talk.prompt, ECHOED)
        )),
    }
}

/// A schema given in words, behind a line of its own: so it is told to a model whose client has no option for it.
fn schema_in_words(instructions: &str) -> Option<Value> {
    let (_, schema) = instructions.rsplit_once("\nSchema:\n")?;
    let mut values = serde_json::Deserializer::from_str(schema).into_iter();
    values.next()?.ok()
}

/// The next tool call of the script, or all of them.
fn wished(script: &Script, request: &Request, done: usize) -> Option<Content> {
    let next = script.wishes.get(done..).filter(|next| !next.is_empty())?;
    let now = if script.parallel { next.len() } else { 1 };
    let found: Option<Vec<Call>> = next
        .iter()
        .take(now)
        .map(|wish| tools::call(wish, &request.tools))
        .collect();
    Some(match found {
        Some(calls) => Content {
            text: script.note.clone(),
            calls,
        },
        None => Content::text("fake: the client offers no such tool"),
    })
}

/// The call of the tool that takes a structured answer, where the client has it and no other answer is scripted.
fn structured(script: &Script, request: &Request, done: usize) -> Option<Content> {
    let tool = request.tools.iter().find(|tool| tool.name == STRUCTURED)?;
    let answered = done.saturating_sub(script.wishes.len());
    let left = answered < script.jsons.len().max(1) || script.sticky;
    if script.say.is_some() || !left {
        return None;
    }
    let value = script.jsons.get(answered).or_else(|| script.jsons.last());
    Some(Content {
        text: None,
        calls: vec![Call {
            name: tool.name.clone(),
            arguments: value.cloned().unwrap_or_else(|| instance(&tool.schema)),
            kind: tool.kind,
            namespace: None,
        }],
    })
}

fn shown(what: &str, request: &Request) -> String {
    match what {
        "prompt" => request.talk.prompt.clone(),
        "system" => request.system.clone(),
        "tools" => request.tools.iter().map(|tool| format!("{}\n", tool.name)).collect(),
        "model" => request.model.clone(),
        "turns" => request.talk.turn.to_string(),
        _ => Value::from(what).to_string(),
    }
}

fn start(text: &str, characters: usize) -> String {
    text.chars().take(characters).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fake_model::asked::{Said, Talk, Tool};

    fn request(said: &[&str]) -> Request {
        let said = said.iter().map(|text| match text.strip_prefix("> ") {
            Some(result) => Said::Result(result.to_owned()),
            None => Said::User(vec![(*text).to_owned()]),
        });
        let shell = Tool {
            name: "Bash".to_owned(),
            ..Tool::default()
        };
        Request {
            talk: Talk::of(said),
            tools: vec![shell],
            ..Request::default()
        }
    }

    fn answer(request: &Request) -> Message {
        match Brain::default().reply(1, request).outcome {
            Outcome::Message { message, .. } => message,
            Outcome::Problem { status, .. } => panic!("{status}"),
        }
    }

    #[test]
    fn without_a_script_the_turn_and_the_prompt_are_repeated() {
        let message = answer(&request(&["one", "two words"]));
        assert_eq!(message.text.as_deref(), Some("fake(2): two words"));
        assert_eq!(message.usage, Usage { input: 200, output: 3 });
    }

    #[test]
    fn tools_are_called_one_after_the_other_then_the_text_is_said() {
        let script = "[[tool:bash a]] [[tool:bash b]] [[note:now]] [[say:done]]";
        let commands = |said: &[&str]| -> Vec<Value> {
            let calls = answer(&request(said)).calls;
            calls
                .into_iter()
                .map(|call| call.arguments["command"].clone())
                .collect()
        };
        assert_eq!(commands(&[script]), ["a"]);
        assert_eq!(commands(&[script, "> x"]), ["b"]);
        assert_eq!(answer(&request(&[script])).text.as_deref(), Some("now"));
        assert_eq!(answer(&request(&[script, "> x", "> y"])).text.as_deref(), Some("done"));
        assert_eq!(commands(&["[[parallel]] [[tool:bash a]] [[tool:bash b]]"]), ["a", "b"]);
        let said = answer(&request(&["[[tool:bash a]]", "> out\n"])).text;
        assert_eq!(said.as_deref(), Some("tool said: out"));
    }

    #[test]
    fn structured_answers_come_in_their_order_by_the_clients_tool() {
        let with_tool = |said: &[&str]| {
            let mut request = request(said);
            request.tools = vec![Tool {
                name: STRUCTURED.to_owned(),
                schema: json!({"properties": {"a": {"type": "string"}}}),
                ..Tool::default()
            }];
            answer(&request)
        };
        let script = "[[json:{\"b\":1}]] [[json:{\"a\":2}]]";
        assert_eq!(with_tool(&[script]).calls[0].arguments, json!({"b": 1}));
        assert_eq!(with_tool(&[script, "> wrong"]).calls[0].arguments, json!({"a": 2}));
        assert!(with_tool(&[script, "> wrong", "> good"]).calls.is_empty());
        assert_eq!(with_tool(&["hi"]).calls[0].arguments, json!({"a": "fake"}));
        assert_eq!(with_tool(&["[[say:no]]"]).text.as_deref(), Some("no"));
    }

    #[test]
    fn a_schema_in_words_is_kept_to_as_well() {
        let mut request = request(&["hi"]);
        request.system = "Be good.\nSchema:\n{\"properties\":{\"n\":{\"type\":\"integer\"}}}\nmore".to_owned();
        assert_eq!(answer(&request).text.as_deref(), Some("{\"n\":1}"));
        request.system = "Schema: none".to_owned();
        assert_eq!(answer(&request).text.as_deref(), Some("fake(1): hi"));
    }

    #[test]
    fn errors_end_after_their_tries() {
        let (brain, request) = (Brain::default(), request(&["[[error:500x2]]"]));
        let failed = |n| matches!(brain.reply(n, &request).outcome, Outcome::Problem { status: 500, .. });
        assert_eq!([failed(1), failed(2), failed(3)], [true, true, false]);
    }

    #[test]
    fn a_script_sticks_and_a_clients_own_question_follows_none() {
        let mut request = request(&["[[say:x]] [[sticky]]", "nudge"]);
        assert_eq!(answer(&request).text.as_deref(), Some("x"));
        request.schema = Some(json!({"properties": {"n": {"type": "integer"}}}));
        request.schema_is_aside = true;
        assert_eq!(answer(&request).text.as_deref(), Some("{\"n\":1}"));
    }
}
