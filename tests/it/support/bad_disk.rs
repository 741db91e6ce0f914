//! A disk that fails: strace makes chosen calls of a program fail, or kills it there. The program is the delivered one;
//! nothing in it knows of this.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blow {
    /// It does nothing and fails with this error.
    Error(&'static str),
    /// The program is killed before it.
    Kill,
}

/// Which calls of a program fail, and how.
#[derive(Debug)]
pub(crate) struct BadDisk {
    calls: &'static str,
    blow: Blow,
    when: String,
    paths: Vec<PathBuf>,
    dir: TempDir,
}

impl BadDisk {
    /// Every call of these names, separated by commas.
    pub(crate) fn new(calls: &'static str, blow: Blow) -> Self {
        Self {
            calls,
            blow,
            when: "1+".to_owned(),
            paths: Vec::new(),
            dir: tempfile::tempdir().unwrap(),
        }
    }

    /// Only the `nth` one of each thread; the first one is 1.
    pub(crate) fn nth(mut self, nth: u32) -> Self {
        self.when = nth.to_string();
        self
    }

    /// Only so many of each thread: then the disk is well.
    pub(crate) fn first(mut self, count: u32) -> Self {
        self.when = format!("1..{count}");
        self
    }

    /// Only calls about this file: its whole path, or the name as the program gives it.
    pub(crate) fn at(mut self, path: impl AsRef<Path>) -> Self {
        self.paths.push(path.as_ref().to_path_buf());
        self
    }

    /// What stands between `strace` and the program. With `-D` before it, the program is the direct child of whoever
    /// starts this.
    pub(crate) fn before(&self) -> Vec<String> {
        let inject = match self.blow {
            Blow::Error(error) => format!("inject={}:error={error}:when={}", self.calls, self.when),
            Blow::Kill => format!("inject={}:signal=KILL:when={}", self.calls, self.when),
        };
        let (trace, log) = (format!("trace={}", self.calls), self.log().display().to_string());
        let options = ["-f", "-qq", "-o", &log, "-e", &trace, "-e", &inject];
        // Other calls cost next to nothing then, but no signal is sent.
        let fast = (self.blow != Blow::Kill).then_some("--seccomp-bpf");
        let paths = self
            .paths
            .iter()
            .flat_map(|path| ["-P".to_owned(), path.display().to_string()]);
        fast.into_iter()
            .chain(options)
            .map(str::to_owned)
            .chain(paths)
            .collect()
    }

    /// Whether a call was hit; known once strace has ended.
    pub(crate) fn has_struck(&self) -> bool {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        match self.blow {
            Blow::Error(_) => log.contains("(INJECTED)"),
            Blow::Kill => log.contains("killed by SIGKILL"),
        }
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("calls")
    }
}
