//! What the judge promises, on simulated traffic: few false rollbacks, quick true ones, few false
//! promotions. Seeded, so that a failure comes again; the full tables are those of
//! `examples/simulate` in `docs/rollouts.md`, from which the bounds here are.

#[path = "../examples/simulate/keys.rs"]
#[expect(dead_code, reason = "the example prints its table")]
mod keys;
#[path = "../examples/simulate/shadow.rs"]
#[expect(dead_code, reason = "the example prints its table")]
mod shadow;
#[path = "../examples/simulate/tables.rs"]
#[expect(dead_code, reason = "the example prints them")]
mod tables;
#[path = "../examples/simulate/traffic.rs"]
mod traffic;
#[path = "../examples/simulate/trial.rs"]
mod trial;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use weighbridge_config::rollout::{Against, OnRegression, Percent, RolloutSpec};
use weighbridge_judge::{
    Cause, Decision, Judge, Latencies, Observed, Outcomes, Pair, Situation, Standing, Tail, decide,
};

use tables::quantile;
use traffic::{Fault, NO_FAULT, PER_S, Weather};
use trial::{End, Trial, seed, spec, without_margins};

const ALPHA: f64 = 0.01;

/// The largest rate that is compatible with `found` of `runs` at 97.5 % (Wilson).
fn at_most(found: usize, runs: usize) -> f64 {
    let (n, p, z) = (runs as f64, found as f64 / runs as f64, 1.96_f64);
    let centre = p + z * z / (2.0 * n);
    let half = z * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
    (centre + half) / (1.0 + z * z / n)
}

fn run(trial: &Trial, cell: [u64; 3], runs: u64) -> Vec<End> {
    (0..runs).map(|run| trial.run(seed(cell, run))).collect()
}

fn rolled_back(ends: &[End]) -> usize {
    ends.iter().filter(|end| end.is_rolled_back()).count()
}

/// Identical variants, no margins, a look after every 25 requests, errors frequent enough to be
/// evidence: as near to the bound as it gets.
#[test]
fn false_rollbacks_are_rarer_than_alpha_where_the_bound_is_tight() {
    const RUNS: usize = 6000;
    let mut found = 0;
    for run in 0..RUNS as u64 {
        let weight = [1, 5, 25, 50, 90].map(Percent::whole)[run as usize % 5];
        let mut random = StdRng::seed_from_u64(seed([20, 0, 0], run));
        let spec = without_margins(spec(&[weight]));
        let mut judge = Judge::new(&spec, Observed::Request);
        let base = [0.02, 0.1, 0.5][run as usize % 3];
        let mut is_back = false;
        for look in 0..60_u64 {
            // A common burst: for a while both fail often and are slow.
            let is_burst = (20..30).contains(&look);
            let (err, slow) = if is_burst { (0.6, 5) } else { (base, 0) };
            let (mut outcomes, mut latencies) =
                (Pair::<Outcomes>::default(), Pair::<Latencies>::default());
            for _ in 0..25 {
                let is_canary = random.random::<f64>() < weight.share();
                let outcomes = if is_canary { &mut outcomes.canary } else { &mut outcomes.stable };
                let latencies =
                    if is_canary { &mut latencies.canary } else { &mut latencies.stable };
                if random.random::<f64>() < err {
                    outcomes.err += 1;
                } else {
                    outcomes.ok += 1;
                    let level = (random.random_range(0..9_usize) + slow).min(8);
                    latencies.rollback[level] += 1;
                }
            }
            judge.open_starts(look * 20_000);
            judge.absorb_outcomes(weight, &outcomes, false);
            judge.absorb_latencies(weight, &latencies);
            let seen = judge.assess(&Tail::default());
            // Of the streams: the guard is against error rates above 10 %, which these have.
            is_back |= seen.streams.iter().any(|stream| stream.regressed());
        }
        found += usize::from(is_back);
    }
    println!("{found} of {RUNS}");
    assert!(at_most(found, RUNS) <= ALPHA, "{found} of {RUNS}");
    assert!(found > 0, "the bound should be near enough to be met now and then");
}

/// An hour of identical variants under each weather, at each weight.
#[test]
fn identical_variants_are_not_rolled_back() {
    let cells = [
        (Weather::Calm, 0.005),
        (Weather::Noise, 0.001),
        (Weather::Burst, 0.001),
        (Weather::Outage, 0.001),
        (Weather::Drift, 0.001),
    ];
    let (mut found, mut runs) = (0, 0);
    for (row, (weather, base_err)) in cells.into_iter().enumerate() {
        for weight in [1, 5, 50] {
            let trial = Trial::hour(Percent::whole(weight), weather, base_err, NO_FAULT);
            let ends = run(&trial, [21, row as u64, weight.into()], 4);
            found += rolled_back(&ends);
            runs += ends.len();
        }
    }
    // 3 of 3600 in the full table.
    assert!(found <= 1, "{found} of {runs}");
}

/// Regressions within the margins are not the judge's business.
#[test]
fn regressions_within_the_margins_stay() {
    let within = [Fault { err: Some(0.003), ..NO_FAULT }, Fault { scale: 1.05, ..NO_FAULT }];
    for (row, fault) in within.into_iter().enumerate() {
        for weight in [5, 50] {
            let trial = Trial::hour(Percent::whole(weight), Weather::Noise, 0.001, fault);
            let ends = run(&trial, [22, row as u64, weight.into()], 4);
            assert_eq!(rolled_back(&ends), 0, "{fault:?} at {weight} %");
        }
    }
}

/// The median of all requests to the rollback, which every run reaches.
fn median_to_rollback(fault: Fault, against: Against, weight: u32, runs: u64) -> u64 {
    let mut trial = Trial::hour(Percent::whole(weight), Weather::Noise, 0.001, fault);
    trial.spec.latency.against = against;
    let before = (fault.from_s * PER_S) as u64;
    let ends = run(&trial, [23, weight.into(), fault.from_s as u64], runs);
    let to_rollback = |end: &End| {
        let requests = end.requests();
        if end.is_rolled_back() && requests > before { requests - before } else { u64::MAX }
    };
    quantile(&ends.iter().map(to_rollback).collect::<Vec<_>>(), 0.5)
}

/// The medians of the design's table, at 1, 5 and 50 %; below, those of `docs/rollouts.md` for
/// answer times that are compared with a control's. Tolerance: the median of 40 runs may be 1.35
/// times the table's, plus one interval between looks (50 requests).
#[test]
fn regressions_are_found_within_the_counts_of_the_table() {
    let err = |rate| Fault { err: Some(rate), ..NO_FAULT };
    let slow = |scale| Fault { scale, ..NO_FAULT };
    use Against::{Control, Stable};
    let rows: [(Fault, Against, [Option<u64>; 3]); 10] = [
        (err(0.01), Stable, [None, None, Some(5800)]),
        (err(0.02), Stable, [None, Some(8200), Some(1500)]),
        (err(0.05), Stable, [Some(9800), Some(2000), Some(500)]),
        (err(0.20), Stable, [Some(1400), Some(300), Some(150)]),
        (err(1.0), Stable, [Some(300), Some(100), Some(50)]),
        (slow(1.2), Stable, [None, Some(27_000), Some(4200)]),
        (slow(1.5), Stable, [Some(5100), Some(1400), Some(300)]),
        (slow(2.0), Stable, [Some(2200), Some(450), Some(100)]),
        (slow(1.5), Control, [Some(12_500), Some(2900), None]),
        (slow(2.0), Control, [Some(4250), Some(850), None]),
    ];
    for (fault, against, medians) in rows {
        for (weight, wanted) in [1, 5, 50].into_iter().zip(medians) {
            let Some(wanted) = wanted else { continue };
            let came = median_to_rollback(fault, against, weight, 40);
            let most = wanted * 135 / 100 + 50;
            assert!(
                came <= most,
                "{fault:?}, {against:?} at {weight} %: {came}, the table has {wanted}"
            );
        }
    }
}

/// After half an hour without a fault. The table's start-time prior puts 1/22 on a start at
/// minute 30, that of the judge 1/56: hence the wider tolerance of 1.6.
#[test]
fn late_regressions_are_found_too() {
    let rows = [
        (Fault { err: Some(0.05), from_s: 1800.0, ..NO_FAULT }, [(5, 2500), (50, 800)]),
        (Fault { scale: 1.5, from_s: 1800.0, ..NO_FAULT }, [(5, 1900), (50, 500)]),
    ];
    for (fault, cells) in rows {
        for (weight, wanted) in cells {
            let came = median_to_rollback(fault, Against::Stable, weight, 15);
            assert!(came <= wanted * 8 / 5 + 50, "{fault:?} at {weight} %: {came}, not {wanted}");
        }
    }
}

/// A canary that fails everything, judged after every request: counts of canary requests.
#[test]
fn hard_faults_take_a_handful_of_requests() {
    // (weight, most at the median, most at the 95th percentile); issue and table: 6 and 12 at 5 %.
    for (weight, median, p95) in [(1, 4, 4), (5, 4, 5), (50, 7, 9), (95, 5, 6)] {
        let fault = Fault { err: Some(1.0), ..NO_FAULT };
        let mut trial = Trial::hour(Percent::whole(weight), Weather::Calm, 0.001, fault);
        (trial.look_every, trial.most_s) = (1, 5000.0 / PER_S);
        for on_regression in [OnRegression::Rollback, OnRegression::Notify] {
            trial.spec.on_regression = on_regression;
            let ends = run(&trial, [24, 0, weight.into()], 60);
            assert_eq!(rolled_back(&ends), ends.len());
            let canary: Vec<u64> = ends.iter().map(|end| end.seen.canary.n()).collect();
            let came = (quantile(&canary, 0.5), quantile(&canary, 0.95));
            assert!(came.0 <= median && came.1 <= p95, "{weight} %, {on_regression:?}: {came:?}");
        }
    }
}

/// Both variants fail everything from the start: the guard's comparison is 100 : 1, so one run in
/// a hundred may end in a rollback (and a few more by luck); all others are held.
#[test]
fn a_shared_outage_holds() {
    for weight in [1, 5, 50] {
        let mut trial = Trial::hour(Percent::whole(weight), Weather::Calm, 1.0, NO_FAULT);
        (trial.look_every, trial.most_s) = (10, 2000.0 / PER_S);
        let ends = run(&trial, [25, 0, weight.into()], 100);
        let back = rolled_back(&ends);
        assert!(back <= 4, "{back} of 100 at {weight} %");
        assert!(ends.iter().all(|end| end.is_rolled_back() || end.held > 0), "{weight} %");
    }
}

/// The hold passes by itself a minute after the outage, and the rollout then goes on.
#[test]
fn a_hold_for_a_common_cause_ends_with_the_cause() {
    let mut trial = Trial::whole(0.001, NO_FAULT);
    trial.weather = Weather::Outage;
    trial.spec.step_min = std::time::Duration::from_secs(1100);
    let ends = run(&trial, [29, 0, 0], 6);
    for end in ends.iter().filter(|end| !end.is_rolled_back()) {
        // The outage lasts 60 s, from minute 20; a look is 1.8 s.
        assert!((15..=70).contains(&end.held), "{} looks", end.held);
        assert!(matches!(end.decision, Decision::Promote(_)), "{end:?}");
    }
    assert!(rolled_back(&ends) <= 1, "{ends:?}");
}

#[test]
fn an_identical_canary_is_promoted_through_all_steps() {
    let ends = run(&Trial::whole(0.001, NO_FAULT), [26, 0, 0], 12);
    let promoted = |end: &End| matches!(end.decision, Decision::Promote(_));
    assert!(ends.iter().all(promoted), "{ends:?}");
    let minutes: Vec<u64> = ends.iter().map(|end| (end.at_s / 60.0) as u64).collect();
    // 31 min in the table, where promotion was looked at once a minute.
    assert!(quantile(&minutes, 0.5) <= 36, "{minutes:?}");
}

#[test]
fn a_bad_canary_is_rolled_back_on_its_way() {
    let faults = [
        Fault { err: Some(0.011), ..NO_FAULT },
        Fault { err: Some(0.051), ..NO_FAULT },
        Fault { scale: 1.3, ..NO_FAULT },
        Fault { tail: 0.02, ..NO_FAULT },
    ];
    for (row, fault) in faults.into_iter().enumerate() {
        let ends = run(&Trial::whole(0.001, fault), [27, row as u64, 0], 6);
        assert_eq!(rolled_back(&ends), ends.len(), "{fault:?}");
    }
}

/// How often V reaches 1/β for a canary exactly at the promotion margin. Coins of 1/2^`halves`
/// and geometric gaps between bad events make many requests cheap.
fn false_promotions(halves: u32, next: Percent, is_latency: bool, runs: u64) -> usize {
    let weight = Percent::points(10_000 >> halves);
    let mut spec = spec(&[weight]);
    spec.steps.extend((next < Percent::whole(100)).then_some(next));
    let (stable, margin) = if is_latency { (0.05, 0.01) } else { (0.001, 0.005) };
    let one = |seed| {
        let mut random = StdRng::seed_from_u64(seed);
        let mut judge = Judge::new(&spec, Observed::Request);
        for _ in 0..80 {
            let drawn = |random: &mut StdRng| {
                (0..halves).fold(u64::MAX, |all, _| all & random.random::<u64>())
            };
            let canary: u64 = (0..16).map(|_| u64::from(drawn(&mut random).count_ones())).sum();
            let n = Pair { canary, stable: 1024 - canary };
            let mut bad = |n: u64, p: f64| {
                let (mut at, mut bad) = (0, 0);
                loop {
                    at += 1 + (random.random::<f64>().ln() / (-p).ln_1p()) as u64;
                    if at > n {
                        return bad;
                    }
                    bad += 1;
                }
            };
            let bad =
                Pair { canary: bad(n.canary, stable + margin), stable: bad(n.stable, stable) };
            if is_latency {
                let of = |n: u64, bad| {
                    let mut of = Latencies::default();
                    (of.promote[0], of.promote[6]) = (n - bad, bad);
                    of
                };
                let more =
                    Pair { canary: of(n.canary, bad.canary), stable: of(n.stable, bad.stable) };
                judge.absorb_latencies(weight, &more);
            } else {
                let of = |n: u64, err| Outcomes { ok: n - err, err, ..Outcomes::default() };
                let more =
                    Pair { canary: of(n.canary, bad.canary), stable: of(n.stable, bad.stable) };
                judge.absorb_outcomes(weight, &more, false);
            }
            let seen = judge.assess(&Tail::default());
            if seen.streams[if is_latency { 2 } else { 0 }].proved() {
                return true;
            }
        }
        false
    };
    (0..runs).filter(|run| one(seed([28, halves.into(), is_latency.into()], *run))).count()
}

/// At the margin itself a step lets at most a share β pass.
#[test]
fn false_promotions_are_rarer_than_beta() {
    const RUNS: u64 = 500;
    let mut found = Vec::new();
    for (halves, next) in [(1, 100), (2, 50)] {
        for is_latency in [false, true] {
            found.push(false_promotions(halves, Percent::whole(next), is_latency, RUNS));
        }
    }
    println!("{found:?} of {RUNS} each");
    let all: usize = found.iter().sum();
    assert!(at_most(all, 4 * RUNS as usize) <= 0.05, "{found:?} of {RUNS} each");
    assert!(all > 0, "the bound should be near enough to be met now and then");
}

#[test]
fn keys_are_judged_by_their_first_error() {
    let back = |observed, weight| {
        let found = |run: &u64| keys::rolls_back(Percent::whole(weight), observed, *run);
        (0..8).filter(found).count()
    };
    for weight in [1, 5, 50] {
        assert_eq!(back(Observed::Key, weight), 0, "{weight} %");
    }
    // What it is there for: by request, a few bad keys look like a bad canary.
    assert!(back(Observed::Request, 5) > 0);
}

/// Keys that always send what fails: half of their requests on stable, a tenth on the canary. All
/// of them fail some day, those of the better canary later.
#[test]
fn a_canary_that_fails_the_same_keys_less_often_stays() {
    let weight = Percent::whole(5);
    for run in 0..20 {
        let mut random = StdRng::seed_from_u64(run);
        let mut judge = Judge::new(&spec(&[weight]), Observed::Key);
        let mut left = Pair { canary: 200_u64, stable: 3800 };
        for minute in 0..60 {
            let mut fail = |left: &mut u64, rate: f64| {
                let unit_err = (0..*left).filter(|_| random.random::<f64>() < rate).count() as u64;
                *left -= unit_err;
                Outcomes { unit_err, ..Outcomes::default() }
            };
            let more =
                Pair { canary: fail(&mut left.canary, 0.1), stable: fail(&mut left.stable, 0.5) };
            judge.open_starts(60_000 * minute);
            judge.absorb_outcomes(weight, &more, false);
            let seen = judge.assess(&Tail::default());
            assert!(
                !seen.streams[0].regressed(),
                "run {run}, minute {minute}: {:?}",
                seen.streams[0]
            );
        }
    }
}

#[test]
fn the_shadow_stage_finds_errors_and_other_answers() {
    let median = |err, differ, runs| {
        let all: Vec<u64> = (0..runs)
            .map(|run| shadow::copies(err, differ, 6000, run).unwrap_or(u64::MAX))
            .collect();
        quantile(&all, 0.5)
    };
    // 689 in the design's table, where α was not shared with the live stages.
    assert!(median(0.02, 0.0, 30) <= 1200);
    assert!(median(1.0, 0.0, 30) <= 14);
    assert!(median(0.001, 0.05, 30) <= 400);
    assert!(median(0.001, 1.0, 30) <= 3);
    // At the limits nothing happens.
    assert!((0..20).all(|run| shadow::copies(0.003, 0.01, 4000, run).is_none()));
}

/// `notify` tells once and goes on; a guard still rolls back.
#[test]
fn a_told_regression_does_not_stop_the_rollout() {
    let spec = RolloutSpec { on_regression: OnRegression::Notify, ..spec(&[Percent::whole(5)]) };
    let mut judge = Judge::new(&spec, Observed::Request);
    let of = |n, err| Outcomes { ok: n - err, err, ..Outcomes::default() };
    let more = Pair { canary: of(500, 30), stable: of(9500, 9) };
    judge.absorb_outcomes(Percent::whole(5), &more, false);
    let mut now = Situation {
        step: 0,
        standing: Standing::Running,
        frozen: false,
        at_step_ms: 1000,
        since_canary_ms: 0,
        expected_per_s: 1.0,
        told: false,
        abort: None,
    };
    let seen = judge.assess(&Tail::default());
    assert!(matches!(decide(&spec, &seen, &now), Decision::Regressed(_)));
    now.told = true;
    assert_eq!(decide(&spec, &seen, &now), Decision::Stay);
    let broken = Pair { canary: of(400, 400), stable: of(7600, 7) };
    judge.absorb_outcomes(Percent::whole(5), &broken, false);
    let seen = judge.assess(&Tail::default());
    assert_eq!(decide(&spec, &seen, &now), Decision::RollBack(Cause::Guard));
}
