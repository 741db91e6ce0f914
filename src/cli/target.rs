//! Which gateway, and which of its remote shells, a job goes to.

use serde_json::Value;

use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::operator::Operator;

/// Where a command runs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) gateway_id: String,
    pub(crate) resource_id: String,
}

/// Chooses a gateway: the one named, else this host's own, else the only one of the team.
pub(crate) async fn gateway(operator: &Operator, wanted: Option<&str>, cx: &Context) -> Result<String, CliError> {
    let own = own_gateway(operator, cx);
    pick_gateway(&operator.gateways().await?, wanted, own.as_deref())
}

/// As [`gateway`], with all that is known of it.
pub(crate) async fn gateway_row(operator: &Operator, wanted: Option<&str>, cx: &Context) -> Result<Value, CliError> {
    let own = own_gateway(operator, cx);
    let mut gateways = operator.gateways().await?;
    let id = pick_gateway(&gateways, wanted, own.as_deref())?;
    let at = gateways.iter().position(|row| text(row, "id") == Some(id.as_str()));
    Ok(at.map(|at| gateways.swap_remove(at)).unwrap_or_default())
}

/// Chooses a gateway and a remote shell of it, in one round trip.
pub(crate) async fn shell(operator: &Operator, wanted: Option<&str>, cx: &Context) -> Result<Target, CliError> {
    let own = own_gateway(operator, cx);
    let (gateways, shells) = tokio::try_join!(operator.gateways(), operator.remote_shells())?;
    let gateway_id = pick_gateway(&gateways, wanted, own.as_deref())?;
    let resource_id = pick_shell(&shells, &gateway_id)?;
    Ok(Target {
        gateway_id,
        resource_id,
    })
}

/// Chooses a remote shell of a gateway.
pub(crate) async fn shell_of(operator: &Operator, gateway_id: &str) -> Result<String, CliError> {
    pick_shell(&operator.remote_shells().await?, gateway_id)
}

/// This host's gateway, when it is paired with the operator's control plane.
fn own_gateway(operator: &Operator, cx: &Context) -> Option<String> {
    let session = cx.sessions().load().ok().flatten()?;
    let same = crate::config::backend::same_origin(&session.supabase_url, operator.url());
    same.then(|| session.gateway_id.to_string())
}

fn pick_gateway(gateways: &[Value], wanted: Option<&str>, own: Option<&str>) -> Result<String, CliError> {
    let ids: Vec<&str> = gateways.iter().filter_map(|row| text(row, "id")).collect();
    if let Some(wanted) = wanted {
        let found = ids.iter().find(|id| **id == wanted).map(|id| (*id).to_owned());
        return found.ok_or_else(|| {
            CliError::usage(format!("There is no gateway {wanted} in this team.")).detail(listing(gateways))
        });
    }
    if let Some(own) = own.filter(|own| ids.contains(own)) {
        return Ok(own.to_owned());
    }
    match ids.as_slice() {
        [only] => Ok((*only).to_owned()),
        [] => Err(CliError::failed("This team has no gateway.")
            .hint("on a host: gateway pair CODE; a code comes from `gateway control-plane pairing-code`")),
        _ => Err(CliError::usage("This team has several gateways; name one with --gateway.").detail(listing(gateways))),
    }
}

/// A remote shell of the gateway, preferably one that will not refuse.
fn pick_shell(shells: &[Value], gateway_id: &str) -> Result<String, CliError> {
    let of_gateway = |row: &&Value| row.pointer("/metadata/gateway_id").and_then(Value::as_str) == Some(gateway_id);
    let allows = |row: &&Value| {
        row.pointer("/metadata/full_control") == Some(&Value::Bool(true))
            && text(row, "max_access_level") != Some("viewer")
    };
    let mine = || shells.iter().filter(of_gateway);
    let chosen = mine().find(allows).or_else(|| mine().next());
    let id = chosen.and_then(|row| text(row, "id")).map(str::to_owned);
    id.ok_or_else(|| {
        CliError::failed("The gateway has no remote_shell resource.").hint(format!(
            "gateway control-plane resource create --gateway {gateway_id} --full-control on"
        ))
    })
}

fn listing(gateways: &[Value]) -> String {
    let line = |row: &Value| {
        let part = |key| text(row, key).unwrap_or("-").to_owned();
        format!("{}  {}  {}", part("id"), part("device_name"), part("status"))
    };
    gateways.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn text<'a>(row: &'a Value, key: &str) -> Option<&'a str> {
    row.get(key).and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn own_gateway_wins_and_several_need_a_name() {
        let rows = [json!({"id": "a"}), json!({"id": "b"})];
        assert_eq!(pick_gateway(&rows, None, Some("b")).unwrap(), "b");
        assert_eq!(pick_gateway(&rows, Some("a"), Some("b")).unwrap(), "a");
        assert!(pick_gateway(&rows, None, Some("c")).is_err());
        assert!(pick_gateway(&rows, Some("c"), None).is_err());
        assert_eq!(pick_gateway(&rows[..1], None, None).unwrap(), "a");
        assert!(pick_gateway(&[], None, None).is_err());
    }

    #[test]
    fn a_shell_with_machine_control_is_preferred() {
        let shells = [
            json!({"id": "1", "metadata": {"gateway_id": "g", "full_control": false}}),
            json!({"id": "2", "metadata": {"gateway_id": "h", "full_control": true}}),
            json!({"id": "3", "metadata": {"gateway_id": "g", "full_control": true}, "max_access_level": "viewer"}),
            json!({"id": "4", "metadata": {"gateway_id": "g", "full_control": true}, "max_access_level": "editor"}),
        ];
        assert_eq!(pick_shell(&shells, "g").unwrap(), "4");
        assert_eq!(pick_shell(&shells[..1], "g").unwrap(), "1");
        assert!(pick_shell(&shells, "x").is_err());
    }
}
