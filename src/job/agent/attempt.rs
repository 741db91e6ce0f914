//! One process of a run: planned, started, read, ended, swept.

use std::collections::HashSet;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::domain::run::{Cumulative, FailureKind, RunEnd, RunEvent, RunFailure};
use crate::job::agent::droppings::Droppings;
use crate::job::agent::pulse::{Patience, Pulse};
use crate::job::agent::scratch::{OutputFile, Scratch, read_output};
use crate::job::agent::temp::Temp;
use crate::job::agent::{Boundary, CommandLine, How, Observer, Process, Turn};
use crate::process::env::ChildEnv;
use crate::process::exit::{Ending, Exit, Pipes};
use crate::process::lines::{LONGEST_LINE, Lines, Reading};
use crate::process::mark::{self, Swept};
use crate::process::patience::{Unstarted, spawn_patiently};
use crate::process::spawn::Child;
use crate::process::spec::{Spec, Stdin};
use crate::provider::driver::Driver;
use crate::provider::legible::legible;
use crate::provider::plan::{Cli, Format, Plan};
use crate::provider::request::{Access, RunRequest};
use crate::provider::transcript::{Ended, Transcript};
use crate::provider::trouble;

/// What one attempt came to.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) how: How,
    pub(super) end: RunEnd,
    pub(super) process: Option<Process>,
}

impl Attempt {
    /// One that never got to a process.
    pub(super) fn without_process(how: How, failure: RunFailure) -> Self {
        Self {
            how,
            end: RunEnd {
                answer: Err(failure),
                session_id: None,
                model: None,
                usage: None,
                cost_usd: None,
                cumulative: Cumulative::default(),
                tool_ran: false,
                metadata: serde_json::Map::new(),
            },
            process: None,
        }
    }
}

/// Everything an attempt needs.
pub(super) struct Start<'a> {
    pub(super) turn: &'a Turn,
    pub(super) driver: &'a dyn Driver,
    pub(super) request: &'a RunRequest,
    pub(super) scratch: &'a Scratch,
    pub(super) deadline: Instant,
    pub(super) stop: &'a CancellationToken,
}

impl Start<'_> {
    /// With a directory for temporary files that is gone afterwards.
    pub(super) async fn run(&self, observer: &mut dyn Observer) -> Attempt {
        let temp = match Temp::create(&self.turn.env, &self.turn.mark) {
            Ok(temp) => temp,
            Err(error) => {
                let why = format!("cannot make a directory for temporary files: {error}");
                return Attempt::without_process(How::Refused, RunFailure::new(FailureKind::Crash, why));
            }
        };
        let env = self.turn.env.clone();
        let env = temp.iter().fold(env, |env, temp| temp.surround(env));
        let attempt = self.run_in(env, observer).await;
        if let Some(temp) = temp {
            let may_go_on = self.leaves_work().then_some(&*self.turn.mark);
            temp.remove(may_go_on).await;
        }
        attempt
    }

    async fn run_in(&self, env: ChildEnv, observer: &mut dyn Observer) -> Attempt {
        let plan = match self.driver.plan(self.turn.provider, self.request, self.cli()) {
            Ok(plan) => plan,
            Err(failure) => return Attempt::without_process(How::Refused, failure),
        };
        if let Err(error) = self.scratch.write(&plan.files) {
            let failure = RunFailure::new(FailureKind::Crash, error.to_string());
            return Attempt::without_process(How::Refused, failure);
        }
        let command = self.command_line(&plan);
        observer.planned(&command);
        let droppings = Droppings::before(&command.cwd, self.turn.provider.droppings());
        let (format, output_file) = (plan.format, plan.output_file.clone());
        let spec = self.spec(plan, &command, env);
        let patience = self.deadline.saturating_duration_since(Instant::now());
        match spawn_patiently(&spec, patience, self.stop, observer).await {
            Err(Unstarted::Stopped) => Attempt::without_process(How::Cancelled, cancelled()),
            Err(Unstarted::Failed(error)) => {
                let failure = RunFailure::new(FailureKind::Crash, error.to_string());
                Attempt::without_process(How::NotStarted, failure)
            }
            Err(Unstarted::Unregistered(why)) => {
                let failure = RunFailure::new(FailureKind::Crash, why.to_string());
                Attempt::without_process(How::Refused, failure)
            }
            Ok(child) => {
                let mut reader = self
                    .driver
                    .transcript(self.turn.provider, self.request, self.cli(), format);
                let (how, exit) = self.read(child, format, &mut *reader, observer).await;
                let swept = self.sweep(&exit, &droppings).await;
                let process = Process::new(command, exit, &swept);
                self.judge(how, reader, process, output_file)
            }
        }
    }

    /// Whether something of it may go on when it has ended in peace.
    fn leaves_work(&self) -> bool {
        self.request.access == Access::Full
    }

    const fn cli(&self) -> Cli<'_> {
        Cli {
            features: &self.turn.features,
            version: match &self.turn.version {
                Some(version) => Some(version.as_str()),
                None => None,
            },
        }
    }

    fn command_line(&self, plan: &Plan) -> CommandLine {
        CommandLine {
            program: self.turn.command.clone(),
            args: plan.args.clone(),
            cwd: self
                .turn
                .cwd
                .clone()
                .unwrap_or_else(|| self.scratch.work().to_path_buf()),
            files: plan.files.iter().map(|file| file.path.clone()).collect(),
            output_file: plan.output_file.clone(),
            format: plan.format,
        }
    }

    fn spec(&self, plan: Plan, command: &CommandLine, env: ChildEnv) -> Spec {
        let env = plan.env.into_iter().fold(env, |env, (name, value)| match value {
            Some(value) => env.with(name, value),
            None => env.without(name),
        });
        let env: ChildEnv = env.with(mark::NAME, &self.turn.mark);
        let mut spec = Spec::new(&command.program, env)
            .args(plan.args)
            .timeout(self.deadline.saturating_duration_since(Instant::now()));
        spec.cwd = command.cwd.clone();
        spec.grace = self.turn.limits.grace;
        spec.stdin = if plan.stdin.is_empty() {
            Stdin::Null
        } else {
            Stdin::Bytes(plan.stdin)
        };
        spec
    }

    /// Reads until the end, which is the program's own, or that of a deadline, a limit or the owner.
    async fn read(
        &self,
        child: Child,
        format: Format,
        transcript: &mut dyn Transcript,
        observer: &mut dyn Observer,
    ) -> (How, Exit) {
        let limits = &self.turn.limits;
        let pulse = Pulse::new(Patience {
            usual: limits.idle,
            tool: limits.tool_idle,
            refused: limits.refused_idle,
        });
        let aside = |bytes: &[u8]| {
            if trouble::status(&String::from_utf8_lossy(bytes)).is_some() {
                pulse.refused();
            }
        };
        let quit = self.stop.child_token();
        // Lines are judged as they come; a document has to be kept until its end.
        let room = (format != Format::JsonLines).then_some(limits.output);
        let mut tap = Tap {
            transcript,
            json: format != Format::Text,
            observer,
            pulse: &pulse,
            events: Vec::new(),
            room,
            taken: 0,
            quit: quit.clone(),
        };
        let reading = Reading {
            keep: limits.keep,
            longest: room.unwrap_or(LONGEST_LINE),
        };
        let mut silent = None;
        let exit = {
            let mut ended = pin!(child.wait_lines(quit.clone(), reading, &mut tap, &aside));
            let silence = async {
                match format {
                    Format::JsonLines => pulse.silence().await,
                    // These say everything at the end.
                    Format::Text | Format::Json => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                exit = &mut ended => exit,
                after = silence => {
                    silent = Some(after);
                    quit.cancel();
                    ended.await
                }
            }
        };
        let flooded = room.is_some_and(|room| exit.stdout.total > room as u64);
        (self.how(&exit, silent, flooded), exit)
    }

    fn how(&self, exit: &Exit, silent: Option<Duration>, flooded: bool) -> How {
        if flooded {
            return How::TooMuch(Boundary::Stdout);
        }
        match (exit.ending, silent) {
            (Ending::Exited, _) => How::Ended,
            (Ending::TimedOut { .. }, _) => How::TimedOut(self.turn.limits.total),
            (Ending::Stopped { .. }, Some(after)) if !self.stop.is_cancelled() => How::Silent(after),
            (Ending::Stopped { .. }, _) => How::Cancelled,
        }
    }

    /// What has left the process group ends as well, unless the program ended in peace: then its background work may
    /// go on, if it was allowed to start any.
    async fn sweep(&self, exit: &Exit, droppings: &Droppings) -> Swept {
        let in_peace = exit.ending == Ending::Exited;
        let left_over = exit.pipes == Pipes::HeldOpen && !self.leaves_work();
        let swept = if !in_peace || left_over {
            mark::kill_marked(&HashSet::from([self.turn.mark.as_str()])).await
        } else {
            Swept::default()
        };
        tracing::debug!(killed = swept.found.len(), "swept after an agent");
        if !in_peace {
            droppings.remove();
        }
        swept
    }

    fn judge(
        &self,
        mut how: How,
        reader: Box<dyn Transcript>,
        process: Process,
        output_file: Option<PathBuf>,
    ) -> Attempt {
        let output = output_file.map(|path| read_output(&path, self.turn.limits.output));
        if how == How::Ended && output == Some(OutputFile::TooLarge) {
            how = How::TooMuch(Boundary::OutputFile);
        }
        let mut end = reader.end(&Ended {
            exit_code: process.exit_code,
            signal: process.signal,
            stderr: &process.stderr.bytes,
            output_file: output.as_ref().map(|output| match output {
                OutputFile::Read(bytes) => Ok(bytes.as_slice()),
                OutputFile::Unreadable(why) => Err(why.as_str()),
                OutputFile::TooLarge => Err("too large"),
            }),
        });
        if let Some(failure) = how.failure(self.turn.limits.output) {
            // An answer that was complete before a deadline stays one.
            let complete = end.answer.is_ok() && how.is_deadline();
            if !complete {
                end.answer = Err(explained(failure, how, &process.stderr.bytes));
            }
        }
        Attempt {
            how,
            end,
            process: Some(process),
        }
    }
}

/// A CLI that goes on asking a model API that refuses says so on stderr alone, until its time is up.
fn explained(failure: RunFailure, how: How, stderr: &[u8]) -> RunFailure {
    let refused = trouble::status(&String::from_utf8_lossy(stderr)).filter(|_| how.is_deadline());
    match refused {
        Some(status) => RunFailure::new(
            FailureKind::of_status(status),
            format!("{}; its model API answered {status}", failure.message),
        ),
        None => failure,
    }
}

pub(super) fn cancelled() -> RunFailure {
    RunFailure::new(FailureKind::Limit, "The run was cancelled")
}

/// Between the pipe and the transcript.
struct Tap<'a> {
    transcript: &'a mut dyn Transcript,
    /// Whether lines are JSON.
    json: bool,
    observer: &'a mut dyn Observer,
    pulse: &'a Pulse,
    events: Vec<RunEvent>,
    /// Bytes that the whole answer may have.
    room: Option<usize>,
    taken: u64,
    quit: CancellationToken,
}

impl Tap<'_> {
    /// Whether there is room for a line; a run that has said too much is ended.
    fn has_room(&mut self, length: u64) -> bool {
        // The last line may have no end, so the first is taken to have none.
        self.taken = self.taken.saturating_add(length + u64::from(self.taken > 0));
        let fits = self.room.is_none_or(|room| self.taken <= room as u64);
        if !fits {
            self.quit.cancel();
        }
        fits
    }

    /// Passes events on; a flood of them is passed in the order it came.
    fn pass_on(&mut self) {
        for event in self.events.drain(..) {
            self.pulse.note(&event);
            self.observer.event(event);
        }
        self.pulse.beat();
    }
}

impl Lines for Tap<'_> {
    fn line(&mut self, line: &[u8]) {
        if self.has_room(line.len() as u64) {
            let line = if self.json { legible(line) } else { line.into() };
            self.transcript.line(&line, &mut self.events);
            self.pass_on();
        }
    }

    fn overlong(&mut self, length: u64) {
        if self.has_room(length) {
            self.transcript.overlong(length, &mut self.events);
            self.pass_on();
        }
    }
}
