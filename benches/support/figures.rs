//! The table: what was measured, what it must not exceed.

use std::process::ExitCode;

/// A bound that a release has to keep.
#[derive(Debug, Clone, Copy)]
pub enum Guard {
    AtMost(f64),
    AtLeast(f64),
}

/// One row.
pub struct Figure {
    name: &'static str,
    value: f64,
    unit: &'static str,
    note: String,
    guard: Option<Guard>,
}

impl Figure {
    pub const fn new(name: &'static str, value: f64, unit: &'static str) -> Self {
        Self {
            name,
            value,
            unit,
            note: String::new(),
            guard: None,
        }
    }

    pub fn note(mut self, note: String) -> Self {
        self.note = note;
        self
    }

    pub const fn guard(mut self, guard: Guard) -> Self {
        self.guard = Some(guard);
        self
    }

    fn holds(&self) -> bool {
        match self.guard {
            None => true,
            Some(Guard::AtMost(most)) => self.value <= most,
            Some(Guard::AtLeast(least)) => self.value >= least,
        }
    }

    fn line(&self) -> String {
        let guard = match self.guard {
            None => String::new(),
            Some(Guard::AtMost(most)) => format!("≤ {most} {}", self.unit),
            Some(Guard::AtLeast(least)) => format!("≥ {least} {}", self.unit),
        };
        let digits = if self.value < 10.0 { 2 } else { 1 };
        let broken = if self.holds() { "" } else { " **broken**" };
        format!(
            "| {} | {guard} | {:.digits$} {}{}{broken} |",
            self.name, self.value, self.unit, self.note
        )
    }
}

/// Prints the table. With `--check` a broken guard is a failure.
pub fn report(figures: &[Figure]) -> ExitCode {
    println!("\n| measure | guard | measured |\n|---|---|---|");
    for figure in figures {
        println!("{}", figure.line());
    }
    if std::env::args().any(|arg| arg == "--check") && !figures.iter().all(Figure::holds) {
        eprintln!("\na guard is broken");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// The value below which `share` of the values lie.
pub fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1) as f64;
    values.get((last * share).round() as usize).copied().unwrap_or(f64::NAN)
}
