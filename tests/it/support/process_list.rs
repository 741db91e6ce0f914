//! Who runs on this machine.

pub(crate) use system::{any_runs, with_variable};
#[cfg(target_os = "linux")]
pub(crate) use system::{any_runs_at_all, with_any_mark};

#[cfg(not(target_os = "macos"))]
mod system {
    use nix::unistd::Pid;

    /// Every process that was started with `variable` (`NAME=value`) in its environment.
    pub(crate) fn with_variable(variable: &str) -> Vec<Pid> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else {
                continue;
            };
            let environ = std::fs::read(entry.path().join("environ")).unwrap_or_default();
            if environ.split(|byte| *byte == 0).any(|pair| pair == variable.as_bytes()) {
                found.push(Pid::from_raw(pid));
            }
        }
        found
    }

    /// Whether a process with `variable` in its environment has `word` in its command line.
    pub(crate) fn any_runs(word: &str, variable: &str) -> bool {
        let line = |pid| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        with_variable(variable).into_iter().any(|pid| line(pid).contains(word))
    }

    /// Every process with a variable that begins like this (`NAME=`), and the rest of it.
    #[cfg(target_os = "linux")]
    pub(crate) fn with_any_mark(start: &str) -> Vec<(i32, String)> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else {
                continue;
            };
            let environ = std::fs::read(entry.path().join("environ")).unwrap_or_default();
            let marks = environ
                .split(|byte| *byte == 0)
                .filter_map(|pair| pair.strip_prefix(start.as_bytes()));
            found.extend(marks.map(|mark| (pid, String::from_utf8_lossy(mark).into_owned())));
        }
        found
    }

    /// Whether any process has `word` in its command line, whatever its environment.
    #[cfg(target_os = "linux")]
    pub(crate) fn any_runs_at_all(word: &str) -> bool {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let mut lines = processes.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
        lines.any(|line| String::from_utf8_lossy(&line).contains(word))
    }
}

#[cfg(target_os = "macos")]
mod system {
    use nix::unistd::Pid;

    /// Every process that was started with `variable` (`NAME=value`) in its environment. The system hides the
    /// environment of its own programs, so shells and what they start from `/bin` are not among them.
    pub(crate) fn with_variable(variable: &str) -> Vec<Pid> {
        let owner = |line: &str| {
            let (pid, rest) = line.trim_start().split_once(' ')?;
            rest.split(' ').any(|word| word == variable).then_some(())?;
            pid.parse().ok().map(Pid::from_raw)
        };
        ps("-axEww").lines().filter_map(owner).collect()
    }

    /// Whether any process has `word` among the words of its command line. For the reason above it may be anybody's:
    /// take a word that nobody else has.
    pub(crate) fn any_runs(word: &str, _variable: &str) -> bool {
        ps("-axww").split_whitespace().any(|found| found == word)
    }

    #[expect(clippy::disallowed_methods, reason = "tests ask the system's own tool")]
    fn ps(options: &str) -> String {
        let mut command = std::process::Command::new("/bin/ps");
        let output = command.args([options, "-o", "pid=,command="]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}
