//! What every behaviour test needs.

pub(crate) mod eventually;
pub(crate) mod home;
pub(crate) mod postgres;
pub(crate) mod scripted_server;
