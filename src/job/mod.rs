//! Jobs from the queue to the report: the one place where queue, handler, provider and process meet.

pub mod agent;
pub mod audit;
pub mod entry;
mod facts;
pub mod handler;
mod idempotency;
pub mod policy;
pub mod queue;
pub mod recovery;
pub mod report;
pub mod running;
pub mod validation;
pub mod worker;
