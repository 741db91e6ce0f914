//! Members of a line that are looked at without being built: a line is short, and there are many.

use std::borrow::Cow;
use std::ops::Deref;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::provider::tame;

/// Reads a line. Its text is checked once as a whole, which is faster than in each of many short strings; a line with
/// bytes that are no text may still be good where nobody looks at them.
pub(crate) fn read<'a, T: Deserialize<'a>>(line: &'a [u8]) -> serde_json::Result<T> {
    match std::str::from_utf8(line) {
        Ok(text) => serde_json::from_str(text),
        Err(_) => serde_json::from_slice(line),
    }
}

/// Text that is only copied where it holds escapes.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl From<Text<'_>> for String {
    fn from(text: Text<'_>) -> Self {
        text.0.into_owned()
    }
}

/// Any JSON, not taken apart.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct Raw<'a>(#[serde(borrow)] &'a RawValue);

impl<'a> Raw<'a> {
    /// Its JSON.
    pub(crate) fn get(self) -> &'a str {
        self.0.get()
    }

    /// What it is.
    pub(crate) fn value(self) -> Value {
        tame::read(self.get().as_bytes()).unwrap_or_default()
    }
}
