//! The tables about live traffic.

use weighbridge_config::rollout::{Against, OnRegression, Percent};
use weighbridge_judge::Decision;

use crate::traffic::{Fault, NO_FAULT, PER_S, Weather};
use crate::trial::{End, Trial, is_guard, seed, without_margins};

const WEIGHTS: [u32; 3] = [1, 5, 50];

/// The smallest value that a share `q` of `all` does not exceed.
pub fn quantile(all: &[u64], q: f64) -> u64 {
    let mut all = all.to_vec();
    all.sort_unstable();
    let place = (q * all.len() as f64).ceil() as usize;
    all.get(place.max(1) - 1).copied().unwrap_or(u64::MAX)
}

/// `–` for what was not reached.
pub fn shown(number: u64) -> String {
    if number == u64::MAX { "–".to_owned() } else { number.to_string() }
}

pub fn false_rollbacks() {
    const RUNS: u64 = 200;
    println!("\n## False rollbacks in one hour, identical variants ({RUNS} runs per cell)\n");
    println!("| weather, base errors | 1 % | 5 % | 50 % |\n|---|---|---|---|");
    let cells = [
        ("calm 0.1 %", Weather::Calm, 0.001),
        ("calm 0.5 %", Weather::Calm, 0.005),
        ("noise", Weather::Noise, 0.001),
        ("burst", Weather::Burst, 0.001),
        ("outage", Weather::Outage, 0.001),
        ("drift", Weather::Drift, 0.001),
    ];
    let mut all = 0;
    for (row, (name, weather, base_err)) in cells.into_iter().enumerate() {
        let counts = WEIGHTS.map(|weight| {
            let trial = Trial::hour(Percent::whole(weight), weather, base_err, NO_FAULT);
            rolled_back(&trial, RUNS, [1, row as u64, weight.into()])
        });
        all += counts.iter().map(|(count, _)| count).sum::<u64>();
        println!(
            "| {name} | {} |",
            counts.map(|(count, guard)| format!("{count} (guard {guard})")).join(" | ")
        );
    }
    println!("| all, of {} | {all} | | |", RUNS * 18);

    println!(
        "\nNo margins, burst, 400 runs each; exactly at the margin of errors (0.1 → 0.3 %), 80 each:\n"
    );
    let bare = WEIGHTS.map(|weight| {
        let mut trial = Trial::hour(Percent::whole(weight), Weather::Burst, 0.001, NO_FAULT);
        trial.spec = without_margins(trial.spec);
        rolled_back(&trial, 400, [2, 0, weight.into()]).0
    });
    let fault = Fault { err: Some(0.003), ..NO_FAULT };
    let at = WEIGHTS.map(|weight| {
        let trial = Trial::hour(Percent::whole(weight), Weather::Noise, 0.001, fault);
        rolled_back(&trial, 80, [3, 0, weight.into()]).0
    });
    println!("no margins: {bare:?}; at the margin: {at:?}");
}

/// (rolled back, of those by the guard)
fn rolled_back(trial: &Trial, runs: u64, cell: [u64; 3]) -> (u64, u64) {
    let ends = (0..runs).map(|run| trial.run(seed(cell, run)));
    ends.fold((0, 0), |(all, guard), end| {
        (all + u64::from(end.is_rolled_back()), guard + u64::from(is_guard(&end)))
    })
}

pub fn detection() {
    const RUNS: u64 = 200;
    println!(
        "\n## Requests to the rollback: median / p95 of all requests; of the canary ({RUNS} runs)\n"
    );
    println!("| regression | 1 % | 5 % | 50 % |\n|---|---|---|---|");
    let err = |rate| Fault { err: Some(rate), ..NO_FAULT };
    let slow = |scale| Fault { scale, ..NO_FAULT };
    let tail = |tail| Fault { tail, ..NO_FAULT };
    let late = |fault| Fault { from_s: 1800.0, ..fault };
    let rows = [
        ("err 0.1 → 0.3 %", err(0.003)),
        ("err 0.1 → 1 %", err(0.01)),
        ("err 0.1 → 2 %", err(0.02)),
        ("err 0.1 → 5 %", err(0.05)),
        ("err 0.1 → 20 %", err(0.2)),
        ("err 0.1 → 100 %", err(1.0)),
        ("×1.05", slow(1.05)),
        ("×1.2", slow(1.2)),
        ("×1.5", slow(1.5)),
        ("×2", slow(2.0)),
        ("+2 % at ×10", tail(0.02)),
        ("+5 % at ×10", tail(0.05)),
        ("err → 5 % from minute 30", late(err(0.05))),
        ("×1.5 from minute 30", late(slow(1.5))),
    ];
    for (row, (name, fault)) in rows.into_iter().enumerate() {
        for against in [Against::Control, Against::Stable] {
            if fault.err.is_some() && against == Against::Stable {
                // Errors are compared with those of stable as a whole.
                continue;
            }
            let cells = WEIGHTS.map(|weight| {
                let mut trial = Trial::hour(Percent::whole(weight), Weather::Noise, 0.001, fault);
                trial.spec.latency.against = against;
                let cell = [4, row as u64, weight.into()];
                detected((0..RUNS).map(|run| trial.run(seed(cell, run))), fault.from_s, weight)
            });
            println!("| {name}, {against:?} | {} |", cells.join(" | "));
        }
    }
}

fn detected(ends: impl Iterator<Item = End>, from_s: f64, weight: u32) -> String {
    let before = (from_s * PER_S) as u64;
    let (mut early, mut found, mut all) = (0, 0, Vec::new());
    for end in ends {
        if !end.is_rolled_back() {
            all.push(u64::MAX);
        } else if end.requests() <= before {
            early += 1;
        } else {
            found += 1;
            all.push(end.requests() - before);
        }
    }
    if found == 0 {
        return format!("never (early {early})");
    }
    let (median, p95) = (quantile(&all, 0.5), quantile(&all, 0.95));
    let canary = if median == u64::MAX { median } else { median * u64::from(weight) / 100 };
    let share = 100.0 * f64::from(found) / all.len() as f64;
    let (median, p95, canary) = (shown(median), shown(p95), shown(canary));
    format!("{median} / {p95} [{share:.0} %], canary {canary}")
}

/// What may roll back.
#[derive(Clone, Copy)]
enum Only {
    /// With this relative evidence.
    Guard(f64),
    Err,
    Both,
}

pub fn hard_faults() {
    const RUNS: u64 = 300;
    println!("\n## Hard faults: canary requests, median / p95; all requests ({RUNS} runs)\n");
    println!("| fault | 1 % | 5 % | 50 % | 95 % |\n|---|---|---|---|---|");
    let rows = [
        ("100 % errors, guard", 1.0, Only::Guard(20.0)),
        ("100 % errors, guard with relative = 100", 1.0, Only::Guard(100.0)),
        ("100 % errors, `err`", 1.0, Only::Err),
        ("100 % errors, both", 1.0, Only::Both),
        ("50 % errors, guard", 0.5, Only::Guard(20.0)),
        ("25 % errors, guard", 0.25, Only::Guard(20.0)),
    ];
    for (row, (name, rate, only)) in rows.into_iter().enumerate() {
        let cells = [1, 5, 50, 95].map(|weight| {
            let fault = Fault { err: Some(rate), ..NO_FAULT };
            let mut trial = Trial::hour(Percent::whole(weight), Weather::Calm, 0.001, fault);
            (trial.look_every, trial.most_s) = (1, 20_000.0 / PER_S);
            match only {
                Only::Guard(relative) => {
                    trial.spec.on_regression = OnRegression::Notify;
                    trial.spec.guard.relative = relative;
                }
                Only::Err => trial.spec.guard.evidence = 1e12,
                Only::Both => {}
            }
            let ends: Vec<_> =
                (0..RUNS).map(|run| trial.run(seed([5, row as u64, weight.into()], run))).collect();
            let of = |f: fn(&End) -> u64| -> Vec<u64> {
                let value = |end: &End| if end.is_rolled_back() { f(end) } else { u64::MAX };
                ends.iter().map(value).collect()
            };
            let (canary, all) = (of(|end| end.seen.canary.n()), of(End::requests));
            let q = |all: &[u64]| [0.5, 0.95].map(|q| shown(quantile(all, q))).join(" / ");
            format!("{}; {}", q(&canary), q(&all))
        });
        println!("| {name} | {} |", cells.join(" | "));
    }
    shared_outage();
}

fn shared_outage() {
    const RUNS: u64 = 500;
    println!("\n| both fail | 1 % | 5 % | 50 % |\n|---|---|---|---|");
    for relative in [20.0, 100.0] {
        let cells = WEIGHTS.map(|weight| {
            let mut trial = Trial::hour(Percent::whole(weight), Weather::Calm, 1.0, NO_FAULT);
            trial.spec.guard.relative = relative;
            (trial.look_every, trial.most_s) = (1, 2000.0 / PER_S);
            let ends: Vec<_> =
                (0..RUNS).map(|run| trial.run(seed([6, 0, weight.into()], run))).collect();
            let back = ends.iter().filter(|end| end.is_rolled_back()).count();
            let held = ends.iter().filter(|end| !end.is_rolled_back() && end.held > 0).count();
            format!("rolled back {back}, held {held}")
        });
        let cells = cells.join(" | ");
        println!("| all requests, from the start, relative = {relative} (of {RUNS}) | {cells} |");
    }
    let cells = WEIGHTS.map(|weight| {
        let trial = Trial::hour(Percent::whole(weight), Weather::Calm, 0.05, NO_FAULT);
        let (all, _) = rolled_back(&trial, 100, [7, 0, weight.into()]);
        format!("rolled back {all}")
    });
    println!("| 5 % for an hour (of 100) | {} |", cells.join(" | "));
}

pub fn whole_rollouts() {
    const RUNS: u64 = 100;
    println!("\n## Whole rollouts, default steps ({RUNS} runs)\n");
    println!(
        "| canary | promoted | rolled back | minutes, median (p95) | canary requests | failed ones |\n|---|---|---|---|---|---|"
    );
    let err = |rate| Fault { err: Some(rate), ..NO_FAULT };
    let rows = [
        ("good (0.1 %)", 0.001, NO_FAULT),
        ("good, base 0.5 %", 0.005, NO_FAULT),
        ("err +1 pp", 0.001, err(0.011)),
        ("err +5 pp", 0.001, err(0.051)),
        ("err 100 %", 0.001, err(1.0)),
        ("×1.3", 0.001, Fault { scale: 1.3, ..NO_FAULT }),
        ("×2", 0.001, Fault { scale: 2.0, ..NO_FAULT }),
        ("tail +2 % ×10", 0.001, Fault { tail: 0.02, ..NO_FAULT }),
        ("×1.05", 0.001, Fault { scale: 1.05, ..NO_FAULT }),
    ];
    for (row, (name, base_err, fault)) in rows.into_iter().enumerate() {
        let trial = Trial::whole(base_err, fault);
        let ends: Vec<_> = (0..RUNS).map(|run| trial.run(seed([8, row as u64, 0], run))).collect();
        let promoted =
            ends.iter().filter(|end| matches!(end.decision, Decision::Promote(_))).count();
        let back = ends.iter().filter(|end| end.is_rolled_back()).count();
        let of = |f: fn(&End) -> u64, q| quantile(&ends.iter().map(f).collect::<Vec<_>>(), q);
        let minutes = |q| of(|end| (end.at_s / 6.0).round() as u64, q) as f64 / 10.0;
        let canary = of(|end| end.seen.canary.n(), 0.5);
        let failed = of(|end| end.seen.canary.err, 0.5);
        println!(
            "| {name} | {promoted} | {back} | {} ({}) | {canary} | {failed} |",
            minutes(0.5),
            minutes(0.95)
        );
    }
    at_the_promotion_margin();
}

/// A canary exactly at the final promotion margin of errors: how often a step lets it pass.
fn at_the_promotion_margin() {
    const RUNS: u64 = 200;
    let fault = Fault { err: Some(0.006), ..NO_FAULT };
    let counts = [[5, 25], [25, 50], [50, 100]].map(|[weight, next]| {
        let mut trial = Trial::hour(Percent::whole(weight), Weather::Noise, 0.001, fault);
        trial.spec.steps.extend((next < 100).then_some(Percent::whole(next)));
        trial.stands = false;
        trial.one_step = true;
        // Whether it would pass, not whether it is found before.
        trial.spec.on_regression = OnRegression::Notify;
        trial.spec.guard.evidence = 1e12;
        let ends = (0..RUNS).map(|run| trial.run(seed([9, 0, weight.into()], run)));
        let passed =
            |end: &End| matches!(end.decision, Decision::Promote(_) | Decision::Advance(_));
        ends.filter(passed).count()
    });
    println!(
        "\nAt the promotion margin (0.1 → 0.6 %), passed the steps 5, 25 and 50 % within the hour, of {RUNS}: {counts:?}"
    );
}
