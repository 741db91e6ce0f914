//! The log on disk: written in whole lines with a bound on size, read from its end, followed.

mod read;
mod rotate;

pub use read::{Follower, Position, Tail, tail};
pub use rotate::{Limits, LogWriter, RotatingLog};

/// The owner's book of what was done, in the state directory.
pub const AUDIT: &str = "audit.log";

/// The name of the `generation`-th older log; 0 is the current one.
fn name_of(name: &str, generation: u32) -> String {
    if generation == 0 {
        return name.to_owned();
    }
    format!("{name}.{generation}")
}
