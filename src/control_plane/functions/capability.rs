//! Whether a capability document is a valid v1: the part of it that the control plane plans with must be right,
//! members it does not know are kept as they are.

use serde_json::{Map, Value};

/// The provider keys of v1; each must be there, no other may be.
const PROVIDERS: [&str; 3] = ["claude_code", "codex", "gemini"];
const SERVICES: [&str; 3] = ["model_execution", "remote_shell", "machine_control"];
const HEALTH: [&str; 4] = ["healthy", "unhealthy", "unknown", "unavailable"];

/// What is wrong with a document, as a path and a sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("capabilities{path}: {wrong}")]
pub struct InvalidCapabilities {
    path: String,
    wrong: &'static str,
}

type Check = Result<(), InvalidCapabilities>;

/// Checks a document.
///
/// # Errors
/// The first thing that is wrong.
pub fn validate(document: &Value) -> Check {
    let root = Node {
        path: String::new(),
        value: Some(document),
    };
    let members = root.object()?;
    if members.get("schema_version") != Some(&Value::from("v1")) {
        return root.member("schema_version").wrong("must be \"v1\"");
    }
    let providers = root.member("providers");
    if let Some(extra) = providers
        .object()?
        .keys()
        .find(|key| !PROVIDERS.contains(&key.as_str()))
    {
        return providers.member(extra).wrong("is no provider of v1");
    }
    for name in PROVIDERS {
        provider(&providers.member(name))?;
    }
    host(&root.member("hosts").member("gateway"))?;
    for name in SERVICES {
        let service = root.member("services").member(name);
        service.member("ready").boolean()?;
        service.member("reason").optional(Node::text)?;
    }
    root.member("runtime").optional(|runtime| {
        for name in ["platform", "arch", "node_version"] {
            runtime.member(name).text()?;
        }
        for name in ["gateway_version", "image_reference"] {
            runtime.member(name).optional(Node::text)?;
        }
        Ok(())
    })
}

fn provider(node: &Node<'_>) -> Check {
    node.member("available").boolean()?;
    for name in ["version", "error"] {
        node.member(name).optional(Node::text)?;
    }
    for name in ["output_schema", "stream_json", "tool_disable"] {
        node.member("supports").member(name).boolean()?;
    }
    node.member("supported_flags").optional(|flags| {
        for name in flags.object()?.keys() {
            flags.member(name).boolean()?;
        }
        Ok(())
    })?;
    node.member("extensions").optional(|list| match list.value {
        Some(Value::Array(names)) if names.iter().all(Value::is_string) => Ok(()),
        Some(_) | None => list.wrong("must be a list of texts"),
    })?;
    node.member("health").optional(health)
}

fn health(node: &Node<'_>) -> Check {
    node.member("status").one_of(&HEALTH)?;
    node.member("check_type").one_of(&["full", "light"])?;
    node.member("checked_at").text()?;
    node.member("last_full_status")
        .optional(|status| status.one_of(&HEALTH))?;
    for name in ["last_full_checked_at", "error", "model"] {
        node.member(name).optional(Node::text)?;
    }
    node.member("duration_ms").optional(|number| match number.value {
        Some(Value::Number(_)) => Ok(()),
        Some(_) | None => number.wrong("must be a number"),
    })
}

fn host(node: &Node<'_>) -> Check {
    node.member("kind").one_of(&["gateway"])?;
    node.member("available").boolean()?;
    for name in ["label", "error", "last_checked_at"] {
        node.member(name).optional(Node::text)?;
    }
    node.member("metadata").member("install_full_control_enabled").boolean()
}

/// A place in the document.
struct Node<'a> {
    path: String,
    value: Option<&'a Value>,
}

impl<'a> Node<'a> {
    fn member(&self, name: &str) -> Self {
        Node {
            path: format!("{}.{name}", self.path),
            value: self.value.and_then(|value| value.get(name)),
        }
    }

    fn wrong(&self, wrong: &'static str) -> Check {
        Err(InvalidCapabilities {
            path: self.path.chars().take(200).collect(),
            wrong,
        })
    }

    fn object(&self) -> Result<&'a Map<String, Value>, InvalidCapabilities> {
        self.value
            .and_then(Value::as_object)
            .ok_or_else(|| InvalidCapabilities {
                path: self.path.clone(),
                wrong: "must be an object",
            })
    }

    fn boolean(&self) -> Check {
        match self.value {
            Some(Value::Bool(_)) => Ok(()),
            Some(_) | None => self.wrong("must be true or false"),
        }
    }

    fn text(&self) -> Check {
        match self.value {
            Some(Value::String(_)) => Ok(()),
            Some(_) | None => self.wrong("must be a text"),
        }
    }

    fn one_of(&self, words: &[&str]) -> Check {
        match self.value.and_then(Value::as_str) {
            Some(word) if words.contains(&word) => Ok(()),
            Some(_) | None => self.wrong("is none of the known words"),
        }
    }

    fn optional(&self, check: impl FnOnce(&Self) -> Check) -> Check {
        if self.value.is_some() { check(self) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document() -> Value {
        let provider = json!({
            "available": true, "version": "1", "supported_flags": {"toolsFlag": true},
            "supports": {"output_schema": true, "stream_json": true, "tool_disable": false},
            "health": {"status": "unknown", "check_type": "light", "checked_at": "2026-01-01T00:00:00Z"}
        });
        json!({
            "schema_version": "v1",
            "providers": {"claude_code": provider, "codex": provider, "gemini": provider},
            "hosts": {"gateway": {
                "kind": "gateway", "available": true, "label": "x",
                "metadata": {"install_full_control_enabled": false}
            }},
            "services": {
                "model_execution": {"ready": false, "reason": "none"}, "remote_shell": {"ready": true},
                "machine_control": {"ready": false}
            },
            "runtime": {"platform": "linux", "arch": "x64", "node_version": "none"}
        })
    }

    #[test]
    fn a_full_document_is_valid_and_runtime_may_be_absent() {
        validate(&document()).unwrap();
        let mut without = document();
        without.as_object_mut().unwrap().remove("runtime");
        validate(&without).unwrap();
    }

    #[test]
    fn every_fault_is_named_by_its_path() {
        let faults: [(&str, Value); 9] = [
            ("/schema_version", json!("v2")),
            ("/providers/gemini", json!(null)),
            ("/providers/codex/supports/stream_json", json!("yes")),
            ("/providers/claude_code/supported_flags/toolsFlag", json!(1)),
            ("/providers/claude_code/health/status", json!("fine")),
            ("/hosts/gateway/kind", json!("vm")),
            ("/hosts/gateway/metadata/install_full_control_enabled", json!(1)),
            ("/services/machine_control/ready", json!(null)),
            ("/runtime/node_version", json!(null)),
        ];
        for (pointer, value) in faults {
            let mut bad = document();
            *bad.pointer_mut(pointer).unwrap() = value;
            let text = validate(&bad).unwrap_err().to_string();
            assert!(text.contains(&pointer.replace('/', ".")), "{pointer}: {text}");
        }
    }

    #[test]
    fn providers_are_exactly_three() {
        let mut more = document();
        more["providers"]["other"] = json!({});
        assert!(validate(&more).unwrap_err().to_string().contains(".providers.other"));
        let mut fewer = document();
        fewer["providers"].as_object_mut().unwrap().remove("codex");
        assert!(validate(&fewer).unwrap_err().to_string().contains(".providers.codex"));
    }
}
