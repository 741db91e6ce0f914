//! What Claude may do: the flags for each kind of access. Whatever restricts is demanded, not hoped for.

use crate::domain::run::{FailureKind, RunFailure};
use crate::provider::argument::{is_plain, refusal};
use crate::provider::capability::Features;
use crate::provider::request::{Access, RunRequest};

/// The tool that a restricted run has when it names none.
const WEB_SEARCH: &str = "WebSearch";
/// Tools that neither run commands nor touch files.
const HARMLESS: &[&str] = &[WEB_SEARCH, "WebFetch", "TodoWrite"];
/// Tools for files. Approved only where `--restricted` confines them to the working directory.
const FILES: &[&str] = &["Read", "Glob", "Grep", "Edit", "MultiEdit", "Write", "NotebookEdit"];
/// Modes in which nothing is approved that a restricted run may not do anyway.
const RESTRICTED_MODES: &[&str] = &["dontAsk", "default", "plan", "acceptEdits"];
/// Without these a run cannot be restricted.
const RESTRICTING: &[(&str, &str)] = &[
    ("toolsFlag", "--tools"),
    ("permissionModeFlag", "--permission-mode"),
    ("settingSourcesFlag", "--setting-sources"),
    ("strictMcpConfigFlag", "--strict-mcp-config"),
];

/// How the request's access is told to the CLI.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Permissions {
    /// `--allowedTools`: used without asking.
    pub(crate) allowed: Vec<String>,
    /// `--tools`: there at all; none leaves the CLI's own set.
    pub(crate) available: Option<Vec<String>>,
    /// `--disallowedTools`.
    pub(crate) disallowed: Vec<String>,
    /// `--permission-mode`.
    pub(crate) mode: Option<String>,
    /// `--dangerously-skip-permissions`.
    pub(crate) skip: bool,
    /// Whether settings, commands and servers of the user stay away.
    pub(crate) secluded: bool,
}

/// Chooses the flags.
///
/// # Errors
/// The CLI lacks a flag that restricts, or the request wants more than its access allows.
pub(crate) fn permissions(request: &RunRequest, features: &Features) -> Result<Permissions, RunFailure> {
    for tool in request.tools.allowed.iter().chain(&request.tools.disallowed) {
        if !is_plain(tool) {
            return refusal(FailureKind::Request, format!("{tool:?} is no name of a tool"));
        }
    }
    match request.access {
        Access::Answer => restricted(request, features).map(|rest| Permissions {
            available: Some(Vec::new()),
            allowed: Vec::new(),
            disallowed: Vec::new(),
            ..rest
        }),
        Access::Restricted => restricted(request, features),
        Access::Full => full(request, features),
    }
}

fn restricted(request: &RunRequest, features: &Features) -> Result<Permissions, RunFailure> {
    let denying = (!request.tools.disallowed.is_empty()).then_some(("disallowedToolsFlag", "--disallowedTools"));
    let missing = RESTRICTING
        .iter()
        .copied()
        .chain(denying)
        .find(|(flag, _)| !features.has(flag));
    if let Some((_, option)) = missing {
        let why = format!("Claude cannot be restricted: its help does not offer {option}. Update Claude Code");
        return Err(features.lack("Claude", why));
    }
    let mut tools: Vec<_> = request.tools.allowed.iter().map(|tool| canonical(tool)).collect();
    if tools.is_empty() && request.access == Access::Restricted {
        tools.push(WEB_SEARCH.to_owned());
    }
    if let Some(tool) = tools
        .iter()
        .find(|tool| request.access == Access::Restricted && !is_grantable(tool))
    {
        return refusal(
            FailureKind::Request,
            format!("Claude's tool {tool} needs full machine control"),
        );
    }
    let confined = features.offers("--restricted");
    let mut available: Vec<_> = tools.iter().map(|tool| name(tool).to_owned()).collect();
    available.dedup();
    Ok(Permissions {
        available: Some(available),
        allowed: tools
            .into_iter()
            .filter(|tool| confined || !FILES.contains(&name(tool)))
            .collect(),
        disallowed: request.tools.disallowed.clone(),
        mode: Some(restricted_mode(request.extras.permission_mode.as_deref())?),
        skip: false,
        secluded: true,
    })
}

fn restricted_mode(asked: Option<&str>) -> Result<String, RunFailure> {
    let asked = asked
        .map(str::trim)
        .filter(|mode| !mode.is_empty())
        .unwrap_or("dontAsk");
    // The new name of the default mode is not known to older versions; the old one is known to all.
    let asked = if asked == "manual" { "default" } else { asked };
    let known = RESTRICTED_MODES.iter().find(|mode| mode.eq_ignore_ascii_case(asked));
    known.map_or_else(
        || {
            refusal(
                FailureKind::Request,
                format!("Claude's permission mode {asked:?} needs full machine control"),
            )
        },
        |mode| Ok((*mode).to_owned()),
    )
}

/// Why Claude may not act freely for this account, if it may not.
pub(crate) fn barred(is_root: bool, allow_root: bool) -> Option<&'static str> {
    (is_root && !allow_root)
        .then_some("Claude does not act freely as root. Allow it with: gateway providers set claude --allow-root")
}

fn full(request: &RunRequest, features: &Features) -> Result<Permissions, RunFailure> {
    let extras = &request.extras;
    if let Some(why) = barred(extras.is_root, extras.allow_root) {
        return refusal(FailureKind::Request, why);
    }
    let named = extras.permission_mode.as_deref().map(str::trim);
    let named = named.filter(|mode| !mode.is_empty() && !mode.eq_ignore_ascii_case("dontAsk"));
    let bypass = named.is_none_or(|mode| mode == "bypassPermissions");
    let allowed: Vec<_> = request.tools.allowed.iter().map(|tool| canonical(tool)).collect();
    Ok(Permissions {
        allowed: if allowed == [WEB_SEARCH] { Vec::new() } else { allowed },
        available: None,
        disallowed: request.tools.disallowed.clone(),
        mode: Some(named.unwrap_or("bypassPermissions").to_owned()),
        // It would override any other mode.
        skip: bypass && features.has("dangerouslySkipPermissionsFlag"),
        secluded: false,
    })
}

/// The backend's spellings of a tool's name, as Claude spells it.
fn canonical(tool: &str) -> String {
    match tool.trim() {
        "web_search" | "web__search" | "websearch" => WEB_SEARCH.to_owned(),
        other => other.to_owned(),
    }
}

/// `Read` of `Read(./src/**)`.
fn name(tool: &str) -> &str {
    tool.split_once('(').map_or(tool, |(name, _)| name).trim()
}

fn is_grantable(tool: &str) -> bool {
    HARMLESS.iter().chain(FILES).any(|known| *known == name(tool))
}
