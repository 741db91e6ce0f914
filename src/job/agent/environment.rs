//! What surrounds an agent.

use crate::process::env::ChildEnv;
use crate::provider::home::Setup;

/// The environment of children, with what the owner's settings make of it.
#[must_use]
pub fn environment(children: &ChildEnv, setup: &Setup) -> ChildEnv {
    setup
        .env
        .iter()
        .fold(children.clone(), |env, (name, value)| match value {
            Some(value) => env.with(name, value.expose()),
            None => env.without(name),
        })
}
