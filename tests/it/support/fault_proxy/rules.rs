//! What goes wrong with which request, and which requests there were.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::has_all;

/// What happens to a request.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// It is not delivered; these bytes are the answer.
    Answer(Vec<u8>),
    /// It is delivered so much later.
    Delay(Duration),
    /// It is delivered after [`super::FaultProxy::heal`].
    Held,
    /// It is neither delivered nor answered.
    Silence,
    /// The connection is reset before it is delivered.
    Reset,
    /// It is delivered, and the connection is reset instead of the answer.
    LoseAnswer,
    /// It is delivered, and the connection ends in the middle of the answer.
    CutAnswer,
}

impl Fault {
    /// A status in the words of a control plane.
    pub(crate) fn status(status: u16) -> Self {
        Self::with(status, &[], &json!({"message": "as the test wants it"}))
    }

    /// The same, asking for some seconds of rest.
    pub(crate) fn rest(status: u16, seconds: u64) -> Self {
        let rest = format!("retry-after: {seconds}");
        Self::with(status, &[&rest], &json!({"message": "too much"}))
    }

    /// A JSON answer.
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::with(status, &[], body)
    }

    /// What a captive portal says to everything.
    pub(crate) fn page() -> Self {
        Self::bytes(200, &["content-type: text/html"], "<html>please log in</html>")
    }

    fn with(status: u16, headers: &[&str], body: &Value) -> Self {
        let headers = [headers, &["content-type: application/json"]].concat();
        Self::bytes(status, &headers, &body.to_string())
    }

    fn bytes(status: u16, headers: &[&str], body: &str) -> Self {
        let (headers, length) = (headers.join("\r\n"), body.len());
        let answer = format!("HTTP/1.1 {status} Fault\r\n{headers}\r\ncontent-length: {length}\r\n\r\n{body}");
        Self::Answer(answer.into_bytes())
    }
}

/// How long a rule holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lasting {
    Times(usize),
    Until(Instant),
    Always,
}

/// A fault of some requests.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) parts: Vec<String>,
    pub(super) over: usize,
    pub(super) lasting: Lasting,
    pub(super) fault: Fault,
}

/// A request that came.
#[derive(Debug)]
struct Asked {
    line: String,
    body: usize,
    at: Instant,
}

/// The rules, oldest first, and every request.
#[derive(Debug, Default)]
pub(super) struct Rules {
    rules: Vec<Rule>,
    asked: Vec<Asked>,
}

impl Rules {
    pub(super) fn add(&mut self, rule: Rule) {
        self.rules.push(rule);
    }

    pub(super) fn forget(&mut self) {
        self.rules.clear();
    }

    pub(super) fn are_spent(&self) -> bool {
        let waits = |rule: &Rule| matches!(rule.lasting, Lasting::Times(1..));
        !self.rules.iter().any(waits)
    }

    pub(super) fn times(&self, parts: &[String], over: usize) -> Vec<Instant> {
        let named = |asked: &&Asked| asked.body >= over && has_all(&asked.line, parts);
        self.asked.iter().filter(named).map(|asked| asked.at).collect()
    }

    /// The first lines of all requests that came in a time.
    pub(super) fn lines(&self, from: Instant, to: Instant) -> Vec<String> {
        let meanwhile = self.asked.iter().filter(|asked| (from..to).contains(&asked.at));
        meanwhile.map(|asked| asked.line.clone()).collect()
    }

    /// Writes a request down and says what is wrong with it: the first rule that names it counts.
    pub(super) fn fault_of(&mut self, line: &str, body: usize) -> Option<Fault> {
        let at = Instant::now();
        self.asked.push(Asked {
            line: line.to_owned(),
            body,
            at,
        });
        let rule = self.rules.iter_mut().find(|rule| {
            let holds = match rule.lasting {
                Lasting::Times(left) => left > 0,
                Lasting::Until(end) => at < end,
                Lasting::Always => true,
            };
            holds && body >= rule.over && has_all(line, &rule.parts)
        })?;
        if let Lasting::Times(left) = &mut rule.lasting {
            *left -= 1;
        }
        Some(rule.fault.clone())
    }
}
