//! Events of the daemon: JSON lines in the rotating file, and lines for people when somebody watches: what went wrong,
//! and everything when they ask for it.

use std::io::{self, IsTerminal as _, Write};

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::domain::clock;
use crate::domain::needles::Needles;
use crate::state::log_file::RotatingLog;

/// The time of a line for people: to the second. The file has it whole.
struct Seconds;

impl FormatTime for Seconds {
    fn format_time(&self, line: &mut Writer<'_>) -> std::fmt::Result {
        write!(line, "{}", clock::now().strftime("%Y-%m-%dT%H:%M:%SZ"))
    }
}

/// Writes each event without secrets. An event comes in one piece.
struct Cleaned<W>(W, Needles);

impl<W: Write> Write for Cleaned<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let clean = self.1.bytes(event);
        self.0.write_all(clean.as_deref().unwrap_or(event))?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Starts logging, without these secrets. `verbose` adds our own debug events, and on a terminal also the events that
/// are no trouble. A second call in one process changes nothing.
pub fn init(log: RotatingLog, verbose: bool, secrets: Needles) {
    let own = if verbose { LevelFilter::DEBUG } else { LevelFilter::INFO };
    // What others log at debug level holds headers and statements; ours never holds a secret.
    let filter = |own| {
        Targets::new()
            .with_default(LevelFilter::WARN)
            .with_target("gateway", own)
    };
    let shown = if verbose { own } else { LevelFilter::WARN };
    let (of_file, of_terminal) = (secrets.clone(), secrets);
    let file = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_writer(move || Cleaned(log.clone(), of_file.clone()))
        .with_filter(filter(own));
    let terminal = io::stderr().is_terminal().then(|| {
        tracing_subscriber::fmt::layer()
            .with_target(false)
            .with_timer(Seconds)
            .with_writer(move || Cleaned(io::stderr(), of_terminal.clone()))
            .with_filter(filter(shown))
    });
    let started = tracing_subscriber::registry().with(file).with(terminal).try_init();
    if let Err(error) = started {
        tracing::debug!(%error, "Logging was started before");
    }
}
