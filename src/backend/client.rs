//! One backend seen by one login: everything else is made from it.

use crate::backend::auth::Auth;
use crate::backend::error::BackendError;
use crate::backend::functions::Functions;
use crate::backend::http::{Answer, Http, Request};
use crate::backend::rest::Rest;

/// An HTTP client and who it speaks for; cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    http: Http,
    auth: Auth,
}

impl Client {
    /// Binds a login to a backend.
    #[must_use]
    pub const fn new(http: Http, auth: Auth) -> Self {
        Self { http, auth }
    }

    /// The backend.
    #[must_use]
    pub const fn http(&self) -> &Http {
        &self.http
    }

    /// The login.
    #[must_use]
    pub const fn auth(&self) -> &Auth {
        &self.auth
    }

    /// Rows.
    #[must_use]
    pub fn rest(&self) -> Rest {
        Rest::new(self.clone())
    }

    /// Functions.
    #[must_use]
    pub fn functions(&self) -> Functions {
        Functions::new(self.clone())
    }

    /// Sends; a token the backend calls expired is refreshed once and the request repeated once.
    pub(crate) async fn send(&self, request: &Request) -> Result<Answer, BackendError> {
        let bearer = self.auth.bearer().await?;
        let error = match self.http.send(request, &bearer).await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        if !token_refused(&error) {
            return Err(error);
        }
        match self.auth.renew(&bearer).await? {
            Some(fresh) => self.http.send(request, &fresh).await,
            None => Err(error),
        }
    }
}

/// 401, unless its code says that a fresh token would be refused too.
fn token_refused(error: &BackendError) -> bool {
    error.status() == Some(401) && !matches!(error.code(), Some("PGRST302" | "42501"))
}
