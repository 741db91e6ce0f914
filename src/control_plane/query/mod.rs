//! From a query string to one checked statement in either dialect.

pub mod access;
pub mod ast;
pub mod body;
pub mod parse;
pub mod postgres;
pub mod sql;
pub mod sqlite;
pub mod statement;
pub mod value;
