//! What has to be known of Codex and stands in none of its help texts. Measured on 0.169.0.

use crate::provider::version::Version;

/// Empty directories that an interrupted sandbox leaves in the working directory. Whoever runs Codex removes those
/// that were not there before and are empty.
pub const DROPPINGS: &[&str] = &[".git", ".codex", ".agents", ".aws"];

/// The oldest version whose settings were tried.
const TRIED: &str = "0.169.0";

/// Whether the settings tried on 0.169.0 are known to this version. An older one ignores what it does not know, but
/// says so in every run.
#[must_use]
pub fn knows_settings(version: Option<&str>) -> bool {
    let tried = Version::find(TRIED);
    version.and_then(Version::find).is_some_and(|own| Some(own) >= tried)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_known_from_the_tried_version_on() {
        assert!(knows_settings(Some("codex-cli 0.169.0")));
        assert!(knows_settings(Some("codex-cli 1.0.0")));
        assert!(!knows_settings(Some("codex-cli 0.168.9")));
        assert!(!knows_settings(Some("codex")));
        assert!(!knows_settings(None));
    }
}
