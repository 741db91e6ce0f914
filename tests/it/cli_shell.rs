//! `gateway shell`: the built program on a terminal of its own, and on pipes.

use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, tcgetattr};
use nix::unistd::Pid;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Child;

use crate::support::eventually::{PATIENCE, eventually};
use crate::support::sandbox::Sandbox;

/// The program on a terminal.
struct Terminal {
    pty: pty_process::Pty,
    /// Kept open, so that the terminal can be looked at when the program is gone.
    far_end: std::fs::File,
    child: Child,
    said: String,
}

impl Terminal {
    fn start(sandbox: &Sandbox, args: &[&str]) -> Self {
        let (pty, far_end) = pty_process::open().unwrap();
        pty.resize(pty_process::Size::new(33, 99)).unwrap();
        let name = nix::unistd::ttyname(&far_end).unwrap();
        let kept = std::fs::OpenOptions::new().read(true).write(true).open(name).unwrap();
        let child = pty_process::Command::from(sandbox.command(args))
            .spawn(far_end)
            .unwrap();
        Self {
            pty,
            far_end: kept,
            child,
            said: String::new(),
        }
    }

    async fn types(&mut self, keys: &[u8]) {
        self.pty.write_all(keys).await.unwrap();
    }

    /// Reads until the terminal shows `text`, which is then forgotten with everything before it.
    async fn shows(&mut self, text: &str) {
        let mut buffer = vec![0; 4096];
        while !self.said.contains(text) {
            let read = tokio::time::timeout(PATIENCE, self.pty.read(&mut buffer)).await;
            let length = read
                .unwrap_or_else(|_| panic!("no {text:?} in {:?}", self.said))
                .unwrap();
            self.said.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
        let end = self.said.find(text).unwrap() + text.len();
        self.said.drain(..end);
    }

    fn is_raw(&self) -> bool {
        !tcgetattr(&self.far_end)
            .unwrap()
            .local_flags
            .contains(LocalFlags::ICANON)
    }

    /// Its exit code. Whatever happened, the terminal is as it was.
    async fn ended(mut self) -> i32 {
        let status = tokio::time::timeout(PATIENCE, self.child.wait())
            .await
            .unwrap()
            .unwrap();
        assert!(!self.is_raw(), "the terminal was left raw");
        status.code().unwrap()
    }
}

#[tokio::test]
async fn a_shell_on_a_terminal_types_shows_resizes_and_ends_with_its_code() {
    let sandbox = Sandbox::new();
    sandbox.up().await;
    let mut terminal = Terminal::start(&sandbox, &["shell"]);
    terminal.types(b"stty size\r").await;
    terminal.shows("33 99").await;
    assert!(terminal.is_raw());
    terminal.pty.resize(pty_process::Size::new(22, 66)).unwrap();
    terminal
        .types(b"until [ \"$(stty size)\" = '22 66' ]; do sleep 0.05; done; echo re'sized'\r")
        .await;
    terminal.shows("resized").await;
    // Ctrl-C is the shell's, not ours; the loop ends and the shell goes on.
    terminal.types(b"echo be'gun'; sleep 4331\r").await;
    terminal.shows("begun").await;
    terminal.types(b"\x03").await;
    terminal.types("printf '%s\\n' 'gr\u{fc}'ne; exit 7\r".as_bytes()).await;
    terminal.shows("grüne\r").await;
    assert_eq!(terminal.ended().await, 7);
    assert!(!sandbox.runs("4331"));
}

#[tokio::test]
async fn leaving_and_being_ended_close_the_shell_and_restore_the_terminal() {
    let sandbox = Sandbox::new();
    sandbox.up().await;
    for (number, code) in [("4332", 0), ("4333", 130)] {
        let mut terminal = Terminal::start(&sandbox, &["shell"]);
        terminal
            .types(format!("echo be'gun'; sleep {number}\r").as_bytes())
            .await;
        terminal.shows("begun").await;
        eventually("the command runs", || async { sandbox.runs(number).then_some(()) }).await;
        if code == 0 {
            terminal.types(b"\x1d").await;
        } else {
            let pid = Pid::from_raw(i32::try_from(terminal.child.id().unwrap()).unwrap());
            kill(pid, Signal::SIGTERM).unwrap();
        }
        assert_eq!(terminal.ended().await, code);
        assert!(!sandbox.runs(number));
    }
}

#[tokio::test]
async fn on_pipes_stdin_is_passed_on_with_its_end_and_the_streams_stay_apart() {
    let sandbox = Sandbox::new();
    sandbox.up().await;
    let mut command = sandbox.command(["shell"]);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin
        .write_all(b"echo out; echo err >&2\ntty -s || echo none; exit 3\n")
        .await
        .unwrap();
    drop(stdin);
    let done = tokio::time::timeout(PATIENCE, child.wait_with_output())
        .await
        .unwrap()
        .unwrap();
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(
        (done.status.code(), said(&done.stdout)),
        (Some(3), "out\nnone\n".to_owned())
    );
    assert_eq!(said(&done.stderr), "err\n");
}

#[tokio::test]
async fn input_waits_for_a_command_that_does_not_read_yet() {
    const BYTES: usize = 200_000;
    let sandbox = Sandbox::new();
    sandbox.up().await;
    let flag = sandbox.home().join("read");
    let command = format!("until [ -e {} ]; do sleep 0.05; done; wc -c", flag.display());
    let mut command = sandbox.command(["shell", "--", &command]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&[b'x'; BYTES]).await.unwrap();
    drop(stdin);
    eventually("a write that took too long", || async {
        let jobs = sandbox.json(&["job", "list", "--json"]).await;
        jobs.as_array()?
            .iter()
            .find(|job| job["status"] == "failed")
            .map(|_| ())
    })
    .await;
    std::fs::create_dir(flag).unwrap();
    let done = tokio::time::timeout(PATIENCE, child.wait_with_output())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&done.stdout).trim(), BYTES.to_string());
}

#[tokio::test]
async fn a_shell_ends_with_the_reader_of_its_output() {
    let sandbox = Sandbox::new();
    sandbox.up().await;
    let mut command = sandbox.command(["shell", "--", "while sleep 0.01; do echo 4336; done"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 4]).await.unwrap();
    drop(stdout);
    let status = tokio::time::timeout(PATIENCE, child.wait()).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(1));
    assert!(!sandbox.runs("4336"));
}

#[tokio::test]
async fn a_command_of_its_own_and_a_refusal() {
    let sandbox = Sandbox::new();
    sandbox.up().await;
    let done = sandbox
        .run(&["shell", "--", "printf", "%s|", "a b", "$HOME"])
        .await
        .ok();
    assert_eq!(done.stdout, "a b|$HOME|");
    sandbox.run(&["shell", "--", "kill -9 $$"]).await.exits(137);
    let gateway = sandbox.gateway_id().await;
    sandbox
        .run(&["control-plane", "gateway", "full-control", &gateway, "off"])
        .await
        .ok();
    let refused = sandbox.run(&["shell", "--", "true"]).await.exits(6);
    assert!(refused.stderr.contains("full-control"), "{}", refused.stderr);
}

#[tokio::test]
async fn a_shell_nobody_asks_about_ends_when_host_team_or_resource_say_no() {
    let sandbox = Sandbox::new();
    sandbox.up().await;
    let gateway = sandbox.gateway_id().await;
    let resource = sandbox.resource_of(&gateway).await;
    let open = json!({"action": "open", "resource_id": resource, "shell_args": ["-c", "setsid sleep 4337 & wait"]})
        .to_string();
    let job = ["job", "submit", "--watch", "--type", "shell_session", "--payload"];
    let job = [&job[..], &[&open]].concat();
    let team = ["control-plane", "gateway", "full-control", &gateway];
    let (off, on) = ([&team[..], &["off"]].concat(), [&team[..], &["on"]].concat());
    let layers: [(&[&str], &[&str]); 3] = [
        (&["full-control", "disable"], &["full-control", "enable"]),
        (&off, &on),
        (&["control-plane", "resource", "revoke", &resource], &["status"]),
    ];
    for (no, yes) in layers {
        sandbox.run(&job).await.ok();
        eventually("the command runs", || async { sandbox.runs("4337").then_some(()) }).await;
        sandbox.run(no).await.ok();
        eventually("nothing is left", || async { (!sandbox.runs("4337")).then_some(()) }).await;
        sandbox.run(yes).await.ok();
    }
}

#[tokio::test]
async fn a_stopped_and_a_killed_gateway_leave_no_shell() {
    let sandbox = Sandbox::new();
    sandbox.up().await;
    for (number, crash) in [("4334", false), ("4335", true)] {
        let mut terminal = Terminal::start(&sandbox, &["shell"]);
        terminal
            .types(format!("trap '' HUP TERM; setsid sleep {number} & echo be'gun'\r").as_bytes())
            .await;
        terminal.shows("begun").await;
        eventually("the command runs", || async { sandbox.runs(number).then_some(()) }).await;
        if crash {
            // Without its guardian, which would leave the next start nothing to do.
            let status = sandbox.json(&["status", "--json"]).await;
            let guardian = status["containment"]["guardian"].as_i64().unwrap();
            kill(Pid::from_raw(guardian.try_into().unwrap()), Signal::SIGKILL).unwrap();
            kill(sandbox.daemon_pid().await, Signal::SIGKILL).unwrap();
            eventually("the daemon is gone", || async {
                let status = sandbox.json(&["status", "--json"]).await;
                (status["running"] == false).then_some(())
            })
            .await;
            assert!(sandbox.runs(number));
            sandbox.run(&["start"]).await.ok();
        } else {
            sandbox.run(&["stop"]).await.ok();
        }
        eventually("nothing is left", || async { (!sandbox.runs(number)).then_some(()) }).await;
        terminal.child.kill().await.unwrap();
        sandbox.up().await;
    }
    tokio::time::timeout(Duration::from_secs(30), sandbox.run(&["stop"]))
        .await
        .unwrap()
        .ok();
}
