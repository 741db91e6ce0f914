//! `--mode`: an ordinary host, or a managed VM guest.

/// How this gateway runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// On a machine its user controls.
    #[default]
    Local,
    /// As a guest of a managed VM.
    Managed,
}

/// `--mode` does not fit this host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModeError {
    /// Not a known word.
    #[error("unknown mode `{0}`: it is `local` or `managed`")]
    Unknown(String),
    /// Managed without a VM identity.
    #[error("mode `managed` needs a VM guest identity, and this host has none: run `gateway bootstrap` in the guest")]
    NoGuest,
}

impl Mode {
    /// The word on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Managed => "managed",
        }
    }

    /// The mode of a host: a VM guest identity implies `managed`, and `managed` needs one.
    ///
    /// # Errors
    /// [`ModeError::NoGuest`] for `--mode managed` on a host without an identity.
    pub const fn resolve(asked: Option<Self>, is_guest: bool) -> Result<Self, ModeError> {
        match (asked, is_guest) {
            (_, true) => Ok(Self::Managed),
            (Some(Self::Managed), false) => Err(ModeError::NoGuest),
            (Some(Self::Local) | None, false) => Ok(Self::Local),
        }
    }
}

impl std::str::FromStr for Mode {
    type Err = ModeError;

    fn from_str(text: &str) -> Result<Self, ModeError> {
        match text.trim().to_ascii_lowercase().as_str() {
            "local" => Ok(Self::Local),
            "managed" => Ok(Self::Managed),
            _ => Err(ModeError::Unknown(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn managed_needs_a_guest_and_a_guest_is_managed() {
        assert_eq!(Mode::resolve(None, false), Ok(Mode::Local));
        assert_eq!(Mode::resolve(None, true), Ok(Mode::Managed));
        assert_eq!(Mode::resolve(Some(Mode::Managed), false), Err(ModeError::NoGuest));
        assert!(ModeError::NoGuest.to_string().contains("gateway bootstrap"));
        assert_eq!("Managed".parse(), Ok(Mode::Managed));
        assert!("vm".parse::<Mode>().is_err());
    }
}
