//! What a run used. A run can end more than once, each time telling only of what came since.

use serde_json::{Map, Value};

use crate::domain::usage;

/// Figures of all `result` lines together.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    tokens: Option<Value>,
    own_cost: Option<f64>,
    total_cost: Option<f64>,
    models: Option<Map<String, Value>>,
}

/// Numbers of a model that are no counts.
const SIZES: &[&str] = &["contextWindow", "maxOutputTokens"];

impl Usage {
    /// Adds one `result`.
    pub(crate) fn add(&mut self, result: &Map<String, Value>) {
        let tokens = result.get("usage").or_else(|| result.get("usage_metadata"));
        let tokens = tokens.filter(|tokens| tokens.is_object()).cloned();
        self.tokens = usage::sum(self.tokens.take(), tokens);
        if let Some(cost) = result.get("total_cost_usd").and_then(Value::as_f64) {
            self.total_cost = Some(cost);
        }
        if let Some(models) = result.get("model_usage_since_last_result").and_then(Value::as_object) {
            let costs = models.values().filter_map(|model| model.get("costUSD")?.as_f64());
            self.own_cost = Some(self.own_cost.unwrap_or(0.0) + costs.sum::<f64>());
            self.add_models(models);
        }
    }

    fn add_models(&mut self, more: &Map<String, Value>) {
        let models = self.models.get_or_insert_default();
        for (name, model) in more {
            let sum = models.entry(name.as_str()).or_insert(Value::Null);
            usage::add(sum, model.clone());
            for size in SIZES {
                if let (Some(sum), Some(size)) = (sum.get_mut(*size), model.get(*size)) {
                    sum.clone_from(size);
                }
            }
        }
    }

    /// What each model did in this run, where the CLI tells it apart from the session.
    pub(crate) const fn models(&self) -> Option<&Map<String, Value>> {
        self.models.as_ref()
    }

    /// Tokens of this run.
    pub(crate) fn tokens(&self) -> Option<Value> {
        self.tokens.clone()
    }

    /// The cost of this run and true, or what the CLI calls the total and false.
    pub(crate) fn cost(&self) -> (Option<f64>, bool) {
        self.own_cost
            .map_or((self.total_cost, false), |cost| (Some(cost), true))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn usage(results: &[Value]) -> Usage {
        let mut usage = Usage::default();
        for result in results {
            usage.add(result.as_object().unwrap());
        }
        usage
    }

    #[test]
    fn several_results_are_one_run() {
        let one = json!({"usage": {"input_tokens": 3, "cache": {"hits": 1}, "tier": "a"}, "total_cost_usd": 0.5});
        let two = json!({"usage": {"input_tokens": 4, "cache": {"hits": 2}, "tier": "b"}, "total_cost_usd": 0.75});
        let sum = usage(&[one, two]);
        let tokens = json!({"input_tokens": 7, "cache": {"hits": 3}, "tier": "b"});
        assert_eq!((sum.tokens(), sum.cost()), (Some(tokens), (Some(0.75), false)));
    }

    #[test]
    fn a_cost_of_this_run_alone_is_preferred() {
        let result = |cost: f64| {
            let models = json!({"a": {"costUSD": cost}, "b": {"costUSD": 0.25}});
            json!({"total_cost_usd": 9.0, "model_usage_since_last_result": models})
        };
        assert_eq!(usage(&[result(0.5), result(1.0)]).cost(), (Some(2.0), true));
    }
}
