//! Which layer of machine control said no, and the command that changes it: read from a failed job's error text.

use serde_json::Value;

/// A layer that can refuse a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layer {
    /// The gateway's own switch, in gateway.json.
    Host,
    /// The team's switch for this gateway.
    Team,
    /// The remote_shell resource.
    Resource,
    /// The heartbeat: the gateway is not known to be alive, or does not offer machine control.
    Heartbeat,
}

/// A refusal for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) layer: Layer,
    /// The command that changes it.
    pub(crate) next: String,
}

impl Layer {
    /// The layer's name in sentences.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Team => "team",
            Self::Resource => "resource",
            Self::Heartbeat => "heartbeat",
        }
    }
}

/// Beginnings of the texts a gateway writes, with the layer that wrote them.
const TEXTS: &[(&str, Layer)] = &[
    ("Gateway host machine control is disabled", Layer::Host),
    ("Gateway install full control is disabled", Layer::Host),
    ("Gateway machine control is disabled in Team Integrations", Layer::Team),
    ("Gateway connection full control is disabled", Layer::Team),
    ("Gateway control state unavailable", Layer::Heartbeat),
    ("Gateway is offline or heartbeat is stale", Layer::Heartbeat),
    ("Gateway machine control service is unavailable", Layer::Heartbeat),
    ("Gateway full control is unavailable", Layer::Heartbeat),
    ("Resource machine control is disabled", Layer::Resource),
    ("Remote shell resource", Layer::Resource),
    ("Resource is not a remote shell target", Layer::Resource),
    ("Failed to load remote shell resource", Layer::Resource),
    ("Missing resource_id in payload", Layer::Resource),
];

/// The one refusal of a resource that a switch mends; the others need another resource.
const SWITCHED_OFF: &str = "Remote shell resource machine control is disabled";

/// Reads a failed job row.
pub(crate) fn of_row(row: &Value) -> Option<Refusal> {
    let error = row.get("error").and_then(Value::as_str)?;
    let gateway = row.get("gateway_id").and_then(Value::as_str).unwrap_or("ID");
    let resource = row.pointer("/payload/resource_id").and_then(Value::as_str);
    of_text(error, gateway, resource.unwrap_or("ID"))
}

fn of_text(error: &str, gateway: &str, resource: &str) -> Option<Refusal> {
    let (_, layer) = TEXTS.iter().find(|(text, _)| error.starts_with(text))?;
    let next = match layer {
        Layer::Host => "on the host: gateway full-control enable".to_owned(),
        Layer::Team => format!("gateway control-plane gateway full-control {gateway} on"),
        Layer::Resource if error == SWITCHED_OFF => {
            format!("gateway control-plane resource full-control {resource} on")
        }
        Layer::Resource => format!("gateway control-plane resource create --gateway {gateway} --full-control on"),
        Layer::Heartbeat => "on the host: gateway status, then gateway start".to_owned(),
    };
    Some(Refusal { layer: *layer, next })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_layer_is_named_with_its_command() {
        let cases = [
            (
                "Gateway host machine control is disabled. Run \"gateway full-control enable\" on the host.",
                Layer::Host,
                "gateway full-control enable",
            ),
            (
                "Gateway machine control is disabled in Team Integrations.",
                Layer::Team,
                "gateway control-plane gateway full-control g1 on",
            ),
            (
                "Remote shell resource machine control is disabled",
                Layer::Resource,
                "gateway control-plane resource full-control r1 on",
            ),
            (
                "Gateway is offline or heartbeat is stale",
                Layer::Heartbeat,
                "gateway start",
            ),
        ];
        for (text, layer, command) in cases {
            let refusal = of_text(text, "g1", "r1").unwrap();
            assert_eq!(refusal.layer, layer);
            assert!(refusal.next.contains(command), "{}", refusal.next);
        }
        assert_eq!(of_text("Missing command in payload", "g1", "r1"), None);
    }
}
