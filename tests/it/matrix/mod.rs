//! The fault matrix: a test per row, its name beginning with the row's, on every twin path the row can take.
//!
//! `docs/RELIABILITY.md` is the table; `tests/layers.rs` holds it against the names here.

mod claims;
#[cfg(target_os = "linux")]
mod clock;
#[cfg(target_os = "linux")]
mod crash;
mod crowds;
#[cfg(target_os = "linux")]
mod disk;
mod family;
mod floods;
mod forged;
mod inputs;
mod intruders;
mod journal;
#[cfg(target_os = "linux")]
mod journal_calls;
#[cfg(target_os = "linux")]
mod journal_host;
#[cfg(target_os = "linux")]
mod kill_loop;
mod leftovers;
mod login;
#[cfg(target_os = "linux")]
mod names;
mod network;
mod network_nightly;
#[cfg(target_os = "linux")]
mod no_cgroups;
mod outages;
mod outages_nightly;
mod outbox;
mod panics;
mod providers;
mod restart;
mod scene;
mod secrets;
mod shortage;
#[cfg(target_os = "linux")]
mod sleep;
#[cfg(target_os = "linux")]
mod soak;
mod stops;
mod strangers;
mod surroundings;
mod trees;
mod twins;
mod virtual_time;

pub(crate) use journal::child as keep_a_journal;
pub(crate) use login::child as refresh;
