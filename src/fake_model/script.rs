//! What a prompt makes the model do.

use std::time::Duration;

use serde::de::IgnoredAny;
use serde_json::Value;

use crate::fake_model::reply::{Fault, Stop, Usage};

/// The words of a script, for people.
pub const DIRECTIVES: &str = "\
Answers:
  [[say:TEXT]]             answer TEXT; several are put together
  [[repeat:N]]             say it N times
  [[json:{...}]]           answer that JSON; where the client offers a tool for it, by that tool,
                           several one after the other
  [[think:TEXT]]           think aloud first
  [[show:WHAT]]            answer with what the client sent: prompt, system, tools, model or turns
  [[usage:IN,OUT]]         token counts to report [100 x turn, number of words]

Tools, each in a turn of its own:
  [[tool:bash COMMAND]]    call the client's shell tool, whatever its name
  [[tool:read PATH]]       call its tool that reads a file
  [[tool:write PATH TEXT]] call its tool that writes a file
  [[call:NAME {...}]]      call a tool by its name
  [[note:TEXT]]            say TEXT in every turn that calls a tool
  [[parallel]]             call all of them in one turn

Time:
  [[delay:SECONDS]]        wait before the response begins
  [[slow:SECONDS]]         wait before every word of a stream

Trouble:
  [[error:STATUS]]         answer with an HTTP error; 500x2 for the first two tries of a prompt,
                           429x1;retry-after=2 with that header
  [[sse-error:TYPE]]       an error inside the stream, after its first word
  [[hang]]                 say nothing more after the first word
  [[drop]]                 lose the connection in the middle of an event, after the first word
  [[cut]]                  end the stream in good order, but long before its end
  [[truncate]]             stop as if the output limit was reached
  [[refuse]]               stop as a refusal

  [[sticky]]               later prompts without directives obey this one, too

A text ends at `]]`. Without directives the answer is `fake(TURN): PROMPT`, which shows a resumed
session; after a tool it is `tool said: RESULT`.
";

/// Longest pause a script can ask for.
const LONGEST_PAUSE: Duration = Duration::from_hours(1);
/// Most that `repeat` makes of a text, in bytes.
const MAX_REPEATED_BYTES: usize = 64 << 20;

/// A script, read.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Script {
    pub(super) say: Option<String>,
    pub(super) jsons: Vec<Value>,
    pub(super) think: Option<String>,
    pub(super) note: Option<String>,
    pub(super) show: Option<String>,
    pub(super) usage: Option<Usage>,
    pub(super) wishes: Vec<Wish>,
    pub(super) parallel: bool,
    pub(super) delay: Duration,
    pub(super) slow: Duration,
    pub(super) error: Option<ErrorWish>,
    pub(super) fault: Option<Fault>,
    pub(super) stop: Stop,
    pub(super) sticky: bool,
}

/// A tool call that the script asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wish {
    /// Run a command.
    Shell(String),
    /// Read a file.
    Read(String),
    /// Write a file.
    Write(String, String),
    /// A tool by its name, arguments as they stand.
    Named(String, String),
}

/// An HTTP error that the script asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ErrorWish {
    pub(super) status: u16,
    /// How many tries it is for; none means all.
    pub(super) tries: Option<u32>,
    pub(super) retry_after: Option<String>,
}

impl Script {
    /// The script in a text, none where it holds no directive.
    pub(super) fn read(text: &str) -> Option<Self> {
        let mut script = Self::default();
        let (mut rest, mut any, mut repeat) = (text, false, 1);
        while let Some((_, after)) = rest.split_once("[[") {
            let Some((name, argument, left)) = directive(after) else {
                rest = after;
                continue;
            };
            if name == "repeat" {
                repeat = argument.trim().parse().unwrap_or(1);
                any = true;
            } else {
                any |= script.obey(name, argument);
            }
            rest = left;
        }
        if let Some(say) = script.say.as_mut() {
            *say = say.repeat(repeat.min(MAX_REPEATED_BYTES / say.len().max(1)));
        }
        any.then_some(script)
    }

    /// Takes one directive in; says whether it is one.
    fn obey(&mut self, name: &str, argument: &str) -> bool {
        match name {
            "say" => self.say.get_or_insert_default().push_str(argument),
            "json" => self.jsons.extend(serde_json::from_str::<Value>(argument).ok()),
            "think" => self.think = Some(argument.to_owned()),
            "note" => self.note = Some(argument.to_owned()),
            "show" => self.show = Some(argument.trim().to_owned()),
            "usage" => self.usage = usage(argument),
            "tool" | "call" => self.wishes.extend(wish(name, argument)),
            "parallel" => self.parallel = true,
            "delay" => self.delay = pause(argument),
            "slow" => self.slow = pause(argument),
            "error" => self.error = error(argument),
            "sse-error" => self.fault = Some(Fault::Error(argument.trim().to_owned())),
            "hang" => self.fault = Some(Fault::Hang),
            "drop" => self.fault = Some(Fault::Drop),
            "cut" => self.fault = Some(Fault::Cut),
            "truncate" => self.stop = Stop::Length,
            "refuse" => self.stop = Stop::Refusal,
            "sticky" => self.sticky = true,
            _ => return false,
        }
        true
    }
}

/// Name, argument and the rest of a text that begins inside `[[`.
fn directive(text: &str) -> Option<(&str, &str, &str)> {
    let end = text.find(|c: char| !c.is_ascii_lowercase() && c != '-')?;
    let (name, rest) = text.split_at(end);
    if let Some(rest) = rest.strip_prefix("]]") {
        return Some((name, "", rest));
    }
    let argument = rest.strip_prefix(':')?;
    let end = json_end(name, argument).or_else(|| argument.find("]]"))?;
    let (argument, rest) = argument.split_at_checked(end)?;
    Some((name, argument, rest.strip_prefix("]]")?))
}

/// Where the JSON of an argument ends: it may hold `]]` itself.
fn json_end(name: &str, argument: &str) -> Option<usize> {
    let start = match name {
        "json" => 0,
        "call" => argument.find('{')?,
        _ => return None,
    };
    let json = argument.get(start..)?;
    let mut values = serde_json::Deserializer::from_str(json).into_iter::<IgnoredAny>();
    values.next()?.ok()?;
    let after = argument.get(start + values.byte_offset()..)?;
    let space = after.len() - after.trim_start().len();
    after
        .trim_start()
        .starts_with("]]")
        .then_some(start + values.byte_offset() + space)
}

fn wish(name: &str, argument: &str) -> Option<Wish> {
    let (verb, rest) = argument.trim_start().split_once(' ').unwrap_or((argument.trim(), ""));
    Some(match (name, verb) {
        ("call", tool) => Wish::Named(tool.to_owned(), rest.trim().to_owned()),
        (_, "bash") => Wish::Shell(rest.to_owned()),
        (_, "read") => Wish::Read(rest.trim().to_owned()),
        (_, "write") => {
            let (path, text) = rest.split_once(' ').unwrap_or((rest, ""));
            Wish::Write(path.to_owned(), text.to_owned())
        }
        _ => return None,
    })
}

fn pause(argument: &str) -> Duration {
    let seconds = argument.trim().parse().unwrap_or(0.0);
    Duration::try_from_secs_f64(seconds)
        .unwrap_or_default()
        .min(LONGEST_PAUSE)
}

fn usage(argument: &str) -> Option<Usage> {
    let (input, output) = argument.split_once(',')?;
    Some(Usage {
        input: input.trim().parse().ok()?,
        output: output.trim().parse().ok()?,
    })
}

/// `STATUS`, `STATUSxTRIES`, either with `;retry-after=SECONDS`.
fn error(argument: &str) -> Option<ErrorWish> {
    let (what, more) = argument.trim().split_once(';').unwrap_or((argument.trim(), ""));
    let (status, tries) = what.split_once('x').unwrap_or((what, ""));
    let status = status.parse().ok().filter(|status| (400..600).contains(status))?;
    Some(ErrorWish {
        status,
        tries: tries.parse().ok(),
        retry_after: more.trim().strip_prefix("retry-after=").map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> Script {
        Script::read(text).unwrap()
    }

    #[test]
    fn a_text_without_directives_is_no_script() {
        for text in [
            "",
            "hello",
            "[[",
            "[[]]",
            "a [[wiki link]]",
            "[[say:never ended",
            "[[unknown:x]]",
        ] {
            assert_eq!(Script::read(text), None, "{text}");
        }
    }

    #[test]
    fn json_may_hold_the_end_mark() {
        let script = read(r#"x [[json:{"a":[[1]]}]] [[call:Tool {"b":[["]]"]]} ]] [[say:t]]"#);
        assert_eq!(script.jsons, [json!({"a": [[1]]})]);
        assert_eq!(
            script.wishes,
            [Wish::Named("Tool".to_owned(), r#"{"b":[["]]"]]}"#.to_owned())]
        );
        assert_eq!(script.say.as_deref(), Some("t"));
    }

    #[test]
    fn tools_errors_times_and_figures_are_read() {
        let script = read("[[tool:bash ls | wc]] [[tool:write a.txt b c]] [[error:429x2;retry-after=3]] [[slow:0.5]]");
        let write = Wish::Write("a.txt".to_owned(), "b c".to_owned());
        assert_eq!(script.wishes, [Wish::Shell("ls | wc".to_owned()), write]);
        let error = ErrorWish {
            status: 429,
            tries: Some(2),
            retry_after: Some("3".to_owned()),
        };
        assert_eq!((script.error, script.slow), (Some(error), Duration::from_millis(500)));
        assert_eq!(read("[[usage:7,9]]").usage, Some(Usage { input: 7, output: 9 }));
        assert_eq!(read("[[delay:1e12]]").delay, LONGEST_PAUSE);
        assert_eq!(read("[[error:12]] [[hang]]").error, None);
    }

    #[test]
    fn repeating_is_bounded() {
        assert_eq!(read("[[say:ab]] [[repeat:3]]").say.as_deref(), Some("ababab"));
        assert_eq!(
            read("[[repeat:99999999999]] [[say:1234]]").say.unwrap().len(),
            MAX_REPEATED_BYTES
        );
    }
}
