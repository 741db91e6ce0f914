//! Behaviour tests: real sockets, real processes, the real control plane. One binary, so that it links once.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a broken expectation in a test is a failed test"
)]

mod journey_ingress;
mod journey_load;
mod journey_main;
mod journey_outage;
mod journey_pairing;
mod journey_refusals;
mod support;
