//! The only printer: text with labels for people, JSON documents for programs.
//!
//! Success and information go to stdout, warnings and errors to stderr. Colour appears on a terminal only and follows
//! `NO_COLOR`; the choice is made once in [`Output::new`].

use std::borrow::Cow;
use std::cell::Cell;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anstyle::{AnsiColor, Style};
use clap::ValueEnum;
use serde::Serialize;

use crate::cli::error::CliError;
use crate::domain::text::harmless;

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Color {
    /// The same choice in the words of the stream library.
    pub(crate) const fn choice(self) -> anstream::ColorChoice {
        match self {
            Self::Auto => anstream::ColorChoice::Auto,
            Self::Always => anstream::ColorChoice::Always,
            Self::Never => anstream::ColorChoice::Never,
        }
    }
}

/// Labelled lines under a message. Blank values are left out.
#[derive(Debug, Default)]
pub(crate) struct Details(Vec<Detail>);

#[derive(Debug)]
struct Detail {
    label: &'static str,
    value: String,
    verbose: bool,
}

impl Details {
    /// No lines yet.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// A line that is always shown.
    pub(crate) fn add(self, label: &'static str, value: impl std::fmt::Display) -> Self {
        self.push(label, value, false)
    }

    /// A line that is shown when there is a value.
    pub(crate) fn maybe(self, label: &'static str, value: Option<impl std::fmt::Display>) -> Self {
        match value {
            Some(value) => self.add(label, value),
            None => self,
        }
    }

    /// A line for `--verbose` only.
    pub(crate) fn verbose(self, label: &'static str, value: impl std::fmt::Display) -> Self {
        self.push(label, value, true)
    }

    /// A line for `--verbose` only, shown when there is a value.
    pub(crate) fn maybe_verbose(self, label: &'static str, value: Option<impl std::fmt::Display>) -> Self {
        match value {
            Some(value) => self.verbose(label, value),
            None => self,
        }
    }

    fn push(mut self, label: &'static str, value: impl std::fmt::Display, verbose: bool) -> Self {
        let value = value.to_string();
        self.0.push(Detail { label, value, verbose });
        self
    }

    fn render(&self, verbose: bool, label_style: Style) -> String {
        let mut text = String::new();
        for detail in &self.0 {
            let value = harmless(detail.value.trim_end());
            if value.trim().is_empty() || (detail.verbose && !verbose) {
                continue;
            }
            let mut lines = value.lines();
            let first = lines.next().unwrap_or_default();
            text.push_str(&format!("  {label_style}{}:{label_style:#} {first}\n", detail.label));
            for line in lines {
                text.push_str(&format!("    {line}\n"));
            }
        }
        text
    }
}

/// Where a command's words go.
#[derive(Debug)]
pub(crate) struct Output {
    verbose: bool,
    json: bool,
    home: Option<PathBuf>,
    stdout_gone: Cell<bool>,
}

const GREEN: Style = AnsiColor::Green.on_default().bold();
const YELLOW: Style = AnsiColor::Yellow.on_default().bold();
const RED: Style = AnsiColor::Red.on_default().bold();
const DIM: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();
const PLAIN: Style = Style::new();

impl Output {
    /// A printer for this process.
    pub(crate) fn new(verbose: bool, color: Color, home: Option<PathBuf>) -> Self {
        color.choice().write_global();
        Self {
            verbose,
            json: false,
            home,
            stdout_gone: Cell::new(false),
        }
    }

    /// The same printer for a command asked for JSON: text for people is left out, errors become documents.
    pub(crate) fn for_json(mut self, json: bool) -> Self {
        self.json = json;
        self
    }

    /// Whether documents are wanted.
    pub(crate) const fn is_json(&self) -> bool {
        self.json
    }

    /// Whether more details are wanted.
    pub(crate) const fn is_verbose(&self) -> bool {
        self.verbose
    }

    /// Whether the reader of stdout went away.
    pub(crate) fn stdout_gone(&self) -> bool {
        self.stdout_gone.get()
    }

    /// A path for people: the home directory is `~`.
    pub(crate) fn path(&self, path: &Path) -> String {
        let short = self.home.as_deref().filter(|home| *home != Path::new("/"));
        match short.and_then(|home| path.strip_prefix(home).ok()) {
            Some(rest) if rest.as_os_str().is_empty() => "~".to_owned(),
            Some(rest) => format!("~/{}", rest.display()),
            None => path.display().to_string(),
        }
    }

    /// `OK message` and its details.
    pub(crate) fn ok(&self, message: &str, details: &Details) {
        self.out(&format!(
            "{GREEN}OK{GREEN:#} {message}\n{}",
            details.render(self.verbose, DIM)
        ));
    }

    /// A plain line and its details.
    pub(crate) fn info(&self, message: &str, details: &Details) {
        self.out(&format!("{message}\n{}", details.render(self.verbose, DIM)));
    }

    /// A plain line that stands out, and its details.
    pub(crate) fn heading(&self, message: &str, details: &Details) {
        self.out(&format!(
            "{BOLD}{message}{BOLD:#}\n{}",
            details.render(self.verbose, DIM)
        ));
    }

    /// A plain line.
    pub(crate) fn line(&self, line: &str) {
        self.out(&format!("{line}\n"));
    }

    /// A line that shows work going on, for people at a terminal only.
    pub(crate) fn progress(&self, line: &str) {
        use std::io::IsTerminal as _;
        if !self.json && std::io::stderr().is_terminal() {
            self.err(&format!("{DIM}{line}{DIM:#}\n"));
        }
    }

    /// A line beside what is asked for, on stderr: for people, also when stdout goes elsewhere.
    pub(crate) fn aside(&self, line: &str) {
        if !self.json {
            self.err(&format!("{DIM}{line}{DIM:#}\n"));
        }
    }

    /// The same for something that went wrong and does not end the command.
    pub(crate) fn aside_fault(&self, line: &str) {
        if !self.json {
            self.err(&format!("{YELLOW}{line}{YELLOW:#}\n"));
        }
    }

    /// `OK message` on stderr, where stdout holds what was asked for.
    pub(crate) fn aside_ok(&self, message: &str, details: &Details) {
        if !self.json {
            self.err(&format!(
                "{GREEN}OK{GREEN:#} {message}\n{}",
                details.render(self.verbose, DIM)
            ));
        }
    }

    /// `WARN message` on stderr.
    pub(crate) fn warn(&self, message: &str, details: &Details) {
        self.err(&format!(
            "{YELLOW}WARN{YELLOW:#} {message}\n{}",
            details.render(self.verbose, DIM)
        ));
    }

    /// `ERROR message` on stderr, for one finding of several.
    pub(crate) fn fault(&self, message: &str, details: &Details) {
        self.err(&format!(
            "{RED}ERROR{RED:#} {message}\n{}",
            details.render(self.verbose, DIM)
        ));
    }

    /// A failed command's last words on stderr.
    pub(crate) fn error(&self, error: &CliError) {
        if self.json {
            let document = serde_json::json!({"error": {
                "message": error.message, "detail": error.detail, "hint": error.hint, "exit_code": error.exit.0,
            }});
            self.err(&format!("{document}\n"));
            return;
        }
        let details = Details::new()
            .maybe("Details", error.detail.as_deref())
            .maybe("Next", error.hint.as_deref());
        self.err(&format!(
            "{RED}ERROR{RED:#} {}\n{}",
            harmless(&error.message),
            details.render(self.verbose, DIM)
        ));
    }

    /// One JSON document on stdout.
    pub(crate) fn document(&self, document: &impl Serialize) -> Result<(), CliError> {
        let text = serde_json::to_string_pretty(document)
            .map_err(|error| CliError::failed("The answer could not be written as JSON.").detail(error.to_string()))?;
        self.raw_stdout(format!("{text}\n").as_bytes());
        Ok(())
    }

    /// A table: columns as wide as their widest cell; on a terminal the last one is cut to its width.
    pub(crate) fn table(&self, head: &[&str], rows: &[Vec<String>]) {
        let width = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            let head = head.get(column).map_or(0, |cell| cell.chars().count());
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0).max(head)
        };
        let widths: Vec<usize> = (0..head.len()).map(width).collect();
        let fits = room_for_last(&widths);
        let line = |cells: &mut dyn Iterator<Item = &str>, style: Style| {
            let mut text = String::new();
            for (column, (cell, width)) in cells.zip(&widths).enumerate() {
                let is_last = column + 1 == widths.len();
                let cell = fits
                    .filter(|_| is_last)
                    .map_or(cell.into(), |room| shortened(cell, room));
                text.push_str(&format!("{:<width$}  ", harmless(&cell)));
            }
            format!("{style}{}{style:#}\n", text.trim_end())
        };
        let mut text = line(&mut head.iter().copied(), DIM);
        for row in rows {
            text.push_str(&line(&mut row.iter().map(String::as_str), PLAIN));
        }
        self.out(&text);
    }

    /// Bytes as they came, to stdout.
    pub(crate) fn raw_stdout(&self, bytes: &[u8]) {
        let mut stream = std::io::stdout().lock();
        if stream.write_all(bytes).and_then(|()| stream.flush()).is_err() {
            self.stdout_gone.set(true);
        }
    }

    /// Bytes as they came, to stderr.
    pub(crate) fn raw_stderr(&self, bytes: &[u8]) {
        let mut stream = std::io::stderr().lock();
        if stream.write_all(bytes).is_err() {
            // Nobody reads stderr: there is no one left to tell.
        }
    }

    fn out(&self, text: &str) {
        let mut stream = anstream::stdout().lock();
        if stream.write_all(text.as_bytes()).and_then(|()| stream.flush()).is_err() {
            self.stdout_gone.set(true);
        }
    }

    fn err(&self, text: &str) {
        if anstream::stderr().lock().write_all(text.as_bytes()).is_err() {
            // Nobody reads stderr: there is no one left to tell.
        }
    }
}

/// What the other columns leave of the terminal's line; none on a pipe, and none where a cut would leave nothing.
fn room_for_last(widths: &[usize]) -> Option<usize> {
    const LEAST: usize = 8;
    let (terminal_size::Width(line), _) = terminal_size::terminal_size_of(std::io::stdout())?;
    let (_, others) = widths.split_last()?;
    let taken: usize = others.iter().map(|width| width + 2).sum();
    usize::from(line).checked_sub(taken).filter(|room| *room >= LEAST)
}

/// The text, or its beginning and `...`.
pub(crate) fn shortened(text: &str, room: usize) -> Cow<'_, str> {
    if text.chars().count() <= room {
        return Cow::Borrowed(text);
    }
    let start: String = text.chars().take(room.saturating_sub(3)).collect();
    Cow::Owned(format!("{start}..."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_skip_blanks_hide_verbose_and_indent_further_lines() {
        let details = Details::new()
            .add("Logs", "a\nb")
            .add("Blank", " ")
            .maybe("Missing", None::<&str>)
            .verbose("PID", 7);
        assert_eq!(details.render(false, PLAIN), "  Logs: a\n    b\n");
        assert_eq!(details.render(true, PLAIN), "  Logs: a\n    b\n  PID: 7\n");
    }

    #[test]
    fn details_of_a_stranger_command_no_terminal() {
        let details = Details::new().add("Details", "a\u{1b}[2J\u{1b}]0;x\u{7}");
        let text = details.render(false, PLAIN);
        assert_eq!(text, "  Details: a\u{fffd}[2J\u{fffd}]0;x\u{fffd}\n");
    }

    #[test]
    fn home_becomes_a_tilde() {
        let output = Output::new(false, Color::Never, Some(PathBuf::from("/home/a")));
        assert_eq!(output.path(Path::new("/home/a/.panorama")), "~/.panorama");
        assert_eq!(output.path(Path::new("/home/ab")), "/home/ab");
        assert_eq!(output.path(Path::new("/home/a")), "~");
    }
}
