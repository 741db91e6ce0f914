//! Behaviour tests: real sockets, real processes, the real control plane. One binary, so that it links once.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a broken expectation in a test is a failed test"
)]

mod auth_server;
mod backend_auth;
mod backend_http;
mod backend_jobs;
mod backend_machine;
mod backend_realtime;
mod cli_help;
mod cli_plane;
mod cli_shell;
mod cli_start;
mod cli_state;
mod cli_up;
mod daemon_events;
mod daemon_jobs;
mod daemon_life;
mod daemon_load;
mod daemon_wire;
mod journal;
mod journal_faults;
mod journey_ingress;
mod journey_load;
mod journey_main;
mod journey_outage;
mod journey_pairing;
mod journey_postgres;
mod journey_refusals;
mod log_file;
mod pairing_server;
mod plane_server;
mod process;
mod providers;
mod realtime_server;
mod rest;
mod runs_server;
mod session;
mod shell_exec;
mod shell_session;
mod state;
mod supabase_js;
mod support;
