//! What every behaviour test needs.

pub(crate) mod agent;
#[cfg(target_os = "linux")]
pub(crate) mod alone;
pub(crate) mod at_work;
pub(crate) mod clis;
pub(crate) mod daemon;
pub(crate) mod eventually;
pub(crate) mod fake_agent;
pub(crate) mod fake_model;
pub(crate) mod fault_proxy;
pub(crate) mod handler;
pub(crate) mod home;
pub(crate) mod older;
pub(crate) mod plane;
pub(crate) mod postgres;
pub(crate) mod process_list;
pub(crate) mod prompts;
pub(crate) mod recorder;
pub(crate) mod replay;
pub(crate) mod rows;
pub(crate) mod sandbox;
pub(crate) mod scripted_server;
pub(crate) mod stage;
pub(crate) mod stand_in;
pub(crate) mod state_dir;
pub(crate) mod ws;
