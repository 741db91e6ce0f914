//! The request headers that change an answer.

use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE, HeaderName, RANGE};

use crate::control_plane::problem::{Problem, shorten};

const OBJECT: &str = "application/vnd.pgrst.object+json";

/// The form of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Accept {
    /// A list.
    Rows,
    /// Exactly one row, or 406.
    Object,
}

/// What a write does about rows that are there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resolution {
    /// They are replaced.
    Merge,
    /// They stay.
    Ignore,
}

/// `Prefer`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Prefer {
    /// `return=representation`
    pub(super) representation: bool,
    /// `count=exact`; `planned` and `estimated` are exact here too.
    pub(super) count: bool,
    /// `missing=default`
    pub(super) missing_default: bool,
    /// `resolution=...`
    pub(super) resolution: Option<Resolution>,
}

impl Prefer {
    /// `Preference-Applied`, if anything was.
    pub(super) fn applied(self) -> Option<String> {
        let parts: Vec<&str> = [
            self.representation.then_some("return=representation"),
            self.count.then_some("count=exact"),
            self.missing_default.then_some("missing=default"),
            self.resolution.map(|resolution| match resolution {
                Resolution::Merge => "resolution=merge-duplicates",
                Resolution::Ignore => "resolution=ignore-duplicates",
            }),
        ]
        .into_iter()
        .flatten()
        .collect();
        (!parts.is_empty()).then(|| parts.join(", "))
    }
}

/// The parts of a list header, over all its lines.
fn parts<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
    lines
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .filter(|part| !part.is_empty())
}

/// Reads `Prefer`. Unknown preferences are ignored, as RFC 7240 wants; those that would change what a
/// write does are refused.
pub(super) fn prefer(headers: &HeaderMap) -> Result<Prefer, Problem> {
    let mut prefer = Prefer::default();
    for part in parts(headers, &HeaderName::from_static("prefer")) {
        match part
            .split_once('=')
            .map_or((part, ""), |(name, value)| (name.trim(), value.trim()))
        {
            ("return", value) => prefer.representation = value == "representation",
            ("count", "exact" | "planned" | "estimated") => prefer.count = true,
            ("missing", value) => prefer.missing_default = value == "default",
            ("resolution", "merge-duplicates") => prefer.resolution = Some(Resolution::Merge),
            ("resolution", "ignore-duplicates") => prefer.resolution = Some(Resolution::Ignore),
            ("tx", "rollback") => return Err(Problem::unsupported("Prefer: tx=rollback")),
            ("max-affected", _) => return Err(Problem::unsupported("Prefer: max-affected")),
            ("timezone", _) => return Err(Problem::unsupported("Prefer: timezone")),
            ("handling", "strict") => return Err(Problem::unsupported("Prefer: handling=strict")),
            _ => {}
        }
    }
    Ok(prefer)
}

/// Reads `Accept`, and `Range`, which this server does not have.
pub(super) fn accept(headers: &HeaderMap) -> Result<Accept, Problem> {
    if headers.contains_key(RANGE) {
        return Err(Problem::unsupported("Range (use limit and offset)"));
    }
    let mut any = false;
    for part in parts(headers, &ACCEPT) {
        any = true;
        let (kind, parameter) = part
            .split_once(';')
            .map_or((part, ""), |(kind, rest)| (kind.trim(), rest));
        if parameter.contains("nulls=stripped") {
            return Err(Problem::unsupported("nulls=stripped"));
        }
        match kind {
            OBJECT | "application/vnd.pgrst.object" => return Ok(Accept::Object),
            "application/json" | "*/*" | "application/*" | "application/vnd.pgrst.array+json" => {
                return Ok(Accept::Rows);
            }
            _ => {}
        }
    }
    if any {
        let asked = parts(headers, &ACCEPT).collect::<Vec<_>>().join(", ");
        let message = format!("None of these media types are available: {}", shorten(&asked));
        return Err(Problem::new("PGRST107", message));
    }
    Ok(Accept::Rows)
}

/// The only schema is `public`.
pub(super) fn profile(headers: &HeaderMap) -> Result<(), Problem> {
    for name in ["accept-profile", "content-profile"] {
        if let Some(profile) = headers.get(name)
            && profile != "public"
        {
            let asked = shorten(&String::from_utf8_lossy(profile.as_bytes()));
            return Err(Problem::new("PGRST106", format!("Invalid schema: {asked}"))
                .hint("Only the following schemas are exposed: public"));
        }
    }
    Ok(())
}

/// Bodies are JSON, also when nobody says so.
pub(super) fn content_type(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(kind) = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()) else {
        return Ok(());
    };
    match kind.split(';').next().unwrap_or_default().trim() {
        "application/json" | OBJECT | "" => Ok(()),
        other => Err(Problem::unsupported(&format!("content type {}", shorten(other)))),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn with(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn preferences_are_read() {
        let read = prefer(&with(
            "prefer",
            "return=representation,count=planned, missing=default,odd=1",
        ))
        .unwrap();
        assert!(read.representation && read.count && read.missing_default);
        assert_eq!(
            read.applied().as_deref(),
            Some("return=representation, count=exact, missing=default")
        );
        assert_eq!(prefer(&with("prefer", "tx=rollback")).unwrap_err().code, "PGRST127");
    }

    #[test]
    fn the_form_of_the_answer_is_negotiated() {
        assert_eq!(accept(&HeaderMap::new()), Ok(Accept::Rows));
        assert_eq!(accept(&with("accept", OBJECT)), Ok(Accept::Object));
        assert_eq!(accept(&with("accept", "text/html, */*;q=0.8")), Ok(Accept::Rows));
        assert_eq!(accept(&with("accept", "text/csv")).unwrap_err().code, "PGRST107");
        assert_eq!(accept(&with("range", "0-1")).unwrap_err().code, "PGRST127");
    }

    #[test]
    fn other_schemas_and_other_bodies_are_refused() {
        assert!(profile(&with("accept-profile", "public")).is_ok());
        assert_eq!(profile(&with("content-profile", "auth")).unwrap_err().code, "PGRST106");
        assert!(content_type(&with("content-type", "application/json; charset=utf-8")).is_ok());
        assert_eq!(
            content_type(&with("content-type", "text/csv")).unwrap_err().code,
            "PGRST127"
        );
    }
}
