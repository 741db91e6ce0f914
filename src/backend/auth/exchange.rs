//! One refresh on the wire: repeated through short outages, judged by Auth's codes.

use std::time::Duration;

use reqwest::Method;
use serde::Deserialize;
use tokio::time::Instant;

use crate::backend::auth::store::Tokens;
use crate::backend::error::{BackendError, SessionLost, without_secrets};
use crate::backend::http::{Http, Request};
use crate::domain::backoff::Backoff;
use crate::domain::secret::Secret;

/// A refresh token that was refused is not tried again for so long.
pub(super) const REFUSED_PAUSE: Duration = Duration::from_secs(60);
/// After the retries of one refresh are used up.
pub(super) const OUTAGE_PAUSE: Duration = Duration::from_secs(5);
/// Retries of one refresh end here.
const RETRY_BUDGET: Duration = Duration::from_secs(30);
const FIRST_RETRY: Duration = Duration::from_millis(200);
/// Auth's codes that say that the session is over.
const LOST_CODES: [&str; 5] = [
    "refresh_token_not_found",
    "refresh_token_already_used",
    "session_not_found",
    "session_expired",
    "user_banned",
];

#[derive(Deserialize)]
struct Refreshed {
    access_token: String,
    refresh_token: String,
}

/// Trades a refresh token for the next pair. A lost answer is no harm: the parent of the active token is always
/// answered with that same active token.
pub(super) async fn exchange(http: &Http, refresh: &Secret) -> Result<Tokens, BackendError> {
    let endpoint = http.endpoint();
    let mut url = endpoint.at("/auth/v1/token");
    url.set_query(Some("grant_type=refresh_token"));
    let body = serde_json::json!({"refresh_token": refresh.expose()}).to_string();
    let request = Request::new(Method::POST, "session refresh", url)
        .header("x-supabase-api-version", "2024-01-01")
        .header("content-type", "application/json;charset=UTF-8")
        .json(body);
    let started = Instant::now();
    let mut backoff = Backoff::new(FIRST_RETRY, RETRY_BUDGET);
    loop {
        let answer = http.send(&request, endpoint.key()).await;
        let error = match answer.and_then(|answer| answer.json::<Refreshed>()?.tokens()) {
            Ok(tokens) => return Ok(tokens),
            Err(error) => error,
        };
        let wait = backoff.next(rand::random());
        if !retryable(&error) || started.elapsed() + wait >= RETRY_BUDGET {
            return Err(verdict(&error, refresh));
        }
        tokio::time::sleep(wait).await;
    }
}

impl Refreshed {
    fn tokens(self) -> Result<Tokens, BackendError> {
        if self.access_token.is_empty() || self.refresh_token.is_empty() {
            return Err(BackendError::unexpected("session refresh", "it holds no session"));
        }
        Ok(Tokens {
            access: Secret::new(self.access_token),
            refresh: Secret::new(self.refresh_token),
        })
    }
}

/// Worth another try within one refresh; a rate limit is not, it is waited for outside.
fn retryable(error: &BackendError) -> bool {
    match error {
        BackendError::Http(error) => error.is_transient(),
        BackendError::Status { status, .. } => matches!(*status, 500..=504 | 520..=530),
        // An answer without a session is not from Auth.
        BackendError::Unexpected { .. } => true,
        BackendError::SessionLost(_) | BackendError::NotRefreshed { .. } => false,
    }
}

fn verdict(error: &BackendError, refresh: &Secret) -> BackendError {
    let lost = matches!(error.status(), Some(400 | 401 | 403))
        .then(|| error.code().filter(|code| LOST_CODES.contains(code)))
        .flatten();
    if let Some(code) = lost {
        return SessionLost { code: code.to_owned() }.into();
    }
    let transient = error.is_transient() || retryable(error);
    let default = if transient { OUTAGE_PAUSE } else { REFUSED_PAUSE };
    BackendError::NotRefreshed {
        reason: without_secrets(error.to_string(), &[refresh]),
        transient,
        retry_after: error.retry_after().unwrap_or(default),
    }
}
