//! A test in a process of its own, also when the runner puts many into one: for limits and peaks of the process.

use std::time::Duration;

use gateway::process::env::ChildEnv;
use gateway::process::spawn::spawn;
use gateway::process::spec::Spec;
use tokio_util::sync::CancellationToken;

const MARK: &str = "GATEWAY_TEST_ALONE";
const PATIENCE: Duration = Duration::from_secs(120);

/// True in the process of its own. Everywhere else it runs the test named `test` there, and the caller is done.
pub(crate) async fn alone(test: &str) -> bool {
    if std::env::var_os(MARK).is_some() {
        return true;
    }
    let env = ChildEnv::exactly(std::env::vars_os()).with(MARK, "1");
    let mut spec = Spec::new(std::env::current_exe().unwrap(), env)
        .args(["--exact", test, "--nocapture"])
        .timeout(PATIENCE);
    spec.cwd = std::env::current_dir().unwrap();
    let exit = spawn(spec).unwrap().wait(CancellationToken::new()).await;
    let said = [exit.stdout.bytes.as_slice(), exit.stderr.bytes.as_slice()].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(exit.exit_code == Some(0) && said.contains("1 passed"), "{said}");
    false
}

/// Highest memory use of this process so far, in kilobytes.
pub(crate) fn peak_rss_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
