//! What differs from version to version of Claude Code and cannot be read in its help.

use crate::provider::capability::Features;
use crate::provider::plan::{Cli, Format};
use crate::provider::version::Version;

/// The last version that was seen to count the cost of each run by itself.
const COST_PER_RUN: &str = "2.1.197";

/// Whether `total_cost_usd` of a resumed session counts its earlier runs, too. A version that nobody knows is a new one.
pub(crate) fn cost_is_cumulative(version: Option<&str>) -> bool {
    let last = Version::find(COST_PER_RUN);
    version
        .and_then(Version::find)
        .is_none_or(|version| Some(version) > last)
}

/// What stdout can hold. `stream-json` needs `--verbose` with it.
pub(crate) fn format(features: &Features) -> Format {
    let can = |flags: &[&str]| flags.iter().all(|flag| features.has(flag));
    if can(&["outputFormatFlag", "streamJsonFlag", "verboseFlag"]) {
        Format::JsonLines
    } else if can(&["outputFormatFlag"]) {
        Format::Json
    } else {
        Format::Text
    }
}

/// Whether the prompt can travel as a message, which is never taken for a command or for a mention of a file.
pub(crate) fn reads_messages(cli: Cli<'_>) -> bool {
    cli.features.has("inputFormatFlag") && format(cli.features) == Format::JsonLines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cost_was_once_counted_by_run() {
        for (version, cumulative) in [
            (Some("2.1.197 (Claude Code)"), false),
            (Some("2.1.329 (Claude Code)"), true),
            (Some("nightly"), true),
            (None, true),
        ] {
            assert_eq!(cost_is_cumulative(version), cumulative, "{version:?}");
        }
    }
}
