//! `/rest/v1/rpc`: functions by name, each with a handler of its own.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::claims::{Claims, Role};
use super::problem::{Problem, shorten};
use super::query::body::{self, Body, Members};
use super::query::value;
use super::runs::{self, Accept};
use super::store::Store;
use crate::domain::ids::TeamId;

/// Largest body of a call: a prompt, every byte of it escaped, with a little around it.
pub(super) const MOST_BODY_BYTES: usize = 32 * 1024 * 1024;

/// The functions there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Function {
    /// `gateway_server_time()`: the control plane's clock.
    ServerTime,
    /// `accept_subagent_run(...)`: see [`Accept`].
    AcceptRun,
    /// `allocate_subagent_run_sequence(p_subagent_id)`: the number of the next run.
    AllocateSequence,
}

const ACCEPT_NEEDS: &[&str] = &["p_subagent_id", "p_run_id", "p_prompt", "p_runner"];
const ACCEPT_KNOWS: &[&str] = &[
    "p_prompted_at",
    "p_prompted_by_agent_id",
    "p_gateway_id",
    "p_input",
    "p_metadata",
];

impl Function {
    /// Looked up by name and by the names of the arguments, as PostgreSQL does.
    fn find(name: &str, arguments: &Members<'_>) -> Option<Self> {
        let fits = |needs: &[&str], knows: &[&str]| {
            needs.iter().all(|need| arguments.iter().any(|(name, _)| name == need))
                && arguments
                    .iter()
                    .all(|(name, _)| needs.contains(&name.as_str()) || knows.contains(&name.as_str()))
        };
        match name {
            "gateway_server_time" if fits(&[], &[]) => Some(Self::ServerTime),
            "accept_subagent_run" if fits(ACCEPT_NEEDS, ACCEPT_KNOWS) => Some(Self::AcceptRun),
            "allocate_subagent_run_sequence" if fits(&["p_subagent_id"], &[]) => Some(Self::AllocateSequence),
            _ => None,
        }
    }
}

/// Calls a function; gives the JSON text of its result.
///
/// # Errors
/// PGRST202 when there is no such function, 42501 for callers who may not, and the function's own.
pub(super) async fn call(store: &Store, claims: &Claims, name: &str, body: &[u8]) -> Result<String, Problem> {
    let arguments = match body {
        [] => Members::new(),
        body => match body::split(body)? {
            Body::One(members) => members,
            Body::Many(_) => return Err(Problem::unsupported("calling a function for each of a list")),
        },
    };
    let function = Function::find(name, &arguments).ok_or_else(|| missing(name, &arguments))?;
    match function {
        Function::ServerTime if claims.is_anonymous() => Err(denied(name)),
        Function::ServerTime => Ok(format!("\"{}\"", value::stored_now())),
        Function::AcceptRun => {
            let Role::Operator { team_id, .. } = &claims.role else {
                return Err(denied(name));
            };
            accept_run(store, team_id, &read(body)?).await
        }
        Function::AllocateSequence => {
            let (Role::Operator { team_id, .. } | Role::Gateway { team_id, .. }) = &claims.role else {
                return Err(denied(name));
            };
            allocate_sequence(store, team_id, &read(body)?).await
        }
    }
}

async fn accept_run(store: &Store, team: &TeamId, accept: &Accept) -> Result<String, Problem> {
    let mut tx = store.begin().await?;
    let run = runs::accept(&mut tx, team, accept).await?;
    tx.commit().await?;
    Ok(run.to_string())
}

#[derive(Deserialize)]
struct Allocate {
    p_subagent_id: Uuid,
}

async fn allocate_sequence(store: &Store, team: &TeamId, allocate: &Allocate) -> Result<String, Problem> {
    let mut tx = store.begin().await?;
    let sequence = runs::allocate(&mut tx, team, &allocate.p_subagent_id).await?;
    tx.commit().await?;
    Ok(sequence.to_string())
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| Problem::new("22023", format!("invalid argument: {error}")))
}

fn denied(name: &str) -> Problem {
    Problem::new("42501", format!("permission denied for function {}", shorten(name)))
}

fn missing(name: &str, arguments: &[(String, &RawValue)]) -> Problem {
    let name = shorten(name);
    let names: Vec<&str> = arguments.iter().map(|(name, _)| name.as_str()).collect();
    let with = match names.as_slice() {
        [] => " without parameters".to_owned(),
        names => format!("({})", shorten(&names.join(", "))),
    };
    Problem::new(
        "PGRST202",
        format!("Could not find the function public.{name}{with} in the schema cache"),
    )
    .details(format!(
        "Searched for the function public.{name}{with}, but no matches were found."
    ))
    .hint("Functions are called with exactly the arguments they name")
}
