//! Behaviour tests: real sockets, real processes, the real control plane. One binary, so that it links once.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a broken expectation in a test is a failed test"
)]

mod process;
mod state;
mod support;
