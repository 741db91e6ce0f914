//! Jobs from the queue to the report: the one place where queue, handler, provider and process meet.

pub mod handler;
pub mod policy;
pub mod queue;
