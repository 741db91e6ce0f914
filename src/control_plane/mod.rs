//! The embedded control plane: the other end of the wire.
//!
//! The [`registry`] says which tables exist and what each role may do with them; [`query`] turns a
//! request into a checked statement; [`store`] runs it on SQLite or PostgreSQL; [`rest`] and [`rpc`]
//! speak PostgREST about it. [`auth`] knows who asks, [`pairing`] makes new gateways, [`functions`]
//! are what a table cannot express, [`realtime`] pushes changes. [`server`] is all of it on a socket,
//! [`admin`] is what its owner does on the host.

pub mod admin;
pub mod auth;
pub mod claims;
pub mod functions;
pub mod jwt;
pub mod keys;
pub mod listen;
pub mod pairing;
pub mod problem;
pub mod query;
pub mod realtime;
pub mod registry;
pub mod rest;
pub mod rpc;
pub mod runs;
pub mod server;
pub mod store;
