//! `/rest/v1`: the part of PostgREST that gateways and supabase-js use, over the registry.

mod answer;
mod headers;
mod intake;
mod read;
mod write;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, Method};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, post};

use self::answer::Refusal;
use self::headers::{Accept, Prefer};
use self::intake::Intake;
use super::claims::Claims;
use super::problem::{Problem, shorten};
use super::query::access;
use super::query::ast;
use super::query::parse;
use super::registry::{self, Table};
use super::rpc;
use super::store::Store;

/// Biggest body that is taken; above it the answer is 413.
pub const MOST_BODY_BYTES: usize = 64 * 1024 * 1024;
/// Most rows of one answer.
pub const MOST_ROWS: u64 = 1000;

/// The routes below `/rest/v1`. [`Claims`] are expected in the request's extensions; without them
/// the caller is anonymous.
pub fn router(store: Store) -> Router {
    Router::new()
        .route("/rest/v1/rpc/{function}", post(call).get(call))
        .route("/rest/v1/{table}", any(table))
        .with_state(Rest {
            store: Arc::new(store),
            intake: Intake::default(),
        })
}

/// What all requests share.
#[derive(Debug, Clone)]
struct Rest {
    store: Arc<Store>,
    intake: Intake,
}

/// Everything a handler needs to know of a request besides its body.
#[derive(Debug)]
struct Call {
    store: Arc<Store>,
    table: &'static Table,
    claims: Claims,
    query: ast::Query,
    prefer: Prefer,
    accept: Accept,
}

type Parameters = Result<Query<Vec<(String, String)>>, axum::extract::rejection::QueryRejection>;

async fn table(
    State(rest): State<Rest>,
    Path(name): Path<String>,
    parameters: Parameters,
    request: Request,
) -> Response {
    let claims = claims_of(&request);
    let anonymous = claims.is_anonymous();
    let method = request.method().clone();
    let outcome = match prepare(rest.store, &name, parameters, (request.headers(), claims)) {
        Ok(call) => run(call, &method, (&rest.intake, request)).await,
        Err(problem) => Err(problem.into()),
    };
    outcome.unwrap_or_else(|refusal| refusal.response(anonymous))
}

fn prepare(
    store: Arc<Store>,
    name: &str,
    parameters: Parameters,
    (headers, claims): (&HeaderMap, Claims),
) -> Result<Call, Problem> {
    headers::profile(headers)?;
    let accept = headers::accept(headers)?;
    let prefer = headers::prefer(headers)?;
    let table = registry::exposed_table(name).ok_or_else(|| {
        let name = shorten(name);
        Problem::new(
            "PGRST205",
            format!("Could not find the table 'public.{name}' in the schema cache"),
        )
    })?;
    let Query(parameters) = parameters.map_err(|_bad| Problem::unparsable("query string", ""))?;
    let query = parse::query(table, &parameters)?;
    Ok(Call {
        store,
        table,
        claims,
        query,
        prefer,
        accept,
    })
}

async fn run(call: Call, method: &Method, (intake, request): (&Intake, Request)) -> Result<Response, Refusal> {
    match *method {
        Method::GET => read::rows(&call).await,
        Method::HEAD => read::head(&call).await,
        // Who may not write at all need not send megabytes to hear it.
        Method::POST => {
            let policy = access::insertable(call.table, &call.claims)?;
            let (body, _room) = intake.read(request, MOST_BODY_BYTES).await?;
            write::insert(&call, &policy, body).await
        }
        Method::PATCH => {
            access::changeable(call.table, &call.claims)?;
            let (body, _room) = intake.read(request, MOST_BODY_BYTES).await?;
            write::update(&call, body).await
        }
        Method::DELETE => write::delete(&call).await,
        Method::PUT => Err(Problem::unsupported("PUT").into()),
        _ => Err(Problem::new("PGRST117", format!("Unsupported HTTP method: {method}")).into()),
    }
}

/// What the gate before this room found out about the caller.
fn claims_of(request: &Request) -> Claims {
    request
        .extensions()
        .get::<Claims>()
        .cloned()
        .unwrap_or_else(Claims::anon)
}

async fn call(State(rest): State<Rest>, Path(function): Path<String>, request: Request) -> Response {
    let claims = claims_of(&request);
    let anonymous = claims.is_anonymous();
    let outcome = async {
        headers::profile(request.headers())?;
        if request.method() != Method::POST {
            return Err(Refusal::from(Problem::unsupported("calling functions by GET")));
        }
        let (body, _room) = rest.intake.read(request, rpc::MOST_BODY_BYTES).await?;
        Ok(rpc::call(&rest.store, &claims, &function, &body).await?)
    };
    match outcome.await {
        Ok(value) => answer::json(value).into_response(),
        Err(refusal) => refusal.response(anonymous),
    }
}
