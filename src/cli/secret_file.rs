//! A secret that lies in a file, because every user of the machine may read a command line.

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::output::Details;
use crate::domain::secret::Secret;

/// Permission bits of everybody but the owner.
const OTHERS: u32 = 0o077;
/// Longest secret.
pub(crate) const LONGEST: u64 = 64 * 1024;

/// Reads it without the white space around it, and warns when it is no secret on this machine.
pub(crate) fn read(path: &Path, what: &str, cx: &Context) -> Result<Secret, CliError> {
    let unreadable = |error: std::io::Error| {
        CliError::failed(format!("The {what} file cannot be read.")).detail(format!("{}: {error}", path.display()))
    };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let found = file.metadata().map_err(unreadable)?;
    let mode = found.permissions().mode();
    // The mode of anything else is nobody's to change: `/dev/stdin` and `/tmp` stay as they are.
    if found.is_file() && mode & OTHERS != 0 {
        let path = path.display();
        let details = Details::new()
            .add("File", format!("{path} (mode {:04o})", mode & 0o7777))
            .add(
                "Next",
                format!("chmod 600 {path}; or a new {what}, if somebody may have seen this one"),
            );
        cx.out.warn(
            &format!("Other users of this machine may read the {what} file."),
            &details,
        );
    }
    file.take(LONGEST).read_to_string(&mut text).map_err(unreadable)?;
    Ok(Secret::new(text.trim()))
}
