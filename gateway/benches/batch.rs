//! Taking a batch off a queue: what a free worker does under the queue's lock.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use weighbridge::serving::batch::{Waiting, take};

/// As large as what really waits: moving it is part of the work.
#[derive(Debug, Clone)]
struct Entry {
    rows: usize,
    version: u32,
    deadline: Instant,
    has_left: bool,
    _rest: [usize; 16],
}

impl Waiting for Entry {
    fn rows(&self) -> usize {
        self.rows
    }
    fn max_rows(&self) -> usize {
        64
    }
    fn deadline(&self) -> Instant {
        self.deadline
    }
    fn is_abandoned(&self) -> bool {
        self.has_left
    }
    fn joins(&self, first: &Self) -> bool {
        self.version == first.version
    }
}

/// `waiting` entries of one row each; every `share`-th is for another version.
fn queue(now: Instant, waiting: usize, share: usize) -> VecDeque<Entry> {
    let entry = |place: usize| Entry {
        rows: 1,
        version: if place % share == share - 1 { 2 } else { 1 },
        deadline: now + Duration::from_secs(3600),
        has_left: false,
        _rest: [0; 16],
    };
    (0..waiting).map(entry).collect()
}

fn benches(c: &mut Criterion) {
    let mut group = c.benchmark_group("take");
    let now = Instant::now();
    for waiting in [1usize, 64, 1024] {
        // One batch leaves, whatever waits behind it.
        group.throughput(Throughput::Elements(waiting.min(64) as u64));
        for (name, share) in [("one_version", usize::MAX), ("split_95_5", 20)] {
            let full = queue(now, waiting, share);
            group.bench_function(BenchmarkId::new(name, waiting), |b| {
                b.iter_batched_ref(
                    || full.clone(),
                    |queue| take(queue, now),
                    BatchSize::SmallInput,
                );
            });
        }
    }
    group.finish();
}

criterion_group! {
    name = all;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1000));
    targets = benches
}
criterion_main!(all);
