//! Parses, calls, prints.
