//! What every measurement from outside needs.

pub mod figures;
pub mod operator;
pub mod process;
pub mod stack;
