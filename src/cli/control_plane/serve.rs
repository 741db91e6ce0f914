//! `gateway control-plane serve`.

use std::net::SocketAddr;

use clap::Args;
use tokio_util::sync::CancellationToken;

use crate::cli::context::Context;
use crate::cli::control_plane::DatabaseArg;
use crate::cli::error::{CliError, CliResult};
use crate::cli::exit::Exit;
use crate::cli::interrupt::interrupted;
use crate::cli::output::Details;
use crate::cli::plane::address::{self, PlaneAddress};
use crate::cli::plane::database;
use crate::cli::shell_words;
use crate::control_plane::auth::Lives;
use crate::control_plane::listen::ConnectionLimits;
use crate::control_plane::server::{self, Bound, ServeError, ServeOptions};
use crate::control_plane::store::DatabaseUrl;
use crate::domain::needles::Needles;
use crate::runtime::logging;
use crate::state::fs::OwnerDir;
use crate::state::lock::{LockError, StateLock};
use crate::state::log_file::{Limits, RotatingLog};

/// Log file name inside the control plane's directory.
const LOG: &str = "control-plane.log";

/// Options of `serve`.
#[derive(Debug, Args)]
#[command(
    after_help = "Serves REST, auth, functions and Realtime under one address until it is interrupted. The address is kept: a pairing \
pins it, so give a fixed port when hosts are to pair with it. Plain HTTP: put it behind a TLS proxy before it leaves \
the machine.

A PostgreSQL address holds a password and belongs into the variable GATEWAY_DATABASE_URL.

Examples:
  gateway control-plane serve
  gateway control-plane serve --listen 0.0.0.0:54400 --database sqlite:/srv/gateway/plane.sqlite"
)]
pub(crate) struct ServeArgs {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:54400")]
    listen: SocketAddr,

    /// `gateway stop` ends it too
    #[arg(long, hide = true)]
    started_by_up: bool,

    #[command(flatten)]
    database: DatabaseArg,
}

pub(crate) async fn run(args: &ServeArgs, cx: &Context) -> CliResult {
    let database = args.database.chosen(cx)?;
    let home = Home::open(&database, cx)?;
    let shown = database::shown(&database, cx);
    let next = next_steps(&database, home.is_some());
    let options = ServeOptions {
        listen: args.listen,
        database,
        lives: Lives::default(),
        limits: ConnectionLimits::default(),
    };
    let (mut saved, over) = (Ok(()), CancellationToken::new());
    let on_bound = |bound: Bound| {
        saved = home
            .as_ref()
            .map_or(Ok(()), |home| home.save(&bound, args.started_by_up));
        match saved {
            Ok(()) => announce(&bound, &shown, &next, cx),
            // No other command would find it, and none could end it.
            Err(_) => over.cancel(),
        }
    };
    let interrupted = interrupted()?;
    let stop = async {
        tokio::select! {
            () = interrupted => {}
            () = over.cancelled() => {}
        }
    };
    server::serve(options, on_bound, stop).await?;
    saved.map(|()| Exit::OK)
}

/// The directory of the embedded control plane, locked for as long as it is served from here.
struct Home {
    dir: OwnerDir,
    _lock: StateLock,
}

impl Home {
    /// Only the embedded database has a home; others are wherever somebody put them.
    fn open(database: &DatabaseUrl, cx: &Context) -> Result<Option<Self>, CliError> {
        if !database::is_embedded(database, cx) {
            return Ok(None);
        }
        let dir = OwnerDir::open_or_create(&cx.paths.control_plane_dir())?;
        let lock = StateLock::acquire(&dir, address::LOCK).map_err(|error| match error {
            LockError::Held { .. } => CliError::failed("The embedded control plane runs already.")
                .detail(error.to_string())
                .hint("gateway status; `gateway stop` ends it when `gateway up` started it"),
            LockError::File(error) => CliError::from(error),
        })?;
        logging::init(
            RotatingLog::with_limits(OwnerDir::open_or_create(dir.path())?, LOG, Limits::default())?,
            false,
            Needles::default(),
        );
        Ok(Some(Self { dir, _lock: lock }))
    }

    fn save(&self, bound: &Bound, started_by_up: bool) -> Result<(), CliError> {
        let address = PlaneAddress {
            url: format!("http://{}", bound.address),
            pid: std::process::id(),
            anon_key: bound.anon_key.expose().to_owned(),
            started_by_up,
        };
        address::save(&self.dir, &address)
    }
}

/// The commands that make this control plane useful. They open its database, so they name it unless it is the usual one.
fn next_steps(database: &DatabaseUrl, embedded: bool) -> String {
    let named = match database {
        DatabaseUrl::Sqlite(path) if !embedded => vec!["--database".to_owned(), format!("sqlite:{}", path.display())],
        DatabaseUrl::Sqlite(_) | DatabaseUrl::Postgres(_) => Vec::new(),
    };
    let command = |words: &str| {
        let words = words.split(' ').map(str::to_owned);
        shell_words::command_line(&words.chain(named.clone()).collect::<Vec<_>>())
    };
    let steps = [
        command("gateway control-plane pairing-code"),
        command("gateway control-plane token create"),
    ];
    let note = match database {
        DatabaseUrl::Sqlite(_) => "",
        DatabaseUrl::Postgres(_) => "\nwith GATEWAY_DATABASE_URL set as here",
    };
    format!("{}{note}", steps.join("\n"))
}

fn announce(bound: &Bound, database: &str, next: &str, cx: &Context) {
    let details = Details::new()
        .add("Address", format!("http://{}", bound.address))
        .add("Public key", bound.anon_key.expose())
        .add("Database", database)
        .add("Next", next);
    cx.out.ok("Control plane listens", &details);
}

impl From<ServeError> for CliError {
    fn from(error: ServeError) -> Self {
        match error {
            ServeError::Listen { .. } => Self::failed("The control plane cannot listen.")
                .detail(error.to_string())
                .hint("choose another address with --listen, or end the program that uses this one"),
            ServeError::Open(error) => error.into(),
            ServeError::Locked { .. } | ServeError::Lock { .. } | ServeError::Auth(_) | ServeError::ChangeLog(_) => {
                Self::failed("The control plane could not start.").detail(error.to_string())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_steps_name_a_database_that_is_not_the_usual_one() {
        let chosen = DatabaseUrl::Sqlite("/srv/a plane.sqlite".into());
        assert_eq!(
            next_steps(&chosen, false),
            "gateway control-plane pairing-code --database 'sqlite:/srv/a plane.sqlite'\n\
             gateway control-plane token create --database 'sqlite:/srv/a plane.sqlite'"
        );
        assert_eq!(
            next_steps(&chosen, true),
            "gateway control-plane pairing-code\ngateway control-plane token create"
        );
    }
}
