//! The shadow stage: compared copies until a rollback.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use weighbridge_config::rollout::RolloutSpec;
use weighbridge_judge::{Decision, Diff, Pairs, ShadowJudge, Situation, Standing, decide_shadow};

use crate::tables::{quantile, shown};
use crate::trial::seed;

/// Copies to the rollback, of at most `most`: stable fails with 0.1 %, the canary with `err`, and
/// a share `differ` of its answers is another.
pub fn copies(err: f64, differ: f64, most: u64, seed: u64) -> Option<u64> {
    let mut random = StdRng::seed_from_u64(seed);
    let spec = RolloutSpec::default();
    let mut judge = ShadowJudge::new(&spec);
    let now = Situation {
        step: 0,
        standing: Standing::Paused,
        frozen: false,
        at_step_ms: 0,
        since_canary_ms: 0,
        expected_per_s: 1.0,
        told: false,
        abort: None,
    };
    for n in 1..=most {
        let (canary, stable) = (random.random::<f64>() < err, random.random::<f64>() < 0.001);
        let (mut pairs, mut diff) = (Pairs::default(), Diff::default());
        *(match (canary, stable) {
            (false, false) => &mut pairs.both_ok,
            (true, false) => &mut pairs.canary_err,
            (false, true) => &mut pairs.stable_err,
            (true, true) => &mut pairs.both_err,
        }) += 1;
        if pairs.both_ok == 1 {
            let is_other = random.random::<f64>() < differ;
            *(if is_other { &mut diff.differ } else { &mut diff.same }) += 1;
        }
        judge.absorb(&pairs, &diff);
        if let Decision::RollBack(_) = decide_shadow(&spec, &judge.assess(), &now) {
            return Some(n);
        }
    }
    None
}

pub fn table() {
    const RUNS: u64 = 200;
    println!("\n## Shadow stage: compared copies to the rollback, median / p95 ({RUNS} runs)\n");
    println!("| canary | found | copies |\n|---|---|---|");
    let rows = [
        ("identical", 0.001, 0.0),
        ("err 0.1 → 1 %", 0.01, 0.0),
        ("err 0.1 → 2 %", 0.02, 0.0),
        ("err 0.1 → 100 %", 1.0, 0.0),
        ("1 % of the answers differ (the limit)", 0.001, 0.01),
        ("2 % differ", 0.001, 0.02),
        ("5 % differ", 0.001, 0.05),
        ("all differ", 0.001, 1.0),
    ];
    for (row, (name, err, differ)) in rows.into_iter().enumerate() {
        let all: Vec<u64> = (0..RUNS)
            .map(|run| {
                copies(err, differ, 20_000, seed([11, row as u64, 0], run)).unwrap_or(u64::MAX)
            })
            .collect();
        let found = all.iter().filter(|n| **n < u64::MAX).count();
        let [median, p95] = [0.5, 0.95].map(|q| shown(quantile(&all, q)));
        println!("| {name} | {found} | {median} / {p95} |");
    }
}
