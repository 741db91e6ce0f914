//! Exit codes: one table, used by the commands and printed by `gateway help exit-codes`.

/// How a command ended, as the shell sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exit(pub(crate) u8);

impl Exit {
    pub(crate) const OK: Self = Self(0);
    pub(crate) const FAILED: Self = Self(1);
    pub(crate) const USAGE: Self = Self(2);
    pub(crate) const WAITING: Self = Self(3);
    pub(crate) const UNREACHABLE: Self = Self(4);
    pub(crate) const NOT_TAKEN: Self = Self(5);
    pub(crate) const REFUSED: Self = Self(6);
    pub(crate) const NO_CREDENTIAL: Self = Self(7);
    pub(crate) const WORK_CANCELLED: Self = Self(8);
    pub(crate) const STILL_RUNNING: Self = Self(9);
    pub(crate) const TIMED_OUT: Self = Self(124);
    pub(crate) const INTERRUPTED: Self = Self(130);
}

/// Every code with its meaning, in the order of the help text.
pub(crate) const TABLE: &[(Exit, &str)] = &[
    (Exit::OK, "done"),
    (Exit::FAILED, "failed, refused, or a final error"),
    (Exit::USAGE, "the command line was not understood"),
    (
        Exit::WAITING,
        "start, up: running, but still waiting for the control plane",
    ),
    (
        Exit::UNREACHABLE,
        "the control plane, or its database, cannot be reached",
    ),
    (Exit::NOT_TAKEN, "exec, run, shell, job: no gateway took the job"),
    (
        Exit::REFUSED,
        "exec, run, shell, job: refused by a layer of machine control",
    ),
    (Exit::NO_CREDENTIAL, "not paired, or no operator credential"),
    (
        Exit::WORK_CANCELLED,
        "stop: stopped, but running work had to be cancelled",
    ),
    (
        Exit::STILL_RUNNING,
        "still running: could not be ended, or (start) does not answer",
    ),
    (
        Exit::TIMED_OUT,
        "exec, run, job: the command or the agent ran into its timeout",
    ),
    (
        Exit::INTERRUPTED,
        "interrupted; exec, run and shell ended what they ran, job watch did not",
    ),
];

/// The table as text.
pub(crate) fn table_text() -> String {
    let mut text = String::from("Exit codes:\n");
    for (exit, meaning) in TABLE {
        text.push_str(&format!("  {:>3}  {meaning}\n", exit.0));
    }
    text.push_str("\n`gateway exec` and `gateway shell` otherwise exit as what they ran did.\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_rise() {
        let codes: Vec<u8> = TABLE.iter().map(|(exit, _)| exit.0).collect();
        let mut sorted = codes.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(codes, sorted);
    }
}
