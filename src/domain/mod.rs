//! Words of the product: ids, jobs, outcomes, limits, time and secrets.
//!
//! Row 0 of the architecture. Pure values only: no tokio, no files, no sockets.

pub mod awake;
pub mod backoff;
pub mod clock;
pub mod decoder;
pub mod escape;
pub mod ids;
pub mod job;
pub mod limits;
pub mod needles;
pub mod outgoing;
pub mod prompt;
pub mod redact;
pub mod run;
pub mod secret;
pub mod shapes;
pub mod text;
pub mod usage;
