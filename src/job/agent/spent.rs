//! What all attempts of a run took together.

use serde_json::Value;

use crate::domain::run::RunEnd;
use crate::domain::usage;

/// Usage and cost so far; none while no attempt told.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Spent {
    pub(super) usage: Option<Value>,
    pub(super) cost_usd: Option<f64>,
}

impl Spent {
    /// Takes over what one attempt took.
    pub(super) fn add(&mut self, end: &mut RunEnd) {
        self.usage = usage::sum(self.usage.take(), end.usage.take());
        self.cost_usd = match (self.cost_usd, end.cost_usd.take()) {
            (Some(before), Some(now)) => Some(before + now),
            (before, now) => now.or(before),
        };
    }
}
