//! The channel's state machine: time and IO are handed in.

use crate::backend::realtime::Binding;

/// The channel.
#[derive(Debug)]
pub struct Machine {}

impl Machine {
    /// A channel that is not yet open.
    #[must_use]
    pub fn new(_channel: &str, _bindings: Vec<Binding>) -> Self {
        Self {}
    }
}
