//! The daemon: composes everything, owns tasks and shutdown.
//!
//! Decisions are pure machines with time handed in ([`feed`], [`reconcile`], [`shutdown`], [`status`]); tasks carry
//! them out. Two read models are shared, each a watch channel with one writer: the wire status and the ingress report.

pub mod events;
pub mod feed;
pub mod gateway;
pub mod heartbeat;
pub mod ingress;
pub mod local_socket;
pub mod logging;
pub mod probes;
pub mod reconcile;
mod run;
pub mod session_keeper;
pub mod shutdown;
pub mod signals;
pub mod status;
pub mod supervisor;
pub mod sweeper;
pub mod tasks;

pub use run::{RunEnd, Start, run};
