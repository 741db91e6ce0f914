//! `/rest/v1/rpc`: functions by name, each with a handler of its own.

use serde_json::value::RawValue;

use super::claims::Claims;
use super::problem::{Problem, shorten};
use super::query::body::{self, Body, Members};
use super::query::value;

/// Largest body of a call: no function takes much.
pub(super) const MOST_BODY_BYTES: usize = 64 * 1024;

/// The functions there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Function {
    /// `gateway_server_time()`: the control plane's clock.
    ServerTime,
}

impl Function {
    /// Looked up by name and by the names of the arguments, as PostgreSQL does.
    fn find(name: &str, arguments: &Members<'_>) -> Option<Self> {
        match name {
            "gateway_server_time" if arguments.is_empty() => Some(Self::ServerTime),
            _ => None,
        }
    }
}

/// Calls a function; gives the JSON text of its result.
///
/// # Errors
/// PGRST202 when there is no such function, 42501 for anonymous callers, and the function's own.
pub(super) fn call(claims: &Claims, name: &str, body: &[u8]) -> Result<String, Problem> {
    let arguments = match body {
        [] => Members::new(),
        body => match body::split(body)? {
            Body::One(members) => members,
            Body::Many(_) => return Err(Problem::unsupported("calling a function for each of a list")),
        },
    };
    let function = Function::find(name, &arguments).ok_or_else(|| missing(name, &arguments))?;
    if claims.is_anonymous() {
        let message = format!("permission denied for function {}", shorten(name));
        return Err(Problem::new("42501", message));
    }
    match function {
        Function::ServerTime => Ok(format!("\"{}\"", value::stored_now())),
    }
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
