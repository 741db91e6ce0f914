//! Answers: rows the database built, joined; or a problem.

use axum::body::Body;
use axum::http::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderName, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};

use super::headers::{Accept, Prefer};
use crate::control_plane::problem::Problem;

const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");
const OBJECT: HeaderValue = HeaderValue::from_static("application/vnd.pgrst.object+json; charset=utf-8");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// A problem on its way out.
#[derive(Debug)]
pub(super) struct Refusal(Box<Problem>);

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self(Box::new(problem))
    }
}

impl Refusal {
    /// The answer; a missing right is 401 for callers who have not said who they are.
    pub(super) fn response(&self, anonymous: bool) -> Response {
        let status = StatusCode::from_u16(self.0.status(anonymous)).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if status.is_server_error() {
            tracing::warn!(code = %self.0.code, message = %self.0.message, "a request failed");
        }
        let body = serde_json::to_vec(&self.0.body()).unwrap_or_default();
        let mut response = (status, [(CONTENT_TYPE, JSON)], body).into_response();
        if self.0.code.starts_with("PGRST30") {
            let challenge = HeaderValue::from_static("Bearer error=\"invalid_token\"");
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

/// A bare JSON value.
pub(super) fn json(text: String) -> Response {
    ([(CONTENT_TYPE, JSON)], text).into_response()
}

/// An answer with a `Content-Range`.
pub(super) struct Ranged {
    /// Its status.
    pub(super) status: StatusCode,
    /// First row.
    pub(super) offset: u64,
    /// Rows in it.
    pub(super) rows: u64,
    /// Rows there are, if that was asked.
    pub(super) total: Option<u64>,
}

impl Ranged {
    /// Adds the body, the range and the preferences that were heeded.
    pub(super) fn response(&self, prefer: Prefer, body: Option<(Accept, String)>) -> Response {
        let mut response = match body {
            Some((Accept::Rows, text)) => ([(CONTENT_TYPE, JSON)], text).into_response(),
            Some((Accept::Object, text)) => ([(CONTENT_TYPE, OBJECT)], text).into_response(),
            None => Body::empty().into_response(),
        };
        *response.status_mut() = self.status;
        let total = self.total.map_or_else(|| "*".to_owned(), |total| total.to_string());
        let range = match self.rows.checked_sub(1) {
            Some(last) => format!("{}-{}/{total}", self.offset, self.offset.saturating_add(last)),
            None => format!("*/{total}"),
        };
        insert(&mut response, CONTENT_RANGE, &range);
        if let Some(applied) = prefer.applied() {
            insert(&mut response, PREFERENCE_APPLIED, &applied);
        }
        response
    }
}

fn insert(response: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// Rows as one JSON text: a list, or the only row.
pub(super) fn join(rows: Vec<String>, accept: Accept) -> Result<String, Problem> {
    match (accept, <[String; 1]>::try_from(rows)) {
        (Accept::Object, Ok([row])) => Ok(row),
        (Accept::Object, Err(rows)) => Err(not_one(rows.len())),
        (Accept::Rows, Ok([mut row])) => {
            // One big row is the common big answer: it is not copied into another text.
            row.insert(0, '[');
            row.push(']');
            Ok(row)
        }
        (Accept::Rows, Err(rows)) => {
            let mut text = String::with_capacity(2 + rows.iter().map(|row| row.len() + 2).sum::<usize>());
            text.push('[');
            for (index, row) in rows.into_iter().enumerate() {
                text.push_str(if index == 0 { "" } else { ",\n" });
                text.push_str(&row);
            }
            text.push(']');
            Ok(text)
        }
    }
}

/// PGRST116
pub(super) fn not_one(rows: usize) -> Problem {
    Problem::new("PGRST116", "Cannot coerce the result to a single JSON object")
        .details(format!("The result contains {rows} rows"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_joined() {
        let rows = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        assert_eq!(join(rows(&[]), Accept::Rows).unwrap(), "[]");
        assert_eq!(join(rows(&["{}"]), Accept::Rows).unwrap(), "[{}]");
        assert_eq!(join(rows(&["1", "2"]), Accept::Rows).unwrap(), "[1,\n2]");
        assert_eq!(join(rows(&["1"]), Accept::Object).unwrap(), "1");
        assert_eq!(
            join(rows(&["1", "2"]), Accept::Object).unwrap_err().details.unwrap(),
            "The result contains 2 rows"
        );
    }
}
