//! The parts that every job passes: frames, queue, output, queries.
#![expect(clippy::unwrap_used, reason = "a broken expectation ends the measurement")]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gateway::control_plane::query::parse;
use gateway::control_plane::registry;
use gateway::domain::escape::{json_chunks, json_len};
use gateway::domain::job::{Ingress, JobResult, RawField, Timeline};
use gateway::job::queue::{JobQueue, Limits, Offer, Waiting};
use gateway::wire::job_row;
use gateway::wire::phoenix::{Frame, Vsn};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

fn row(id: &str) -> Value {
    json!({
        "id": id, "team_id": "team", "gateway_id": "gateway", "status": "queued", "job_type": "shell_exec",
        "payload": {"resource_id": "r", "command": "uname -a", "timeout_ms": 30000}, "result": null, "error": null,
        "completed_at": null, "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z",
    })
}

fn frames(c: &mut Criterion) {
    let payload = json!({"ids": [1], "data": {"type": "INSERT", "table": "gateway_jobs", "record": row("job")}});
    let frame = Frame::new("realtime:gateway_jobs_g", "postgres_changes", payload);
    let text = frame.encode(Vsn::V2);
    let mut group = c.benchmark_group("frame");
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("decode", |b| {
        b.iter(|| Frame::decode(Vsn::V2, black_box(&text)).unwrap());
    });
    group.bench_function("encode", |b| b.iter(|| black_box(&frame).encode(Vsn::V2)));
    group.finish();
    c.bench_function("job row decode", |b| {
        b.iter(|| job_row::decode(black_box(&row("job"))).unwrap());
    });
}

fn queue(c: &mut Criterion) {
    let waiting: Vec<_> = (0..1000)
        .map(|number| Waiting {
            job: job_row::decode(&row(&format!("job-{number}"))).unwrap(),
            timeline: Timeline::received(Ingress::Push, Timestamp::UNIX_EPOCH),
            bytes: 300,
        })
        .collect();
    let limits = Limits {
        slots: 10,
        jobs: 1000,
        bytes: 1_000_000,
    };
    let through = |waiting: Vec<Waiting>| {
        let mut queue = JobQueue::new(limits);
        for job in waiting {
            assert_eq!(queue.offer(job), Offer::Queued);
        }
        while let Some(next) = queue.take_ready() {
            queue.done(&next.job.id);
        }
        queue
    };
    let mut group = c.benchmark_group("queue");
    group.throughput(Throughput::Elements(1000));
    let fresh = || waiting.clone();
    group.bench_function("1000 jobs through", |b| {
        b.iter_batched(fresh, through, criterion::BatchSize::LargeInput);
    });
    group.finish();
}

fn output(c: &mut Criterion) {
    let mut group = c.benchmark_group("result of 5 MB");
    group.throughput(Throughput::Bytes(5_000_000));
    group.sample_size(20);
    let text: Vec<u8> = b"the quick brown fox\n"
        .iter()
        .copied()
        .cycle()
        .take(5_000_000)
        .collect();
    for (name, bytes) in [
        ("text", text),
        ("NUL", vec![0; 5_000_000]),
        ("invalid", vec![0xff; 5_000_000]),
    ] {
        let result = Arc::new(JobResult {
            fields: Map::new(),
            raw: vec![RawField {
                key: "stdout".to_owned(),
                bytes,
            }],
            run: None,
        });
        group.bench_function(name, |b| {
            b.iter(|| json_chunks(Arc::clone(&result)).map(|chunk| chunk.len()).sum::<usize>());
        });
        group.bench_function(format!("{name}, length"), |b| b.iter(|| json_len(black_box(&result))));
    }
    group.finish();
}

fn query(c: &mut Criterion) {
    let jobs = registry::exposed_table("gateway_jobs").unwrap();
    let parameters = [
        ("select", "*"),
        ("team_id", "eq.0191b7a2-0000-7000-8000-000000000001"),
        ("gateway_id", "eq.0191b7a2-0000-7000-8000-000000000002"),
        ("status", "eq.queued"),
        ("order", "created_at.asc"),
        ("limit", "10"),
    ]
    .map(|(name, text)| (name.to_owned(), text.to_owned()));
    c.bench_function("query of a reconcile, parsed", |b| {
        b.iter(|| parse::query(jobs, black_box(&parameters)).unwrap());
    });
}

criterion_group!(benches, frames, queue, output, query);
criterion_main!(benches);
