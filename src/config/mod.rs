//! Resolved settings: flags, environment, files and defaults, and every path we own.
//!
//! Pure: nothing here creates or changes a file, and the process environment is read in one place,
//! [`sources`].

pub mod backend;
pub mod env_file;
pub mod mode;
pub mod paths;
pub mod settings;
pub mod sources;
