//! `gateway.json` as text. Keys are camelCase except one, two-space indent, no newline at the end.

use serde_json::{Map, Value};

use super::Session;
use crate::domain::ids::{GatewayId, TeamId};
use crate::domain::secret::Secret;

const URL: &str = "supabaseUrl";
const ANON_KEY: &str = "supabaseAnonKey";
const ACCESS: &str = "accessToken";
const REFRESH: &str = "refreshToken";
const GATEWAY: &str = "gatewayId";
const TEAM: &str = "teamId";
const FULL_CONTROL: &str = "full_control_enabled";
const DEVICE: &str = "deviceName";
const HEALTH: &str = "providerHealth";
const VM_GUEST: &str = "vmGuest";
const KNOWN: [&str; 9] = [
    URL,
    ANON_KEY,
    ACCESS,
    REFRESH,
    GATEWAY,
    TEAM,
    FULL_CONTROL,
    DEVICE,
    HEALTH,
];

/// Why a text is no usable session.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Corrupt(String),
    Incomplete(Vec<&'static str>),
}

/// The object of a session file; the literal `null` is an empty one.
pub(super) fn parse(bytes: &[u8]) -> Result<Map<String, Value>, Fault> {
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(Value::Null) => Ok(Map::new()),
        Ok(Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
            Err(Fault::Corrupt("it holds no JSON object".to_owned()))
        }
        // The parser's own text names line and column, never content.
        Err(error) => Err(Fault::Corrupt(format!("invalid JSON: {error}"))),
    }
}

/// Reads the session, none when the host is not paired.
pub(super) fn decode(mut fields: Map<String, Value>) -> Result<Option<Session>, Fault> {
    let mut text = |key: &'static str| match fields.shift_remove(key) {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text),
        Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            Err(Fault::Corrupt(format!("$.{key} is no string")))
        }
    };
    let (url, anon_key, access) = (text(URL)?, text(ANON_KEY)?, text(ACCESS)?);
    let (refresh, gateway, team) = (text(REFRESH)?, text(GATEWAY)?, text(TEAM)?);
    let needed = [(URL, &url), (REFRESH, &refresh), (GATEWAY, &gateway), (TEAM, &team)];
    let missing: Vec<_> = needed
        .iter()
        .filter(|(_, value)| value.trim().is_empty())
        .map(|(key, _)| *key)
        .collect();
    if missing.len() == needed.len() {
        return Ok(None);
    }
    if !missing.is_empty() {
        return Err(Fault::Incomplete(missing));
    }
    let invalid = |key: &str, why: &dyn std::fmt::Display| Fault::Corrupt(format!("$.{key}: {why}"));
    let full_control = fields.shift_remove(FULL_CONTROL);
    Ok(Some(Session {
        supabase_url: url,
        anon_key: Secret::new(anon_key),
        access_token: Secret::new(access),
        refresh_token: Secret::new(refresh),
        gateway_id: GatewayId::new(gateway).map_err(|why| invalid(GATEWAY, &why))?,
        team_id: TeamId::new(team).map_err(|why| invalid(TEAM, &why))?,
        full_control_enabled: full_control == Some(Value::Bool(true)),
        device_name: optional_text(fields.shift_remove(DEVICE)),
        provider_health: object(fields.shift_remove(HEALTH)),
        other: fields,
    }))
}

fn optional_text(value: Option<Value>) -> Option<String> {
    match value {
        Some(Value::String(text)) => Some(text),
        None | Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => None,
    }
}

fn object(value: Option<Value>) -> Map<String, Value> {
    match value {
        Some(Value::Object(fields)) => fields,
        None | Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => Map::new(),
    }
}

/// The file's text. Members keep the place they have in `base`, the file as it was.
pub(super) fn encode(session: &Session, base: &Map<String, Value>) -> Result<Vec<u8>, serde_json::Error> {
    let mut fields: Map<String, Value> = base
        .iter()
        .filter(|(key, _)| KNOWN.contains(&key.as_str()) || session.other.contains_key(*key))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let mut set = |key: &str, value: Value| fields.insert(key.to_owned(), value);
    set(URL, session.supabase_url.clone().into());
    set(ANON_KEY, session.anon_key.expose().into());
    set(ACCESS, session.access_token.expose().into());
    set(REFRESH, session.refresh_token.expose().into());
    set(GATEWAY, session.gateway_id.as_str().into());
    set(TEAM, session.team_id.as_str().into());
    set(FULL_CONTROL, session.full_control_enabled.into());
    if session.device_name.is_some() || base.contains_key(DEVICE) {
        set(DEVICE, session.device_name.clone().into());
    }
    if !session.provider_health.is_empty() || base.get(HEALTH).is_some_and(Value::is_object) {
        set(HEALTH, session.provider_health.clone().into());
    }
    for (key, value) in &session.other {
        if !KNOWN.contains(&key.as_str()) {
            fields.insert(key.clone(), value.clone());
        }
    }
    serde_json::to_vec_pretty(&fields)
}

/// Members of `base` that a new pairing keeps: everything that is not about the old session.
pub(super) fn carried_over(base: &Map<String, Value>) -> impl Iterator<Item = (&String, &Value)> {
    base.iter().filter(|(key, _)| !KNOWN.contains(&key.as_str()))
}

/// Host machine control in a file, also in one without a session.
pub(super) fn full_control(fields: &Map<String, Value>) -> bool {
    fields.get(FULL_CONTROL) == Some(&Value::Bool(true))
}

pub(super) fn is_vm_guest(fields: &Map<String, Value>) -> bool {
    let id = fields.get(VM_GUEST).and_then(|guest| guest.get("vmId"));
    id.and_then(Value::as_str).is_some_and(|id| !id.trim().is_empty())
}
