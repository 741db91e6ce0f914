//! Gateway: one binary that turns a machine you control into a safe host for coding agents.
//!
//! Data flows one way: ingress, queue, worker, handler, provider, process, report. A module may
//! import only modules of the rows above it (`tests/layers.rs` holds the table):
//!
//! | row | modules |
//! |---|---|
//! | 0 | [`domain`] |
//! | 1 | [`wire`], [`config`] |
//! | 2 | [`state`], [`backend`], [`process`] |
//! | 3 | [`provider`] |
//! | 4 | [`job`] |
//! | 5 | [`control_plane`], [`fake_model`] (rows 0-1 only: they are the other end of a wire) |
//! | 6 | [`runtime`] |
//! | 7 | [`cli`] |

#[cfg(not(unix))]
compile_error!("gateway runs on Linux and macOS; Windows is not supported");

pub mod backend;
pub mod cli;
pub mod config;
pub mod control_plane;
pub mod domain;
pub mod fake_model;
pub mod job;
pub mod process;
pub mod provider;
pub mod runtime;
pub mod state;
pub mod wire;
