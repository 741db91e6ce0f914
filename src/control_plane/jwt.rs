//! JSON Web Tokens with HS256 and nothing else: one algorithm, one key, no negotiation.
//!
//! Own code over `ring::hmac` because the alternatives cost more than these lines: `jsonwebtoken` 11 without its
//! bundled cryptography wants a process-wide provider that panics when it is missing, and with it brings a second
//! cryptographic library beside the one TLS uses.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use ring::hmac;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Longest token looked at, in bytes.
const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// Why a token is no proof of anything.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JwtError {
    /// Not three base64url parts of JSON, or not our algorithm.
    #[error("the token is not a valid JWT")]
    Malformed,
    /// Signed with another key, or changed.
    #[error("the token's signature does not match")]
    Signature,
    /// Its time is over.
    #[error("the token has expired {seconds} seconds ago")]
    Expired {
        /// How long ago.
        seconds: i64,
    },
}

/// The claims of an access token, as Supabase Auth writes them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AccessClaims {
    /// User id.
    pub sub: String,
    /// `authenticated`.
    pub aud: String,
    /// `authenticated`.
    pub role: String,
    /// End of life, seconds since 1970.
    pub exp: i64,
    /// Start of life.
    pub iat: i64,
    /// The session whose refresh tokens renew this one.
    pub session_id: String,
    /// Assurance level, always `aal1`.
    #[serde(default)]
    pub aal: String,
    /// How the user logged in.
    #[serde(default)]
    pub amr: Value,
    /// Always false: every user here was paired.
    #[serde(default)]
    pub is_anonymous: bool,
    /// Always empty.
    #[serde(default)]
    pub email: String,
    /// Always empty.
    #[serde(default)]
    pub phone: String,
    /// Who the holder is for this server: role, gateway, team.
    pub app_metadata: AppMetadata,
    /// Always empty.
    #[serde(default)]
    pub user_metadata: Value,
}

/// What the server itself says about a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppMetadata {
    /// `gateway`.
    pub role: String,
    /// The paired gateway.
    pub gateway_id: String,
    /// Its team.
    pub team_id: String,
}

/// The key that signs and checks access tokens.
#[derive(Clone)]
pub struct JwtKey(hmac::Key);

impl std::fmt::Debug for JwtKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JwtKey(..)")
    }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
}

impl JwtKey {
    /// A key from secret bytes.
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// Signs claims.
    #[must_use]
    pub fn sign<C: Serialize>(&self, claims: &C) -> String {
        let header = URL_SAFE_NO_PAD.encode(br#"{"alg":"HS256","typ":"JWT"}"#);
        let claims = serde_json::to_vec(claims).unwrap_or_default();
        let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims));
        let signature = hmac::sign(&self.0, message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// Reads the claims of a token signed with this key whose life, plus `leeway_seconds`, is not over at `now`.
    ///
    /// # Errors
    /// [`JwtError`], the signature being judged before the time.
    pub fn verify(&self, token: &str, now: Timestamp, leeway_seconds: i64) -> Result<AccessClaims, JwtError> {
        let claims = self.authentic(token)?;
        let late = now.as_second().saturating_sub(claims.exp);
        if late >= leeway_seconds.max(0) {
            return Err(JwtError::Expired { seconds: late.max(0) });
        }
        Ok(claims)
    }

    fn authentic(&self, token: &str) -> Result<AccessClaims, JwtError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(JwtError::Malformed);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(JwtError::Malformed)?;
        let (header, claims) = message.split_once('.').ok_or(JwtError::Malformed)?;
        let header: Header = decode_part(header)?;
        if header.alg != "HS256" {
            return Err(JwtError::Malformed);
        }
        let signature = decode_base64(signature)?;
        hmac::verify(&self.0, message.as_bytes(), &signature).map_err(|_unspecified| JwtError::Signature)?;
        decode_part(claims)
    }
}

fn decode_base64(part: &str) -> Result<Vec<u8>, JwtError> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_detail| JwtError::Malformed)
}

fn decode_part<T: serde::de::DeserializeOwned>(part: &str) -> Result<T, JwtError> {
    serde_json::from_slice(&decode_base64(part)?).map_err(|_detail| JwtError::Malformed)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn claims(exp: i64) -> AccessClaims {
        AccessClaims {
            sub: "u".into(),
            aud: "authenticated".into(),
            role: "authenticated".into(),
            exp,
            iat: 0,
            session_id: "s".into(),
            aal: "aal1".into(),
            amr: json!([]),
            is_anonymous: false,
            email: String::new(),
            phone: String::new(),
            app_metadata: AppMetadata {
                role: "gateway".into(),
                gateway_id: "g".into(),
                team_id: "t".into(),
            },
            user_metadata: json!({}),
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_signed_token_is_read_until_it_expires() {
        let key = JwtKey::new(b"secret");
        let token = key.sign(&claims(100));
        assert_eq!(key.verify(&token, at(99), 0).unwrap(), claims(100));
        assert_eq!(key.verify(&token, at(100), 0), Err(JwtError::Expired { seconds: 0 }));
        assert_eq!(key.verify(&token, at(129), 30), Ok(claims(100)));
        assert_eq!(key.verify(&token, at(130), 30), Err(JwtError::Expired { seconds: 30 }));
    }

    #[test]
    fn the_rfc_7515_example_signature_is_reproduced() {
        // RFC 7515, appendix A.1: same key, same signing input, known signature.
        let secret = URL_SAFE_NO_PAD
            .decode("AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow")
            .unwrap();
        let message = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.\
                       eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
        let signature = hmac::sign(&JwtKey::new(&secret).0, message.as_bytes());
        assert_eq!(
            URL_SAFE_NO_PAD.encode(signature),
            "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
        );
    }

    #[test]
    fn forgeries_are_refused() {
        let key = JwtKey::new(b"secret");
        let token = key.sign(&claims(100));
        let other = JwtKey::new(b"other").sign(&claims(100));
        assert_eq!(key.verify(&other, at(0), 0), Err(JwtError::Signature));
        let (head, _) = token.rsplit_once('.').unwrap();
        assert_eq!(key.verify(head, at(0), 0), Err(JwtError::Malformed));
        assert_eq!(key.verify(&format!("{head}."), at(0), 0), Err(JwtError::Signature));
        let none = format!(
            "{}.{}.",
            URL_SAFE_NO_PAD.encode(br#"{"alg":"none"}"#),
            URL_SAFE_NO_PAD.encode(serde_json::to_vec(&claims(100)).unwrap())
        );
        assert_eq!(key.verify(&none, at(0), 0), Err(JwtError::Malformed));
        assert_eq!(key.verify("", at(0), 0), Err(JwtError::Malformed));
    }
}
