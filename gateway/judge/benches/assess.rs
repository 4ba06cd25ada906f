//! What one look costs: it is taken four times a second for each rollout.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use weighbridge_config::rollout::RolloutSpec;
use weighbridge_judge::{
    Judge, Latencies, Observed, Outcomes, Pair, Tail, TailPart, bucket_of, level,
};

fn judge(spec: &RolloutSpec) -> (Judge, Tail) {
    let mut judge = Judge::new(spec, Observed::Request);
    let outcomes = |n: u64| Outcomes { ok: 40 * n, err: n / 20, ..Outcomes::default() };
    let levels = |n: u64| {
        let levels = [10, 15, 25, 25, 15, 5, 4, 1, 0].map(|share| n * share / 3);
        Latencies { rollback: levels, promote: levels, ..Latencies::default() }
    };
    for (step, weight) in spec.steps.iter().enumerate() {
        judge.begin_epoch(step, *weight);
        judge.open_starts(600_000 * step as u64);
        let more = Pair { canary: outcomes(100), stable: outcomes(300) };
        judge.absorb_outcomes(*weight, &more, false);
        judge.absorb_latencies(*weight, &Pair { canary: levels(100), stable: levels(300) });
    }
    let part = TailPart {
        weight: spec.steps[spec.steps.len() - 1],
        warm_up: Pair::default(),
        counted: Pair { canary: outcomes(1), stable: outcomes(1) },
        open: Pair { canary: 0, stable: 1 },
    };
    (judge, Tail { parts: vec![part] })
}

fn looks(c: &mut Criterion) {
    let spec = RolloutSpec::default();
    let (mut at_last_step, tail) = judge(&spec);
    c.bench_function("assess, fourth step", |b| b.iter(|| at_last_step.assess(black_box(&tail))));
    c.bench_function("effects, fourth step", |b| {
        b.iter(|| at_last_step.effects(black_box(&tail)));
    });
    let thresholds = [1, 2, 3, 4, 5, 6, 7, 8].map(|ms| ms * 1_000_000);
    c.bench_function("bucket and level of an answer time", |b| {
        b.iter(|| {
            let ns = black_box(4_321_000);
            (bucket_of(ns), level(ns, black_box(&thresholds)))
        });
    });
}

criterion_group!(benches, looks);
criterion_main!(benches);
