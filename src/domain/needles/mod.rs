//! Secrets of this program itself, taken out of whatever leaves the host: raw, in base64 and in percent form.
//!
//! Other encodings are not known here: a job that wants to hide what it found can.

mod forms;
mod scan;
mod set;
mod stream;

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock};

pub use self::stream::Stream;

use self::set::Set;
use crate::domain::redact::MARKER;
use crate::domain::secret::Secret;

/// Shorter ones would be found in texts that mean something else.
const SHORTEST: usize = 8;
/// Rotated secrets that are still looked for: a job may have read them before.
const ROTATED: usize = 8;

/// The secrets to be found; clones share them.
#[derive(Clone, Default)]
pub struct Needles(Arc<RwLock<Held>>);

#[derive(Default)]
struct Held {
    lasting: Vec<Secret>,
    rotated: VecDeque<Secret>,
    set: Arc<Set>,
}

impl Held {
    fn holds(&self, secret: &Secret) -> bool {
        self.lasting.contains(secret) || self.rotated.contains(secret)
    }

    fn rebuild(&mut self) {
        let all = self.lasting.iter().chain(&self.rotated);
        self.set = Arc::new(Set::of(all.map(Secret::expose)));
    }
}

impl Needles {
    /// From now on this one is looked for, until the end.
    pub fn hold(&self, secret: &Secret) {
        self.learn(secret, |held| held.lasting.push(secret.clone()));
    }

    /// From now on this one is looked for, until it was replaced a few times.
    pub fn rotate(&self, secret: &Secret) {
        self.learn(secret, |held| {
            held.rotated.push_back(secret.clone());
            while held.rotated.len() > ROTATED {
                held.rotated.pop_front();
            }
        });
    }

    fn learn(&self, secret: &Secret, learn: impl FnOnce(&mut Held)) {
        let mut held = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if secret.expose().len() >= SHORTEST && !held.holds(secret) {
            learn(&mut held);
            held.rebuild();
        }
    }

    /// The bytes without secrets; nothing when they have none.
    #[must_use]
    pub fn bytes(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let found = self.set().found(bytes);
        (!found.is_empty()).then(|| rendered(bytes, &found, 0))
    }

    /// The text without secrets.
    #[must_use]
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match self.bytes(text.as_bytes()) {
            None => Cow::Borrowed(text),
            Some(clean) => Cow::Owned(String::from_utf8_lossy(&clean).into_owned()),
        }
    }

    fn set(&self) -> Arc<Set> {
        let held = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&held.set)
    }
}

impl fmt::Debug for Needles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Needles(..)")
    }
}

/// What stands behind `from`, with the marker in place of what was found.
fn rendered(bytes: &[u8], found: &[Range<usize>], from: usize) -> Vec<u8> {
    let mut clean = Vec::with_capacity(bytes.len().saturating_sub(from));
    let mut at = from;
    for range in found.iter().filter(|range| range.end > from) {
        clean.extend_from_slice(bytes.get(at..range.start).unwrap_or_default());
        clean.extend_from_slice(MARKER.as_bytes());
        at = range.end;
    }
    clean.extend_from_slice(bytes.get(at..).unwrap_or_default());
    clean
}

#[cfg(test)]
mod tests;
