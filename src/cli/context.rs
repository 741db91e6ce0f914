//! What every command gets: environment, paths, printer, and the files of the state directory.

use std::fs::File;
use std::path::PathBuf;

use crate::cli::args::{BackendArgs, Common, EnvFileArgs, Places};
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::output::{Details, Output};
use crate::config::backend::{self, Backend, BackendError, BackendFlags};
use crate::config::env_file;
use crate::config::paths::{Overrides, Paths};
use crate::config::settings::{Settings, SettingsFlags};
use crate::config::sources::Environment;
use crate::domain::secret::Secret;
use crate::state::fs::{FsError, OwnerDir};
use crate::state::last_exit::{self, LastExit};
use crate::state::lock::StateLock;
use crate::state::operator;
use crate::state::operator::OperatorError;
use crate::state::place;
use crate::state::session::{Session, SessionError, SessionStore};

/// The lock that a daemon holds for its life.
const DAEMON_LOCK: &str = "gateway.lock";

/// One command's surroundings.
#[derive(Debug)]
pub(crate) struct Context {
    /// The environment as this process got it; daemons get the same.
    pub(crate) process_env: Environment,
    /// The environment with the env file that was asked for.
    pub(crate) env: Environment,
    /// That file.
    pub(crate) env_file: Option<PathBuf>,
    /// Where everything lies.
    pub(crate) paths: Paths,
    /// Flags about places and agent CLIs.
    pub(crate) places: Places,
    /// Whether more details are wanted.
    pub(crate) verbose: bool,
    /// The printer.
    pub(crate) out: Output,
}

impl Context {
    /// Resolves everything that flags and environment decide.
    pub(crate) fn new(common: &Common, files: Option<&EnvFileArgs>, out: Output) -> Result<Self, (Output, CliError)> {
        let process_env = Environment::of_process();
        let (env, env_file) = match with_env_file(&process_env, files) {
            Ok(found) => found,
            Err(error) => return Err((out, error)),
        };
        let overrides = Overrides {
            config_dir: common.places.config_dir.clone(),
            config_path: common.places.config_path.clone(),
            log_path: common.places.log_path.clone(),
            pid_path: common.places.pid_path.clone(),
        };
        match Paths::resolve(&overrides, &env) {
            Ok(paths) => Ok(Self {
                process_env,
                env,
                env_file,
                paths,
                places: common.places.clone(),
                verbose: common.verbose,
                out,
            }),
            Err(error) => Err((out, CliError::failed(error.to_string()))),
        }
    }

    /// Makes and secures the state directory; the default one gives way to the fallback when it takes no writes.
    pub(crate) fn prepare(&mut self) -> Result<(), CliError> {
        let place = place::prepare(&self.paths)?;
        if let Some(moved) = &place.moved_from {
            let details = Details::new()
                .add("Details", &moved.reason)
                .verbose("Fallback", self.out.path(&place.paths.dir))
                .verbose("Previous", self.out.path(&moved.dir));
            self.out.warn(
                "Gateway config directory not writable; using fallback location.",
                &details,
            );
        }
        self.paths = place.paths;
        Ok(())
    }

    /// The session file.
    pub(crate) fn sessions(&self) -> SessionStore {
        SessionStore::new(&self.paths)
    }

    /// The session of a paired host.
    pub(crate) fn paired(&self) -> Result<Session, CliError> {
        self.sessions().load()?.ok_or_else(|| {
            CliError::with(
                Exit::NO_CREDENTIAL,
                "Gateway config not found. Run \"pair\" first or set --config-path / PANORAMA_GATEWAY_CONFIG_PATH.",
            )
            .detail(self.out.path(&self.paths.config_file))
            .hint("gateway pair CODE; or `gateway up` for everything on this machine")
        })
    }

    /// The control plane this host is paired with.
    pub(crate) fn paired_backend(&self) -> Result<Backend, CliError> {
        let session = self.paired()?;
        Ok(Backend {
            url: session.supabase_url,
            anon_key: session.anon_key,
        })
    }

    /// The control plane for `start`: the paired one, perhaps under another address of it.
    pub(crate) fn backend_for_start(&self, flags: &BackendArgs) -> Result<Backend, CliError> {
        let stored = self.paired_backend()?;
        Ok(backend::for_paired(&flags.to_config(), &self.env, &stored)?)
    }

    /// The control plane for `pair`: the one that is named, else the one that this host is paired with.
    pub(crate) fn backend_for_pairing(&self, flags: &BackendArgs) -> Result<Backend, CliError> {
        let known = self.sessions().load().ok().flatten();
        let known = known.map(|session| Backend {
            url: session.supabase_url,
            anon_key: session.anon_key,
        });
        Ok(backend::for_pairing(&flags.to_config(), &self.env, known)?)
    }

    /// Settings of a daemon.
    pub(crate) fn settings(&self, drain_timeout: Option<std::time::Duration>) -> Settings {
        let flags = SettingsFlags {
            drain_timeout,
            claude_cli: self.places.claude_cli.clone(),
            codex_cli: self.places.codex_cli.clone(),
            gemini_cli: self.places.gemini_cli.clone(),
        };
        Settings::resolve(&flags, &self.env)
    }

    /// The state directory, made and secured.
    pub(crate) fn state_dir(&self) -> Result<OwnerDir, CliError> {
        OwnerDir::open_or_create(&self.paths.dir).map_err(CliError::from)
    }

    fn existing_state_dir(&self) -> Option<OwnerDir> {
        OwnerDir::open(&self.paths.dir).ok().flatten()
    }

    /// The daemon's process id, by its lock; 0 when it holds the lock without having written its id yet.
    pub(crate) fn daemon_pid(&self) -> Option<u32> {
        let holder = StateLock::holder(&self.existing_state_dir()?, DAEMON_LOCK).ok()??;
        Some(holder.pid.unwrap_or_default())
    }

    /// What the PID file says, which is for people and proves nothing.
    pub(crate) fn recorded_pid(&self) -> Option<u32> {
        let (dir, name) = split(&self.paths.pid_file)?;
        let bytes = OwnerDir::find_shared(&dir).ok()??.read(&name).ok()??;
        std::str::from_utf8(&bytes).ok()?.trim().parse().ok()
    }

    /// Removes a PID file that names nothing of ours.
    pub(crate) fn remove_pid_file(&self) -> bool {
        let Some((dir, name)) = split(&self.paths.pid_file) else {
            return false;
        };
        let dir = OwnerDir::find_shared(&dir).ok().flatten();
        dir.is_some_and(|dir| dir.remove(&name).unwrap_or(false))
    }

    /// Why the last daemon ended.
    pub(crate) fn last_exit(&self) -> Option<LastExit> {
        last_exit::load(&self.existing_state_dir()?).ok().flatten()
    }

    /// The saved operator credential.
    pub(crate) fn operator(&self) -> Result<Option<operator::Operator>, CliError> {
        match OwnerDir::open(&self.paths.dir)? {
            Some(dir) => operator::load(&dir).map_err(CliError::from),
            None => Ok(None),
        }
    }

    /// The log, opened for appending; both outputs of the daemon go there before its own log is open.
    pub(crate) fn open_log(&self) -> Result<File, CliError> {
        self.state_dir()?;
        let (dir, name) = split(&self.paths.log_file)
            .ok_or_else(|| CliError::usage("The log path names no file.").hint("--log-path FILE"))?;
        Ok(OwnerDir::open_shared(&dir)?.append(&name)?)
    }

    /// This program.
    pub(crate) fn program(&self) -> Result<PathBuf, CliError> {
        std::env::current_exe()
            .map_err(|error| CliError::failed("This program cannot be found on disk.").detail(error.to_string()))
    }
}

impl BackendArgs {
    pub(crate) fn to_config(&self) -> BackendFlags {
        BackendFlags {
            url: self.supabase_url.clone(),
            anon_key: self.anon_key.clone().map(Secret::new),
        }
    }
}

impl From<BackendError> for CliError {
    fn from(error: BackendError) -> Self {
        let message = match error {
            BackendError::NoneNamed { .. } => "Missing Supabase configuration for pairing.",
            BackendError::NotAnAddress { .. } => "The address of the control plane cannot be used.",
            BackendError::OtherOrigin { .. } => "The pairing belongs to another control plane.",
            BackendError::NoKey { .. } => "Missing Supabase configuration for gateway start.",
        };
        Self::failed(message).detail(error.to_string()).hint(error.next())
    }
}

impl From<FsError> for CliError {
    fn from(error: FsError) -> Self {
        let mend = error.mend();
        let message = if error.is_full() || error.is_read_only() {
            "Gateway state cannot be written."
        } else {
            "Gateway state permissions could not be secured."
        };
        let failed = Self::failed(message).detail(error.to_string());
        match mend {
            Some(command) => failed.hint(command),
            None => failed,
        }
    }
}

impl From<SessionError> for CliError {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::File(error) => Self::from(error),
            SessionError::NotPaired { .. } => Self::with(Exit::NO_CREDENTIAL, error.to_string()),
            SessionError::Corrupt { .. } | SessionError::Incomplete { .. } => {
                let failed = Self::failed("Gateway config cannot be read.").detail(error.to_string());
                failed.hint(error.mend().unwrap_or_default())
            }
            SessionError::Busy(_) | SessionError::Encode(_) => Self::failed(error.to_string()),
        }
    }
}

impl From<OperatorError> for CliError {
    fn from(error: OperatorError) -> Self {
        match error {
            OperatorError::File(error) => Self::from(error),
            OperatorError::Corrupt { .. } => Self::with(Exit::NO_CREDENTIAL, error.to_string()),
        }
    }
}

fn split(path: &std::path::Path) -> Option<(PathBuf, String)> {
    let name = path.file_name()?.to_str()?.to_owned();
    Some((path.parent()?.to_path_buf(), name))
}

fn with_env_file(env: &Environment, files: Option<&EnvFileArgs>) -> Result<(Environment, Option<PathBuf>), CliError> {
    let asked = files.and_then(|files| env_file::asked(files.env_file.as_deref(), files.env.as_deref(), env));
    let Some(asked) = asked else {
        return Ok((env.clone(), None));
    };
    let cwd = std::env::current_dir()
        .map_err(|error| CliError::failed("The current directory is gone.").detail(error.to_string()))?;
    let path = env_file::path_of(&asked, &cwd);
    let entries = env_file::read(&path).map_err(|error| match error {
        env_file::EnvFileError::NotFound { path } => {
            CliError::failed("Environment file not found.").detail(format!("Path: {}", path.display()))
        }
        env_file::EnvFileError::Unreadable { .. } | env_file::EnvFileError::Malformed { .. } => {
            CliError::failed("The environment file cannot be used.").detail(error.to_string())
        }
    })?;
    Ok((env.clone().with_file(entries), Some(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_no_matter_of_permissions() {
        for kind in [std::io::ErrorKind::StorageFull, std::io::ErrorKind::ReadOnlyFilesystem] {
            let error = CliError::from(FsError::io("write", "/state", kind));
            assert_eq!(error.message, "Gateway state cannot be written.");
        }
    }
}
