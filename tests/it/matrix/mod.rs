//! The fault matrix: a test per row, its name beginning with the row's, on every twin path the row can take.
//!
//! `docs/RELIABILITY.md` is the table; `tests/layers.rs` holds it against the names here.

mod claims;
#[cfg(target_os = "linux")]
mod crash;
mod inputs;
#[cfg(target_os = "linux")]
mod kill_loop;
#[cfg(target_os = "linux")]
mod names;
mod network;
mod network_nightly;
mod outages;
mod outages_nightly;
mod scene;
#[cfg(target_os = "linux")]
mod soak;
mod strangers;
mod twins;
