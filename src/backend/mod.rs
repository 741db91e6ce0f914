//! The backend's client: REST rows, functions, sessions and Realtime over one HTTP client.
//!
//! Nothing here knows jobs' meaning or where credentials lie on disk: a [`auth::TokenStore`] is handed in. Every
//! request has a deadline, every answer a bound, and every error answers the questions a caller has
//! ([`error::BackendError`]). A typed builder stands in for the `postgrest` crate and keeps its verbs.

pub mod account;
pub mod auth;
pub mod client;
pub mod error;
pub mod events;
pub mod functions;
pub mod http;
pub mod jobs;
pub mod realtime;
pub mod rest;
pub mod runs;

pub use auth::{Auth, StoreError, StoreGuard, TokenStore, Tokens};
pub use client::Client;
pub use error::{BackendError, HttpError, SessionLost};
pub use events::Events;
pub use http::{Endpoint, Http};
pub use jobs::Jobs;
pub use realtime::{Realtime, RealtimeEvent};
pub use rest::Rest;
pub use runs::Runs;
