//! Sticky keys: few of them cause most requests, and some always send what fails.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use weighbridge_config::rollout::Percent;
use weighbridge_judge::{
    Decision, Judge, Observed, Outcomes, Pair, Situation, Standing, Tail, decide,
};

use crate::trial::{seed, spec};

const KEYS: usize = 3000;
const REQUESTS: usize = 100_000;
const LOOK_EVERY: usize = 50;

/// An hour of sticky traffic to identical variants: whether it ends in a rollback.
pub fn rolls_back(weight: Percent, observed: Observed, seed: u64) -> bool {
    let mut random = StdRng::seed_from_u64(seed);
    let mut heavier = 0.0;
    // Zipf: the k-th key sends 1/k^1.05 of what the first one does.
    let up_to: Vec<f64> = (1..=KEYS)
        .map(|k| {
            heavier += (k as f64).powf(-1.05);
            heavier
        })
        .collect();
    let on_canary: Vec<bool> = (0..KEYS).map(|_| random.random::<f64>() < weight.share()).collect();
    let is_bad: Vec<bool> = (0..KEYS).map(|_| random.random::<f64>() < 0.01).collect();
    let (mut came, mut failed) = (vec![false; KEYS], vec![false; KEYS]);
    let spec = spec(&[weight]);
    let mut judge = Judge::new(&spec, observed);
    let mut more = Pair::<Outcomes>::default();
    for n in 0..REQUESTS {
        let point = random.random::<f64>() * heavier;
        let key = up_to.partition_point(|end| *end < point).min(KEYS - 1);
        let is_err = random.random::<f64>() < if is_bad[key] { 0.5 } else { 0.0005 };
        let to = if on_canary[key] { &mut more.canary } else { &mut more.stable };
        if observed == Observed::Request || !came[key] {
            *(if is_err { &mut to.err } else { &mut to.ok }) += 1;
        }
        to.unit_err += u64::from(is_err && !failed[key]);
        came[key] = true;
        failed[key] |= is_err;
        if n % LOOK_EVERY == LOOK_EVERY - 1 {
            let at_ms = n as u64 * 36;
            judge.open_starts(at_ms);
            judge.absorb_outcomes(weight, &std::mem::take(&mut more), false);
            let now = Situation {
                step: 0,
                standing: Standing::Paused,
                frozen: false,
                at_step_ms: at_ms,
                since_canary_ms: 0,
                expected_per_s: 1.0,
                told: false,
                abort: None,
            };
            let seen = judge.assess(&Tail::default());
            if let Decision::RollBack(_) = decide(&spec, &seen, &now) {
                return true;
            }
        }
    }
    false
}

/// False rollbacks with one observation per request and with one per key.
pub fn table() {
    const RUNS: u64 = 200;
    println!("\n## Sticky keys, identical variants: false rollbacks of {RUNS}\n");
    println!("| unit | 1 % | 5 % | 50 % |\n|---|---|---|---|");
    for (row, observed) in [Observed::Request, Observed::Key].into_iter().enumerate() {
        let cells = [1, 5, 50].map(|weight| {
            let runs = 0..RUNS;
            let cell = [10, row as u64, u64::from(weight)];
            let found = |run: &u64| rolls_back(Percent::whole(weight), observed, seed(cell, *run));
            runs.filter(found).count().to_string()
        });
        println!("| {observed:?} | {} |", cells.join(" | "));
    }
}
