//! Resolved settings: flags, environment, files and defaults, and every path we own.
