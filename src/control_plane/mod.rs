//! The embedded control plane: the other end of the wire.
//!
//! The [`registry`] says which tables exist and what each role may do with them; [`query`] turns a
//! request into a checked statement; [`store`] runs it on SQLite or PostgreSQL; [`rest`] and [`rpc`]
//! speak PostgREST about it.

pub mod claims;
pub mod problem;
pub mod query;
pub mod registry;
pub mod rest;
pub mod rpc;
pub mod store;
