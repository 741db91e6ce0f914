//! Texts of the help that are more than one option's line.

/// The help without a command. Commands are grouped by what a person wants; a test keeps the list complete.
pub(crate) const TOP_TEMPLATE: &str = "\
{about}

{usage-heading} gateway [OPTIONS] <COMMAND>

Try it on this machine:
  up             Run everything here: control plane and gateway, paired
  exec           Run a command on a gateway and show its output
  run            Give an agent on a gateway a task and watch it
  shell          Open a shell on a gateway, on this terminal
  fake-model     Serve a scripted model, to try the agents without an account

This host as a gateway:
  pair           Pair this host with a team, then start
  unpair         End the pairing: revoke the session and forget it
  start          Start the gateway in the background
  stop           Stop the gateway, and the control plane that `up` started
  status         Show whether the gateway runs and how it is
  logs           Show the gateway's log
  audit          Show what was done on this host, and who asked
  full-control   Show or change machine control of this host
  providers      Show and set up the agent CLIs of this host
  workspace      Say where agents may work on this host
  doctor         Examine this host and say what to mend

Jobs, as an operator:
  login          Save an operator credential for exec, run, shell and job
  job            Submit, list, show, watch and cancel jobs

A control plane of your own:
  control-plane  Serve and administer a control plane

Help:
  help           Explain a command or a topic: examples, environment, exit-codes
  completions    Print a completion script for a shell

Options:
  -v, --verbose  Show more details
  -h, --help     Show help; `gateway help COMMAND` explains one command
  -V, --version  Show the version

  `gateway COMMAND --help` also shows what every command takes, such as
  --config-dir DIR and --color WHEN

Examples:
  gateway exec --up --full-control -- uname -a   from nothing, in one command
  gateway pair CODE                              join a team, then start
  gateway status --json                          for programs
";

/// Topics of `gateway help`, beside the commands.
pub(crate) const TOPICS: &[&str] = &["examples", "environment", "exit-codes"];

/// `gateway help examples`.
pub(crate) const EXAMPLES: &str = "\
Everything on one machine:
  gateway up --full-control          both processes; Ctrl-C stops them
  gateway up --detach                in the background; `gateway stop` ends it
  gateway exec -- uname -a           run a command as a job, end to end
  gateway exec -- 'ls | wc -l'       one word is a shell command line
  gateway exec --timeout 5 -- make   124 when it takes longer
  gateway shell                      a shell there, on this terminal

Agents:
  gateway providers list             what is installed here, and how it is
  gateway workspace add ~/code       agents may work there
  gateway run \"Explain this\"         watched live
  gateway run --resume \"And why?\"    the same agent, the same session
  gateway run --full-control --cwd ~/code/app \"Make the tests pass\"
  git diff | gateway run -           the prompt from stdin

A host joins a team:
  gateway pair CODE                  pairs, then starts in the background
  gateway pair --full-control CODE   and allows commands on this host
  gateway status
  gateway logs                       follows; `--no-follow` prints and ends
  gateway audit                      what was done here, and who asked

Machine control has three layers; a command needs all of them:
  gateway full-control enable                         host, typed there
  gateway control-plane gateway full-control ID on    team
  gateway control-plane resource full-control ID on   resource

Jobs from another machine:
  gateway login --url http://10.0.0.5:54400 --anon-key KEY --token-file token
  gateway job submit --watch -- uname -a
  gateway job list
  gateway job show ID                which way it came, every step and its time
  gateway job cancel ID

Stopping:
  gateway stop                       running jobs get 15 s, then are cancelled
  gateway stop --drain 10m           running jobs get ten minutes
  gateway stop --now                 running jobs are cancelled
";

/// `gateway help environment`.
pub(crate) const ENVIRONMENT: &str = "\
A flag wins over its variable, a variable over the default. Blank values count
as unset. Booleans: 1, true, yes, on, 0, false, no, off.

State:
  PANORAMA_GATEWAY_CONFIG_DIR
      state directory [~/.panorama/gateway]
  PANORAMA_GATEWAY_CONFIG_PATH
      session file [gateway.json in it]
  PANORAMA_GATEWAY_LOG_PATH
      log file [gateway.log beside it]
  PANORAMA_GATEWAY_PID_PATH
      PID file, for people [gateway.pid beside it]
  HOME
      where the state directory is, unless it is named above
  XDG_DATA_HOME
      where it goes when it cannot be written in HOME (Linux) [~/.local/share]

Control plane:
  PANORAMA_SUPABASE_URL
      its address; on a paired host another spelling of the same address
  PANORAMA_SUPABASE_ANON_KEY
      its public key
  SUPABASE_URL, SUPABASE_ANON_KEY, SUPABASE_PUBLISHABLE_KEY
      the same, for `pair` only, after the two above
  PANORAMA_ENV
      load `.env` (local) or `.env.NAME`: dev, test, stage, prod
  PANORAMA_ENV_FILE
      load this environment file; none is loaded unless one of the two, --env or
      --env-file asks for it (ENVIRONMENT and PANORAMA_ENV_PATH do not)
  GATEWAY_DATABASE_URL
      database of the `control-plane` commands, when --database is not given
      [the one of `gateway up`]

Gateway:
  PANORAMA_GATEWAY_DEVICE_NAME
      label of this host, for `pair` and `up` [its host name]
  PANORAMA_GATEWAY_CONCURRENCY
      jobs at once, 1 to 256 [10]
  PANORAMA_GATEWAY_SHUTDOWN_GRACE_MS
      time for running jobs at a shutdown [60000]
  PANORAMA_GATEWAY_AUTO_RESTART, PANORAMA_GATEWAY_RESTART_CHECK_MS,
  PANORAMA_GATEWAY_RESTART_MAX_WAIT_MS
      accepted, but this version does not restart itself after an upgrade:
      gateway stop && gateway start
  PANORAMA_CLAUDE_CLI, PANORAMA_CODEX_CLI, PANORAMA_GEMINI_CLI
      agent CLIs; after them CLAUDE_CLI, CODEX_CLI, GEMINI_CLI

Operator:
  GATEWAY_TOKEN
      operator token; wins over the saved one, and is what `login` saves when
      there is no --token-file

Terminal:
  NO_COLOR
      no colour, unless --color says otherwise

While building:
  GATEWAY_DEFAULT_URL, GATEWAY_DEFAULT_ANON_KEY
      control plane that `pair` uses when nothing names one
";
