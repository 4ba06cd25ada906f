//! What a rollout costs a request: counting its arrival and its end, on one thread and on two
//! that count at once.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use weighbridge::rollout::evidence::{Evidence, Outcome, Sample, Thresholds};

fn evidence(began: Instant) -> Arc<Evidence> {
    let stable = [1, 2, 3, 4, 5, 6, 7, 8].map(|ms| ms * 1_000_000);
    let thresholds = Thresholds::new(Some(stable), 1.1, 1.2, Duration::from_secs(1), None);
    Arc::new(Evidence::new(began, Duration::from_secs(60), 2, Arc::new(thresholds), None))
}

fn count(evidence: &Evidence, at: Instant, sample: Sample) {
    let admitted = evidence.admit(sample, at, None);
    black_box(admitted).end(Outcome::Ok, Duration::from_micros(4_500));
}

fn counting(criterion: &mut Criterion) {
    let began = Instant::now();
    let cells = evidence(began);
    criterion.bench_function("evidence of a request", |b| {
        b.iter(|| count(&cells, black_box(began), Sample::Canary));
    });
    let (cells, stop) = (evidence(began), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                count(&cells, began, Sample::Control);
            }
        });
        criterion.bench_function("evidence of a request, two threads at once", |b| {
            b.iter(|| count(&cells, black_box(began), Sample::Control));
        });
        stop.store(true, Ordering::Relaxed);
    });
}

criterion_group!(benches, counting);
criterion_main!(benches);
