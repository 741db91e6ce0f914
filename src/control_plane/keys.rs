//! Random credentials and the only form in which they are stored: their SHA-256.
//!
//! A plain hash is enough because every credential here is random with at least 50 bits, rate-limited where it is
//! short (pairing codes), and never chosen by a person.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};

use crate::domain::secret::Secret;

/// Prefix of an operator token.
pub const OPERATOR_PREFIX: &str = "gwop_";
/// Prefix of the public key of a server, the form of Supabase's publishable keys.
pub const ANON_PREFIX: &str = "sb_publishable_";
/// What every key of the new Supabase form starts with; no session token does.
pub const SUPABASE_KEY_PREFIX: &str = "sb_";
/// Letters of a pairing code: none that looks like another.
const CODE_ALPHABET: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
const CODE_LETTERS: usize = 12;

/// The operating system gave no random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gave no random bytes")]
pub struct NoRandomness;

/// So many random bytes.
///
/// # Errors
/// [`NoRandomness`].
pub fn random_bytes<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_unspecified| NoRandomness)?;
    Ok(bytes)
}

/// A random credential of 256 bits with a prefix that says what it is.
///
/// # Errors
/// [`NoRandomness`].
pub fn random_token(prefix: &str) -> Result<Secret, NoRandomness> {
    let bytes = random_bytes::<32>()?;
    Ok(Secret::new(format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bytes))))
}

/// A pairing code for people: `ABCD-EFGH-JKLM`, 60 bits.
///
/// # Errors
/// [`NoRandomness`].
pub fn random_code() -> Result<Secret, NoRandomness> {
    let mut code = String::with_capacity(CODE_LETTERS + 2);
    for (index, byte) in random_bytes::<CODE_LETTERS>()?.into_iter().enumerate() {
        if index > 0 && index % 4 == 0 {
            code.push('-');
        }
        let letter = CODE_ALPHABET.get(usize::from(byte & 31)).copied().unwrap_or(b'A');
        code.push(char::from(letter));
    }
    Ok(Secret::new(code))
}

/// A pairing code as it was meant, however it was typed: case, spaces and dashes do not matter.
#[must_use]
pub fn canonical_code(typed: &str) -> String {
    typed
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|letter| letter.to_ascii_uppercase())
        .collect()
}

/// What is stored instead of a credential.
#[must_use]
pub fn stored_form(credential: &str) -> String {
    use sha2::Digest as _;
    URL_SAFE_NO_PAD.encode(sha2::Sha256::digest(credential.as_bytes()))
}

/// Whether two keys are the same; hashes are compared, so the time taken says nothing about the keys.
#[must_use]
pub fn same_key(left: &str, right: &str) -> bool {
    stored_form(left) == stored_form(right)
}

/// Derives the successor of a refresh token from the token presented and a stored random salt.
///
/// So the server can hand out *the same* successor again to a client that failed to save it, although it stores
/// hashes only: the presented parent is the missing half.
#[must_use]
pub fn successor(server_secret: &[u8], parent: &str, salt: &str) -> Secret {
    let key = hmac::Key::new(hmac::HMAC_SHA256, server_secret);
    let tag = hmac::sign(&key, format!("refresh:{salt}:{parent}").as_bytes());
    Secret::new(URL_SAFE_NO_PAD.encode(tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_readable_and_forgive_typing() {
        let code = random_code().unwrap();
        assert_eq!(code.expose().len(), 14);
        let typed = format!(" {} ", code.expose().to_lowercase().replace('-', " "));
        assert_eq!(canonical_code(&typed), canonical_code(code.expose()));
        assert_ne!(random_code().unwrap(), code);
    }

    #[test]
    fn tokens_carry_their_prefix_and_differ() {
        let token = random_token(OPERATOR_PREFIX).unwrap();
        assert!(token.expose().starts_with(OPERATOR_PREFIX) && token.expose().len() == 48);
        assert_ne!(random_token(OPERATOR_PREFIX).unwrap(), token);
        assert_ne!(stored_form(token.expose()), token.expose());
    }

    #[test]
    fn keys_are_compared_whole() {
        assert!(same_key("sb_publishable_a", "sb_publishable_a"));
        assert!(!same_key("sb_publishable_a", "sb_publishable_b"));
        assert!(!same_key("", "sb_publishable_b"));
    }

    #[test]
    fn a_successor_depends_on_secret_parent_and_salt() {
        let token = successor(b"s", "parent", "1");
        assert_eq!(token, successor(b"s", "parent", "1"));
        for other in [
            successor(b"x", "parent", "1"),
            successor(b"s", "other", "1"),
            successor(b"s", "parent", "2"),
        ] {
            assert_ne!(token, other);
        }
    }
}
