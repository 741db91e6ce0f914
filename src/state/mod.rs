//! Files this program owns: state directory, session, lock, log, journal.
//!
//! A path becomes usable only through [`fs::OwnerDir`]; no other room creates files.

pub mod fs;
pub mod journal;
pub mod last_exit;
pub mod lock;
pub mod log_file;
pub mod operator;
pub mod place;
pub mod session;
pub mod socket_path;
