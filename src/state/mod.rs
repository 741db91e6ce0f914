//! Files this program owns: state directory, session, lock, log, journal.
//!
//! A path becomes usable only through [`fs::OwnerDir`]; no other room creates files.

pub mod document;
pub mod fs;
pub mod journal;
pub mod last_exit;
pub mod last_run;
pub mod lock;
pub mod log_file;
pub mod operator;
pub mod own_directories;
pub mod place;
pub mod provider_settings;
pub mod session;
pub mod socket_path;
pub mod workspaces;
