//! `gateway unpair`: the session is revoked at the control plane and forgotten here.

use std::future::ready;
use std::io::IsTerminal as _;
use std::sync::Arc;

use clap::Args;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use crate::backend::{Auth, Client, Endpoint, Http, StoreError, StoreGuard, TokenStore, Tokens, account};
use crate::cli::context::Context;
use crate::cli::error::{CliError, CliResult};
use crate::cli::exit::Exit;
use crate::cli::output::Details;
use crate::cli::{prompt, stop};
use crate::state::session::Session;

/// Options of `unpair`.
#[derive(Debug, Args)]
#[command(
    after_help = "The gateway is stopped first. When the control plane cannot be reached the session is kept, unless --force is \
given: then it is forgotten here and stays valid there until the team removes the gateway.

Examples:
  gateway unpair
  gateway unpair --force"
)]
pub(crate) struct UnpairArgs {
    /// Do not ask, and forget the session also when it cannot be revoked
    #[arg(long)]
    force: bool,
}

pub(crate) async fn run(args: &UnpairArgs, cx: &Context) -> CliResult {
    let session = cx.paired()?;
    confirm(args, &session)?;
    stop::end_quietly(cx).await?;
    let revoked = revoke(&session).await;
    if let (Err(error), false) = (&revoked, args.force) {
        return Err(error.clone().hint("try again later, or `gateway unpair --force`"));
    }
    cx.sessions().wipe()?;
    let details = Details::new()
        .add("Control plane", &session.supabase_url)
        .verbose("Gateway ID", &session.gateway_id);
    match revoked {
        Ok(()) => cx.out.ok("Unpaired; the session is revoked", &details),
        Err(error) => cx.out.warn(
            "Unpaired here; the session could not be revoked at the control plane.",
            &details.maybe("Details", error.detail.as_deref()),
        ),
    }
    Ok(Exit::OK)
}

fn confirm(args: &UnpairArgs, session: &Session) -> Result<(), CliError> {
    if args.force || !std::io::stdin().is_terminal() {
        return Ok(());
    }
    if prompt::yes(&format!("End the pairing with {}? [y/N] ", session.supabase_url))? {
        return Ok(());
    }
    Err(CliError::failed("Still paired; everything is as it was."))
}

/// How Auth calls a session that has ended.
const GONE: &str = "session_not_found";

/// Ends the session there. An access token that ran out is renewed once, in memory only: it is about to be forgotten.
async fn revoke(session: &Session) -> Result<(), CliError> {
    let http = Endpoint::new(&session.supabase_url, session.anon_key.clone()).and_then(Http::new);
    let http = http.map_err(|error| CliError::failed(error.to_string()))?;
    let tokens = Tokens {
        access: session.access_token.clone(),
        refresh: session.refresh_token.clone(),
    };
    let auth = Auth::session(http.clone(), Arc::new(InMemory(tokens.clone())), tokens);
    match account::logout(&Client::new(http, auth)).await {
        Ok(()) => Ok(()),
        // A session that is refused has ended already.
        Err(error) if error.requires_pairing() || error.status() == Some(401) || error.code() == Some(GONE) => Ok(()),
        Err(error) => {
            Err(CliError::failed("The session could not be revoked at the control plane.").detail(error.to_string()))
        }
    }
}

struct InMemory(Tokens);

impl TokenStore for InMemory {
    fn load(&self) -> BoxFuture<'_, Result<Tokens, StoreError>> {
        ready(Ok(self.0.clone())).boxed()
    }

    fn persist<'a>(&'a self, _tokens: &'a Tokens) -> BoxFuture<'a, Result<(), StoreError>> {
        ready(Ok(())).boxed()
    }

    fn lock(&self) -> BoxFuture<'_, Result<StoreGuard, StoreError>> {
        ready(Ok(StoreGuard::new(()))).boxed()
    }
}
