//! Shapes on the network, shared by both ends: rows, bodies, frames, and the daemon's local socket.

pub mod heartbeat;
pub mod job_row;
pub mod local;
pub mod pairing;
pub mod phoenix;
pub mod problem;
