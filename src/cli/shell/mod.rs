//! `gateway shell`: the operator's terminal on a shell of a gateway. It writes rows and reads them, as `exec` does.

mod remote;
mod terminal;

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind};
use tokio::sync::mpsc;

use self::remote::{Called, Remote};
use self::terminal::{Raw, Size};
use crate::cli::context::Context;
use crate::cli::error::{CliError, CliResult};
use crate::cli::exit::Exit;
use crate::cli::interrupt::listen;
use crate::cli::operator::Operator;
use crate::cli::output::{Details, Output};
use crate::cli::{shell_words, target};

/// Typed alone, it leaves the shell: Ctrl-].
const LEAVE: &[u8] = b"\x1d";

/// Options of `shell`.
#[derive(Debug, Args)]
#[command(
    after_help = "On a terminal the shell gets one too, with the size of yours; Ctrl-] leaves it and ends everything it runs. \
Where stdin or stdout is no terminal, stdout and stderr stay apart and the end of stdin is passed on.

A shell whose operator is gone for ten minutes is closed. What is typed travels in jobs and stays in their rows.

Exit codes: the shell's own, or those of `gateway exec`.

Examples:
  gateway shell
  gateway shell --gateway ID -- htop
  gateway shell < script.sh"
)]
pub(crate) struct ShellArgs {
    /// The gateway that shall run it; needed when the team has several
    #[arg(long, value_name = "ID")]
    gateway: Option<String>,

    /// The remote_shell resource; chosen by the gateway when left out
    #[arg(long, value_name = "ID")]
    resource: Option<String>,

    /// A command instead of an interactive shell
    #[arg(last = true, value_name = "CMD")]
    command: Vec<String>,
}

pub(crate) async fn run(args: &ShellArgs, cx: &Context) -> CliResult {
    let operator = Operator::open(cx).await?;
    let gateway_id = target::gateway(&operator, args.gateway.as_deref(), cx).await?;
    let resource_id = match &args.resource {
        Some(resource) => resource.clone(),
        None => target::shell_of(&operator, &gateway_id).await?,
    };
    let command = (!args.command.is_empty()).then(|| shell_words::command_line(&args.command));
    let size = terminal::size();
    let mut remote = Remote::new(operator, gateway_id, resource_id);
    let mut signals = Signals::listen()?;
    tokio::select! {
        opened = remote.open(command.as_deref(), size) => opened?,
        // A shell that opens later has no operator, and is closed for that.
        () = signals.any_end() => return Err(interrupted("Interrupted before the shell was open.")),
    }
    // From here on a key is the shell's, also Ctrl-C.
    let raw = size.is_some().then(Raw::on).flatten();
    let ended = attached(&remote, &cx.out, size, &mut signals).await;
    drop(raw);
    let ended = match ended {
        Ok(ended) => ended,
        Err(error) => {
            remote.close().await;
            return Err(error);
        }
    };
    match ended {
        Ended::Shell(exit) => Ok(exit),
        Ended::Unread => {
            remote.close().await;
            Ok(Exit::FAILED)
        }
        Ended::Left => {
            remote.close().await;
            cx.out.warn("You left the shell; it was closed.", &Details::new());
            Ok(Exit::OK)
        }
        Ended::Interrupted => {
            remote.close().await;
            Err(interrupted("Interrupted; the shell was closed."))
        }
    }
}

/// How it came to an end.
enum Ended {
    Shell(Exit),
    /// The reader of stdout went away.
    Unread,
    Left,
    Interrupted,
}

/// What asks this process to end.
struct Signals {
    hung_up: Signal,
    ended: Signal,
    interrupted: Signal,
}

impl Signals {
    fn listen() -> Result<Self, CliError> {
        Ok(Self {
            hung_up: listen(SignalKind::hangup())?,
            ended: listen(SignalKind::terminate())?,
            interrupted: listen(SignalKind::interrupt())?,
        })
    }

    async fn any_end(&mut self) {
        tokio::select! {
            _ = self.hung_up.recv() => {}
            _ = self.ended.recv() => {}
            _ = self.interrupted.recv() => {}
        }
    }
}

fn interrupted(message: &str) -> CliError {
    CliError::with(Exit::INTERRUPTED, message)
}

/// Types, shows and resizes side by side, until one of them is the end.
async fn attached(remote: &Remote, out: &Output, size: Option<Size>, signals: &mut Signals) -> Result<Ended, CliError> {
    let mut resized = listen(SignalKind::window_change())?;
    tokio::select! {
        exit = remote.show(out) => exit.map(|exit| exit.map_or(Ended::Unread, Ended::Shell)),
        left = type_in(remote, terminal::typed(), size.is_some()) => left,
        failed = follow_size(remote, size, &mut resized) => Err(failed),
        () = signals.any_end() => Ok(Ended::Interrupted),
    }
}

/// Sends what is typed, in order. Returns only when the shell was left.
async fn type_in(remote: &Remote, mut typed: mpsc::Receiver<Vec<u8>>, on_terminal: bool) -> Result<Ended, CliError> {
    while let Some(mut bytes) = typed.recv().await {
        if on_terminal && bytes == LEAVE {
            return Ok(Ended::Left);
        }
        while let Ok(more) = typed.try_recv() {
            bytes.extend(more);
            if bytes.len() >= remote::MAX_INPUT {
                break;
            }
        }
        if remote.write(&bytes, on_terminal).await? == Called::Over {
            return std::future::pending().await;
        }
    }
    remote.end_input().await?;
    std::future::pending().await
}

/// Passes on the size of this terminal when it changes; gives the failure that ends it.
async fn follow_size(remote: &Remote, mut size: Option<Size>, resized: &mut Signal) -> CliError {
    while resized.recv().await.is_some() {
        let now = terminal::size();
        if let Some(new) = now.filter(|_| size.is_some() && now != size) {
            size = now;
            if let Err(error) = remote.resize(new).await {
                return error;
            }
        }
    }
    std::future::pending().await
}
