//! Which backend a command talks to.
//!
//! Pairing may take it from anywhere. A paired host is pinned: its session goes to the origin that
//! issued it and to no other, whatever the environment says.

use reqwest::Url;

use crate::config::sources::Environment;
use crate::domain::secret::Secret;

const BUILT_IN_URL: Option<&str> = given(option_env!("GATEWAY_DEFAULT_URL"));
const BUILT_IN_KEY: Option<&str> = given(option_env!("GATEWAY_DEFAULT_ANON_KEY"));

/// A build script that has no value passes a blank one on: that is none.
const fn given(value: Option<&'static str>) -> Option<&'static str> {
    match value {
        Some(value) if !value.trim_ascii().is_empty() => Some(value.trim_ascii()),
        Some(_) | None => None,
    }
}

/// Backend flags of a command line.
#[derive(Debug, Clone, Default)]
pub struct BackendFlags {
    /// `--supabase-url`.
    pub url: Option<String>,
    /// `--anon-key`.
    pub anon_key: Option<Secret>,
}

/// A resolved backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// Its address as given, trimmed.
    pub url: String,
    /// Its public key.
    pub anon_key: Secret,
}

/// No usable backend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BackendError {
    /// Nothing names one, and this build has no default.
    #[error("no control plane to pair with: {missing} missing, and this build knows none of its own")]
    NoneNamed {
        /// Which fields.
        missing: &'static str,
    },
    /// The address is no http(s) URL.
    #[error("`{url}` (from {origin_of_value}) is no http or https address")]
    NotAnAddress {
        /// The text.
        url: String,
        /// Where it came from.
        origin_of_value: String,
    },
    /// A paired host was pointed at another backend.
    #[error(
        "this host is paired with {stored}, but {source_name} names {asked}; a session is only sent to the origin that \
         issued it"
    )]
    OtherOrigin {
        /// Origin of the stored session.
        stored: String,
        /// Origin that was asked for.
        asked: String,
        /// Flag or variable that asked.
        source_name: &'static str,
    },
    /// A paired host has no public key for its backend.
    #[error("no public key is known for {url}")]
    NoKey {
        /// The backend.
        url: String,
    },
}

impl BackendError {
    /// What to do about it, one way on each line.
    #[must_use]
    pub fn next(&self) -> String {
        match self {
            Self::NoneNamed { .. } => "name one: --supabase-url URL --anon-key KEY\n\
                 or set PANORAMA_SUPABASE_URL and PANORAMA_SUPABASE_ANON_KEY\n\
                 or run `gateway up`: a control plane of your own, on this machine"
                .to_owned(),
            Self::NotAnAddress { .. } => "write it as https://HOST or http://HOST:PORT".to_owned(),
            Self::OtherOrigin { asked, source_name, .. } => {
                format!("drop {source_name}\nor pair again: gateway pair CODE --supabase-url {asked}")
            }
            Self::NoKey { .. } => "give --anon-key, or set PANORAMA_SUPABASE_ANON_KEY".to_owned(),
        }
    }
}

/// The backend to pair with: flags, then environment, then what the build was made with; where none of them names
/// anything, the `known` one.
///
/// # Errors
/// [`BackendError`] when none is named or the address is none.
pub fn for_pairing(flags: &BackendFlags, env: &Environment, known: Option<Backend>) -> Result<Backend, BackendError> {
    let from_env = || env.first(&["PANORAMA_SUPABASE_URL", "SUPABASE_URL"]);
    let named = flag_url(flags)
        .or_else(from_env)
        .or_else(|| Some(("the build", BUILT_IN_URL?)));
    let key_names = [
        "PANORAMA_SUPABASE_ANON_KEY",
        "SUPABASE_ANON_KEY",
        "SUPABASE_PUBLISHABLE_KEY",
    ];
    let key = flag_key(flags)
        .or_else(|| Some(Secret::new(env.first(&key_names)?.1)))
        .or_else(|| BUILT_IN_KEY.map(Secret::new));
    match (named, key) {
        (Some((source, url)), Some(anon_key)) => {
            parse(url, source)?;
            Ok(Backend {
                url: url.to_owned(),
                anon_key,
            })
        }
        (Some(_), None) => Err(BackendError::NoneNamed {
            missing: "its public key is",
        }),
        (None, Some(_)) => Err(BackendError::NoneNamed {
            missing: "its address is",
        }),
        (None, None) => known.ok_or(BackendError::NoneNamed {
            missing: "its address and public key are",
        }),
    }
}

/// The backend of a paired host. A flag or `PANORAMA_SUPABASE_URL` may spell its address differently;
/// plain `SUPABASE_*` variables mean nothing here.
///
/// # Errors
/// [`BackendError::OtherOrigin`] when they name another origin than `stored`.
pub fn for_paired(flags: &BackendFlags, env: &Environment, stored: &Backend) -> Result<Backend, BackendError> {
    let pinned = parse(&stored.url, "the stored pairing")?;
    let asked = flag_url(flags).or_else(|| env.first(&["PANORAMA_SUPABASE_URL"]));
    let url = match asked {
        Some((source_name, url)) => {
            let other = parse(url, source_name)?;
            if other.origin() != pinned.origin() {
                return Err(BackendError::OtherOrigin {
                    stored: pinned.origin().ascii_serialization(),
                    asked: other.origin().ascii_serialization(),
                    source_name,
                });
            }
            url
        }
        None => &stored.url,
    };
    let anon_key = flag_key(flags)
        .or_else(|| env.get("PANORAMA_SUPABASE_ANON_KEY").map(Secret::new))
        .or_else(|| (!stored.anon_key.is_empty()).then(|| stored.anon_key.clone()))
        .or_else(|| built_in_key_for(&pinned))
        .ok_or_else(|| BackendError::NoKey { url: url.to_owned() })?;
    Ok(Backend {
        url: url.to_owned(),
        anon_key,
    })
}

/// Whether two addresses have the same scheme, host and port.
#[must_use]
pub fn same_origin(left: &str, right: &str) -> bool {
    match (Url::parse(left.trim()), Url::parse(right.trim())) {
        (Ok(left), Ok(right)) => left.origin() == right.origin(),
        (Err(_), _) | (_, Err(_)) => false,
    }
}

/// The built-in key belongs to the built-in address only.
fn built_in_key_for(url: &Url) -> Option<Secret> {
    let built_in = Url::parse(BUILT_IN_URL?).ok()?;
    (built_in.origin() == url.origin()).then_some(())?;
    BUILT_IN_KEY.map(Secret::new)
}

fn flag_url(flags: &BackendFlags) -> Option<(&'static str, &str)> {
    Some(("--supabase-url", text(flags.url.as_deref()?)?))
}

fn flag_key(flags: &BackendFlags) -> Option<Secret> {
    text(flags.anon_key.as_ref()?.expose()).map(Secret::new)
}

fn text(value: &str) -> Option<&str> {
    let value = value.trim();
    (!value.is_empty()).then_some(value)
}

fn parse(url: &str, source: &str) -> Result<Url, BackendError> {
    let refused = || BackendError::NotAnAddress {
        url: url.to_owned(),
        origin_of_value: source.to_owned(),
    };
    let parsed = Url::parse(url.trim()).ok().ok_or_else(refused)?;
    let usable = matches!(parsed.scheme(), "http" | "https") && parsed.has_host();
    usable.then_some(parsed).ok_or_else(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> Environment {
        pairs.iter().copied().collect()
    }

    fn stored() -> Backend {
        Backend {
            url: "https://one.example/".to_owned(),
            anon_key: Secret::new("stored"),
        }
    }

    #[test]
    fn a_paired_host_ignores_plain_variables() {
        let env = env(&[("SUPABASE_URL", "https://evil.example"), ("SUPABASE_ANON_KEY", "x")]);
        let backend = for_paired(&BackendFlags::default(), &env, &stored()).unwrap();
        assert_eq!(backend, stored());
    }

    #[test]
    fn another_origin_is_refused_naming_both() {
        let env = env(&[("PANORAMA_SUPABASE_URL", "https://two.example")]);
        let error = for_paired(&BackendFlags::default(), &env, &stored())
            .unwrap_err()
            .to_string();
        assert!(error.contains("https://one.example"), "{error}");
        assert!(error.contains("https://two.example"), "{error}");
        assert!(error.contains("PANORAMA_SUPABASE_URL"), "{error}");
    }

    #[test]
    fn another_spelling_of_the_same_origin_is_taken() {
        let env = env(&[("PANORAMA_SUPABASE_URL", "https://ONE.example:443")]);
        let backend = for_paired(&BackendFlags::default(), &env, &stored()).unwrap();
        assert_eq!(backend.url, "https://ONE.example:443");
        assert_eq!(backend.anon_key, Secret::new("stored"));
    }

    #[test]
    fn pairing_takes_the_first_source_of_each_field() {
        let env = env(&[
            ("SUPABASE_URL", "http://127.0.0.1:1"),
            ("PANORAMA_SUPABASE_URL", "http://127.0.0.1:2"),
            ("SUPABASE_PUBLISHABLE_KEY", "k"),
        ]);
        let backend = for_pairing(&BackendFlags::default(), &env, None).unwrap();
        assert_eq!(backend.url, "http://127.0.0.1:2");
        assert_eq!(backend.anon_key, Secret::new("k"));
        let flags = BackendFlags {
            url: Some("ftp://x".to_owned()),
            anon_key: None,
        };
        assert!(matches!(
            for_pairing(&flags, &env, None),
            Err(BackendError::NotAnAddress { .. })
        ));
    }

    #[test]
    fn a_blank_default_of_the_build_is_none() {
        assert_eq!(given(None), None);
        assert_eq!(given(Some(" ")), None);
        assert_eq!(given(Some(" https://one.example\n")), Some("https://one.example"));
    }

    #[test]
    fn a_build_without_defaults_says_what_to_do() {
        if BUILT_IN_URL.is_none() {
            let error = for_pairing(&BackendFlags::default(), &env(&[]), None).unwrap_err();
            for word in [
                "--supabase-url",
                "--anon-key",
                "PANORAMA_SUPABASE_ANON_KEY",
                "gateway up",
            ] {
                assert!(error.next().contains(word), "{error}");
            }
        }
    }
}
