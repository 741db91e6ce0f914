//! Behaviour tests: real sockets, real processes, the real control plane. One binary, so that it links once.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a broken expectation in a test is a failed test"
)]

mod agent_runner;
mod attacks;
mod auth_server;
mod backend_auth;
mod backend_http;
mod backend_jobs;
mod backend_machine;
mod backend_realtime;
mod cli_audit;
mod cli_fake_model;
mod cli_help;
mod cli_job_cancel;
mod cli_plane;
mod cli_providers;
mod cli_run;
mod cli_shell;
mod cli_start;
mod cli_state;
mod cli_up;
mod cli_workspace;
#[cfg(target_os = "linux")]
mod containment;
mod daemon_events;
mod daemon_hostile;
mod daemon_jobs;
mod daemon_life;
mod daemon_load;
mod daemon_wire;
mod doctor;
mod fake_model;
#[cfg(target_os = "linux")]
mod held;
mod journal;
mod journal_model;
mod journey_agents;
mod journey_answers;
mod journey_cancel;
mod journey_ingress;
mod journey_load;
mod journey_main;
mod journey_models;
mod journey_outage;
mod journey_pairing;
mod journey_postgres;
mod journey_prompts;
mod journey_prompts_refused;
mod journey_refusals;
mod journey_servers;
mod journey_traps;
mod journey_writes;
mod live_events;
mod log_file;
mod matrix;
mod model_run;
mod older_plane;
mod pairing_server;
mod plane_faults;
mod plane_server;
mod process;
mod process_lines;
mod process_start;
mod provider_claude;
mod provider_claude_plan;
mod provider_codex;
mod provider_codex_plan;
mod provider_gemini;
mod provider_gemini_plan;
mod provider_health;
mod provider_validation;
mod providers;
mod realtime_server;
mod reporter;
mod rest;
mod runs_server;
mod session;
mod shell_exec;
mod shell_session;
mod simulation;
mod state;
mod supabase_js;
mod support;
