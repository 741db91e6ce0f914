//! How many jobs there are descriptors for.

use nix::unistd::{SysconfVar, sysconf};

/// What a daemon takes for itself: log, journal, local socket, channel, and a few ways to the control plane.
const OWN: usize = 36;
/// What a job takes while it begins: its pipes and those that hold it, and what is asked about it meanwhile.
const PER_JOB: usize = 12;

/// As many jobs at once as were asked for, or fewer where the system grants this process too few descriptors.
#[must_use]
pub fn jobs_at_once(asked: usize) -> usize {
    let granted = sysconf(SysconfVar::OPEN_MAX).ok().flatten();
    granted.map_or(asked, |granted| {
        within(usize::try_from(granted).unwrap_or_default(), asked)
    })
}

/// Never none: what is short may be so for a moment only.
fn within(granted: usize, asked: usize) -> usize {
    (granted.saturating_sub(OWN) / PER_JOB).clamp(1, asked.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_descriptors_are_for_few_jobs_and_usual_ones_for_the_usual_number() {
        let jobs = [0, 48, 60, 256, 1_024].map(|granted| within(granted, 10));
        assert_eq!(jobs, [1, 1, 2, 10, 10]);
        assert_eq!((within(1_024, 256), within(4_096, 256), within(1_024, 0)), (82, 256, 1));
    }
}
