//! What a person types, and what a person reads. Parses, calls, prints.

mod args;
mod argv;
mod audit;
mod completions;
mod context;
mod control_plane;
mod doctor;
mod duration;
mod error;
mod exec;
mod exit;
mod fake_model;
mod foreground;
mod full_control;
mod help;
mod interrupt;
mod job;
mod job_result;
mod launch;
mod local;
mod log_lines;
mod login;
mod logs;
mod operator;
mod output;
mod pair;
mod pairing;
mod plane;
mod prompt;
mod providers;
mod refusal;
mod run;
mod secret_file;
mod shell;
mod shell_words;
mod stack;
mod start;
mod status;
mod stop;
mod target;
mod texts;
mod times;
mod unpair;
mod up;
mod usage;
mod watcher;
mod workspace;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use clap::{ColorChoice, CommandFactory as _, FromArgMatches as _};
use tokio::runtime::Runtime;

use crate::cli::args::{Cli, Command, EnvFileArgs};
use crate::cli::context::Context;
use crate::cli::error::{CliError, CliResult};
use crate::cli::exit::Exit;
use crate::cli::output::Output;
use crate::config::sources::Environment;
use crate::process::{guardian, signals};

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    if words == [guardian::WORD] {
        return guard();
    }
    let json = before_escape(&words).any(|word| word == "--json");
    let exit = match parse(words) {
        Ok(cli) => run(cli),
        Err(error) => usage::explain(&error, json),
    };
    ExitCode::from(exit.0)
}

/// Not a command for people: it has no options, no help and no word to say.
fn guard() -> ExitCode {
    match guardian::run(std::io::stdin().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn parse(words: Vec<OsString>) -> Result<Cli, clap::Error> {
    let parser = Cli::command();
    let words = argv::normalise(words, &parser);
    let mut parser = parser.color(color_of(&words));
    let program = OsString::from("gateway");
    let matches = parser.try_get_matches_from_mut(std::iter::once(program).chain(words))?;
    Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut parser))
}

/// The parser prints its own help and errors, in the colour that was asked for.
fn color_of(words: &[OsString]) -> ColorChoice {
    let words: Vec<_> = before_escape(words).collect();
    let is = |value: &str| {
        words.contains(&format!("--color={value}").as_str()) || words.windows(2).any(|pair| pair == ["--color", value])
    };
    match (is("always"), is("never")) {
        (_, true) => ColorChoice::Never,
        (true, false) => ColorChoice::Always,
        (false, false) => ColorChoice::Auto,
    }
}

/// The words that can be options.
fn before_escape(words: &[OsString]) -> impl Iterator<Item = &str> {
    let words = words
        .iter()
        .skip(usize::from(words.first().is_some_and(|word| word == "--")));
    words.filter_map(|word| word.to_str()).take_while(|word| *word != "--")
}

fn run(cli: Cli) -> Exit {
    let home = Environment::of_process().home();
    let out = Output::new(cli.common.verbose, cli.common.color, home);
    let Some(command) = cli.command else {
        return settle(help::overview(&out), &out);
    };
    let out = out.for_json(command.json());
    let cx = match Context::new(&cli.common, command.env_files(), out) {
        Ok(cx) => cx,
        Err((out, error)) => return settle(Err(error), &out),
    };
    with_runtime(&command, cx)
}

/// Most threads of the server: beyond that the database is what is waited for, and each has an arena of memory.
const MOST_WORKERS: usize = 4;

/// A thread for blocking work, once there, stays: so long.
const FOR_EVER: Duration = Duration::from_hours(24 * 365);

/// The server uses some cores; everything else, the daemon too, is small on one thread.
fn with_runtime(command: &Command, mut cx: Context) -> Exit {
    signals::hear_all();
    let mut builder = if command.is_server() {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        builder.worker_threads(cores.min(MOST_WORKERS));
        builder
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    let result = match builder.enable_all().thread_keep_alive(FOR_EVER).build() {
        Ok(runtime) => {
            // Without any thread a task that needs one panics when the system grants none, as under a fork bomb; behind one
            // it waits.
            drop(runtime.spawn_blocking(|| ()));
            to_the_end(runtime, Box::pin(dispatch(command, &mut cx)))
        }
        Err(error) => Err(CliError::failed("The runtime could not be started.").detail(error.to_string())),
    };
    settle(result, &cx.out)
}

/// How long a command that is over waits for what goes on aside.
const LAST_WORK: Duration = Duration::from_secs(1);

/// Work aside that was given up, such as a check that takes for ever, does not keep the process.
fn to_the_end<T>(runtime: Runtime, command: impl Future<Output = T>) -> T {
    let done = runtime.block_on(command);
    runtime.shutdown_timeout(LAST_WORK);
    done
}

fn settle(result: CliResult, out: &Output) -> Exit {
    result.unwrap_or_else(|error| {
        out.error(&error);
        error.exit
    })
}

async fn dispatch(command: &Command, cx: &mut Context) -> CliResult {
    if command.prepares_state() {
        cx.prepare()?;
    }
    let cx = &*cx;
    match command {
        Command::Pair(args) => pair::run(args, cx).await,
        Command::Unpair(args) => unpair::run(args, cx).await,
        Command::Start(args) => start::run(args, cx).await,
        Command::Stop(args) => stop::run(args, cx).await,
        Command::Status(args) => status::run(args, cx).await,
        Command::Logs(args) => logs::run(args, cx).await,
        Command::Audit(args) => audit::run(args, cx),
        Command::FullControl(args) => full_control::run(args, cx).await,
        Command::Doctor(args) => doctor::run(args, cx).await,
        Command::Providers(args) => providers::run(args, cx).await,
        Command::Workspace(args) => workspace::run(args, cx),
        Command::Up(args) => up::run(args, cx).await,
        Command::Exec(args) => exec::run(args, cx).await,
        Command::Run(args) => run::run(args, cx).await,
        Command::Shell(args) => shell::run(args, cx).await,
        Command::Job(args) => job::run(args, cx).await,
        Command::Login(args) => login::run(args, cx).await,
        Command::ControlPlane(args) => control_plane::run(args, cx).await,
        Command::FakeModel(args) => fake_model::run(args, cx).await,
        Command::Completions(args) => completions::run(args, &cx.out),
        Command::Help(args) => help::run(args, &cx.out),
    }
}

impl Command {
    /// Whether one JSON document is wanted.
    const fn json(&self) -> bool {
        match self {
            Self::Status(args) => args.json.json,
            Self::FullControl(args) => args.json.json,
            Self::Doctor(args) => args.json.json,
            Self::Exec(args) => args.json.json,
            Self::Run(args) => args.json.json,
            Self::Providers(args) => args.json(),
            Self::Workspace(args) => args.json(),
            Self::Job(args) => args.json(),
            Self::ControlPlane(args) => args.json(),
            Self::Logs(args) => args.json,
            Self::Audit(args) => args.json,
            Self::FakeModel(args) => args.json.json,
            Self::Pair(_)
            | Self::Unpair(_)
            | Self::Start(_)
            | Self::Stop(_)
            | Self::Up(_)
            | Self::Shell(_)
            | Self::Login(_)
            | Self::Completions(_)
            | Self::Help(_) => false,
        }
    }

    /// Environment files are for the commands that decide about a control plane or a daemon.
    const fn env_files(&self) -> Option<&EnvFileArgs> {
        match self {
            Self::Pair(args) => Some(&args.env_file),
            Self::Start(args) => Some(&args.env_file),
            Self::Doctor(args) => Some(&args.env_file),
            Self::Unpair(_)
            | Self::Stop(_)
            | Self::Status(_)
            | Self::Logs(_)
            | Self::Audit(_)
            | Self::FullControl(_)
            | Self::Up(_)
            | Self::Exec(_)
            | Self::Run(_)
            | Self::Providers(_)
            | Self::Workspace(_)
            | Self::Shell(_)
            | Self::Job(_)
            | Self::Login(_)
            | Self::ControlPlane(_)
            | Self::FakeModel(_)
            | Self::Completions(_)
            | Self::Help(_) => None,
        }
    }

    /// Whether the state directory is made and secured first; the others only look.
    const fn prepares_state(&self) -> bool {
        match self {
            Self::Exec(args) => args.brings_up(),
            Self::Pair(_) | Self::Start(_) | Self::Up(_) => true,
            Self::Doctor(_)
            | Self::Unpair(_)
            | Self::Stop(_)
            | Self::Status(_)
            | Self::Logs(_)
            | Self::Audit(_)
            | Self::FullControl(_)
            | Self::Run(_)
            | Self::Providers(_)
            | Self::Workspace(_)
            | Self::Shell(_)
            | Self::Job(_)
            | Self::Login(_)
            | Self::ControlPlane(_)
            | Self::FakeModel(_)
            | Self::Completions(_)
            | Self::Help(_) => false,
        }
    }

    const fn is_server(&self) -> bool {
        matches!(self, Self::ControlPlane(args) if args.is_serve())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn work_that_was_given_up_keeps_no_process() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (_held, endless) = mpsc::channel::<()>();
        let command = async {
            drop(tokio::task::spawn_blocking(move || endless.recv()));
            7
        };
        assert_eq!(to_the_end(runtime, command), 7);
    }
}
