//! The query string.
