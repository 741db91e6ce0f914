//! What a schema may not hold, because nothing would bound the work that it makes.

use serde_json::{Map, Value};

use crate::provider::schema_parts;

/// Patterns of one schema: each is compiled to a program of its own, in up to some milliseconds.
const MOST_PATTERNS: usize = 200;
const REFERENCES: &[&str] = &["$ref", "$dynamicRef", "$recursiveRef"];

/// Looks through a schema.
///
/// # Errors
/// What is too much in it.
pub(crate) fn check(schema: &Value) -> Result<(), String> {
    let mut patterns = 0;
    let mut odd = None;
    schema_parts::parts(schema, &mut |part| {
        let named = part.get("patternProperties").and_then(Value::as_object);
        patterns += usize::from(part.contains_key("pattern")) + named.map_or(0, Map::len);
        let mut references = REFERENCES.iter().filter_map(|name| part.get(*name)?.as_str());
        odd = odd
            .take()
            .or_else(|| references.find(|to| is_value(to)).map(str::to_owned));
    });
    if patterns > MOST_PATTERNS {
        return Err(format!(
            "a JSON schema may have {MOST_PATTERNS} patterns at most; this one has {patterns}"
        ));
    }
    odd.map_or(Ok(()), |odd| {
        Err(format!(
            "the JSON schema is not valid: {odd} is a reference to a value, which is no schema"
        ))
    })
}

/// Whether a reference leads into what is no schema; there no steps are counted.
fn is_value(reference: &str) -> bool {
    let Some((_, pointer)) = reference.split_once("#/") else {
        return false;
    };
    let mut is_name = false;
    decoded(pointer).split('/').any(|segment| {
        let key = segment.replace("~1", "/").replace("~0", "~");
        let value = !is_name && schema_parts::is_value(&key);
        is_name = !is_name && schema_parts::is_named(&key);
        value
    })
}

/// The text without percent signs.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut parts = text.split('%');
    bytes.extend_from_slice(parts.next().unwrap_or_default().as_bytes());
    for part in parts {
        let byte = part.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        bytes.extend(byte);
        let rest = part.get(2..).filter(|_| byte.is_some()).unwrap_or(part);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_a_schema_can_be_referred_to() {
        for (reference, is_odd) in [
            ("#", false),
            ("#anchor", false),
            ("#/$defs/const", false),
            ("#/properties/enum/items/0", false),
            ("#/%24defs/a~1b", false),
            ("#/const", true),
            ("#/odd/enum/0", true),
            ("#/properties/properties/const", true),
            ("other.json#/c%6Fnst/a", true),
            ("#/a%2Fproperties%2Fb/const", true),
        ] {
            assert_eq!(is_value(reference), is_odd, "{reference}");
            let schema = json!({"items": [{"$ref": reference}]});
            assert_eq!(check(&schema).is_err(), is_odd, "{reference}");
        }
        assert_eq!(
            check(&json!({"const": {"$ref": "#/const"}})),
            Ok(()),
            "a value says nothing"
        );
    }
}
