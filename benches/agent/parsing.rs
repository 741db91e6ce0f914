//! How fast lines become events.

use std::time::Instant;

use gateway::provider::capability::Features;
use gateway::provider::driver::{Driver as _, Known};
use gateway::provider::plan::{Cli, Format};
use gateway::provider::request::RunRequest;

use crate::streams::{self, Stream};
use crate::support::figures::{Figure, Guard, quantile};

const PASSES: usize = 5;

/// One row of each CLI; the slower of its two streams has to hold.
pub fn figures() -> impl Iterator<Item = Figure> {
    let names = [
        "parsing 50 MB of Claude Code",
        "parsing 50 MB of Codex",
        "parsing 50 MB of Gemini CLI",
    ];
    names.into_iter().zip(streams::all()).map(|(name, stream)| {
        let (pieces, results) = (rate(&stream, &stream.pieces), rate(&stream, &stream.results));
        Figure::new(name, pieces.min(results), "MB/s")
            .note(format!(" (pieces {pieces:.0}, results of tools {results:.0})"))
            .guard(Guard::AtLeast(200.0))
    })
}

/// Megabytes a second, the fastest of some passes: what else the machine does can only slow one down.
fn rate(stream: &Stream, bytes: &[u8]) -> f64 {
    let features = Features::default();
    let cli = Cli {
        features: &features,
        version: None,
    };
    let mut rates: Vec<f64> = (0..PASSES)
        .map(|_| {
            let mut reader = Known.transcript(
                stream.provider,
                &RunRequest::answer("Say hello."),
                cli,
                Format::JsonLines,
            );
            let (mut events, mut lines, mut told) = (Vec::new(), 0, 0);
            let begun = Instant::now();
            for line in bytes.split(|byte| *byte == b'\n') {
                reader.line(line, &mut events);
                lines += 1;
                told += events.len();
                events.clear();
            }
            let elapsed = begun.elapsed().as_secs_f64();
            assert!(told + 1 >= lines, "every line of the stream means something");
            bytes.len() as f64 / 1e6 / elapsed
        })
        .collect();
    quantile(&mut rates, 1.0)
}
