//! The command line: commands, and the options that every command has.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand};

use crate::cli::output::Color;
use crate::cli::{
    audit, completions, control_plane, doctor, exec, fake_model, full_control, help, job, login, logs, pair, providers,
    run, shell, start, status, stop, texts, unpair, up, workspace,
};

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "gateway",
    version,
    about = "Turns a machine you control into a safe host for coding agents",
    help_template = texts::TOP_TEMPLATE,
    args_override_self = true,
    disable_help_subcommand = true,
    infer_long_args = false,
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,

    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// Options of every command.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Common {
    /// Show more details; on a terminal also debug messages of a foreground daemon
    #[arg(short, long, global = true, action = ArgAction::SetTrue, help_heading = "Output")]
    pub(crate) verbose: bool,

    /// When to use colour; `NO_COLOR` is followed
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "WHEN",
        help_heading = "Output",
        hide_short_help = true
    )]
    pub(crate) color: Color,

    #[command(flatten)]
    pub(crate) places: Places,
}

/// Where the state is, and which agent CLIs to use. Each wins over its environment variable.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "State directory and agent CLIs")]
pub(crate) struct Places {
    /// State directory [env: PANORAMA_GATEWAY_CONFIG_DIR] [default: ~/.panorama/gateway]
    #[arg(long, global = true, value_name = "DIR", hide_short_help = true)]
    pub(crate) config_dir: Option<PathBuf>,

    /// Session file [env: PANORAMA_GATEWAY_CONFIG_PATH] [default: gateway.json in the state directory]
    #[arg(long, global = true, value_name = "FILE", hide_short_help = true)]
    pub(crate) config_path: Option<PathBuf>,

    /// Log file [env: PANORAMA_GATEWAY_LOG_PATH] [default: gateway.log beside the session file]
    #[arg(long, global = true, value_name = "FILE", hide_short_help = true)]
    pub(crate) log_path: Option<PathBuf>,

    /// PID file, for people [env: PANORAMA_GATEWAY_PID_PATH] [default: gateway.pid beside the session file]
    #[arg(long, global = true, value_name = "FILE", hide_short_help = true)]
    pub(crate) pid_path: Option<PathBuf>,

    /// Claude Code command [env: PANORAMA_CLAUDE_CLI, CLAUDE_CLI]
    #[arg(long, global = true, value_name = "PATH", hide_short_help = true)]
    pub(crate) claude_cli: Option<String>,

    /// Codex command [env: PANORAMA_CODEX_CLI, CODEX_CLI]
    #[arg(long, global = true, value_name = "PATH", hide_short_help = true)]
    pub(crate) codex_cli: Option<String>,

    /// Gemini command [env: PANORAMA_GEMINI_CLI, GEMINI_CLI]
    #[arg(long, global = true, value_name = "PATH", hide_short_help = true)]
    pub(crate) gemini_cli: Option<String>,
}

/// Which environment file to load; none unless asked for.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct EnvFileArgs {
    /// Load `.env` (local) or `.env.NAME`: local, dev, test, stage, prod [env: PANORAMA_ENV]
    #[arg(long, value_name = "NAME")]
    pub(crate) env: Option<String>,

    /// Load this environment file [env: PANORAMA_ENV_FILE]
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Option<PathBuf>,
}

/// Another control plane than the default.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct BackendArgs {
    /// Address of the control plane [env: PANORAMA_SUPABASE_URL]
    #[arg(long, value_name = "URL")]
    pub(crate) supabase_url: Option<String>,

    /// Its public (anon) key [env: PANORAMA_SUPABASE_ANON_KEY]
    #[arg(long, value_name = "KEY")]
    pub(crate) anon_key: Option<String>,
}

/// For commands that only read.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct JsonArg {
    /// Print one JSON document
    #[arg(long, help_heading = "Output")]
    pub(crate) json: bool,
}

/// Every command.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Pair this host with a team, then start
    Pair(pair::PairArgs),
    /// End the pairing: revoke the session and forget it
    Unpair(unpair::UnpairArgs),
    /// Start the gateway in the background
    Start(start::StartArgs),
    /// Stop the gateway, and the control plane that `up` started
    Stop(stop::StopArgs),
    /// Show whether the gateway runs and how it is
    Status(status::StatusArgs),
    /// Show the gateway's log
    Logs(logs::LogsArgs),
    /// Show what was done on this host, and who asked
    Audit(audit::AuditArgs),
    /// Show or change machine control of this host
    FullControl(full_control::FullControlArgs),
    /// Examine this host and say what to mend
    Doctor(doctor::DoctorArgs),
    /// Show and set up the agent CLIs of this host
    Providers(providers::ProvidersArgs),
    /// Say where agents may work on this host
    Workspace(workspace::WorkspaceArgs),
    /// Run everything on this machine: control plane and gateway, paired
    Up(up::UpArgs),
    /// Run a command on a gateway and show its output
    Exec(exec::ExecArgs),
    /// Give an agent on a gateway a task and watch it
    Run(run::RunArgs),
    /// Open a shell on a gateway, on this terminal
    Shell(shell::ShellArgs),
    /// Submit, list, show, watch and cancel jobs
    Job(job::JobArgs),
    /// Save an operator credential for exec, run, shell and job
    Login(login::LoginArgs),
    /// Serve and administer a control plane
    ControlPlane(control_plane::ControlPlaneArgs),
    /// Serve a scripted model, to try the agents without an account
    FakeModel(fake_model::FakeModelArgs),
    /// Print a completion script for a shell
    Completions(completions::CompletionsArgs),
    /// Explain a command or a topic
    Help(help::HelpArgs),
}
