//! What a look at a provider depends on: under other circumstances it may find something else.

use std::path::{Path, PathBuf};

use crate::provider::remembered::Evidence;
use crate::state::provider_settings::ProviderSettings;

/// Where the programs are, in which state, and what the owner set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Circumstances {
    programs: Vec<(PathBuf, Option<Evidence>)>,
    settings: Option<ProviderSettings>,
}

impl Circumstances {
    /// Those of these programs, in the state that `evidence` finds them in.
    pub fn of(
        programs: Vec<PathBuf>,
        settings: Option<ProviderSettings>,
        evidence: impl Fn(&Path) -> Option<Evidence>,
    ) -> Self {
        let state = |program: PathBuf| {
            let evidence = evidence(&program);
            (program, evidence)
        };
        Self {
            programs: programs.into_iter().map(state).collect(),
            settings,
        }
    }
}
