use std::collections::BTreeMap;
use std::time::Duration;

use crate::latency::{Percentiles, histogram};
use crate::scenario::overload::liveness::Liveness;

use super::*;

fn account(goodput: f64, p99_ms: f64) -> Account {
    let mut account = Account::of([].iter(), Some(0), 8.0, Duration::from_millis(200));
    account.goodput = goodput;
    account.accepted = (goodput * 8.0) as u64;
    account.from_intended = Percentiles { p99_ms, ..Percentiles::of(&histogram()) };
    account
}

fn tier(accepted: u64, refused: u64) -> Account {
    let refused = BTreeMap::from([("503".to_owned(), refused)]);
    Account { accepted, refused, ..account(0.0, 100.0) }
}

fn step(factor: f64, goodput: f64, p99: f64) -> Step {
    Step { factor, account: account(goodput, p99), gateway_cpu: 1.9, client_cpu: 0.1 }
}

fn turn(goodput: f64) -> Turn {
    Turn { best: step(1.0, 270.0, 150.0), highest: step(3.0, goodput, 190.0) }
}

fn ramp() -> Ramp {
    Ramp {
        run: 1,
        seed: 1,
        steps: vec![step(0.5, 140.0, 20.0), step(1.0, 270.0, 150.0), step(3.0, 260.0, 190.0)],
        liveness: Liveness { asked: 80, answered: 80, ..Liveness::default() },
        priorities: Priorities { factor: 3.0, high: tier(90, 10), low: tier(20, 180), not_sent: 0 },
        examples: Vec::new(),
    }
}

fn missed(ramp: Ramp, turns: &[Turn]) -> Vec<String> {
    let bounds = bounds(&[ramp], turns, 280.0, 200.0, 1);
    bounds.into_iter().filter(|bound| !bound.met).map(|bound| bound.what).collect()
}

#[test]
fn each_way_to_fail_under_overload_is_a_miss_of_its_own() {
    type Spoil = fn(&mut Ramp);
    let ways: [(Spoil, &str); 8] = [
        (|ramp| ramp.steps[2].account.from_intended.p99_ms = 201.0, "p99"),
        (|ramp| ramp.steps[0].account.improper = 1, "Retry-After"),
        (|ramp| ramp.priorities.low.improper = 1, "Retry-After"),
        (|ramp| ramp.liveness.answered = 79, "liveness"),
        (|ramp| ramp.liveness = Liveness::default(), "liveness"),
        (|ramp| ramp.priorities.high = tier(10, 90), "priority"),
        (|ramp| ramp.priorities.high = tier(12, 88), "priority"),
        (|ramp| ramp.steps[1..].iter_mut().for_each(|s| s.account.goodput = 400.0), "saturation"),
    ];
    let turns = vec![turn(260.0); TURNS];
    assert!(missed(ramp(), &turns).is_empty());
    for (spoil, what) in ways {
        let mut spoilt = ramp();
        spoil(&mut spoilt);
        let missed = missed(spoilt, &turns);
        assert!(missed.len() == 1 && missed[0].contains(what), "{what}: {missed:?}");
    }
    assert_eq!(bounds(&[], &[], 280.0, 200.0, 1).iter().filter(|bound| bound.met).count(), 1);
}

#[test]
fn what_is_left_is_judged_by_the_median_of_the_turns() {
    let of = |goodputs: &[f64]| {
        let turns: Vec<Turn> = goodputs.iter().map(|goodput| turn(*goodput)).collect();
        let bounds = bounds(&vec![ramp(); goodputs.len() / TURNS], &turns, 280.0, 200.0, 2);
        let missed = bounds.into_iter().filter(|bound| !bound.met).map(|bound| bound.what);
        missed.collect::<Vec<_>>()
    };
    assert!(of(&[100.0, 250.0, 250.0, 260.0]).is_empty(), "one of them was unlucky");
    let missed = of(&[240.0, 240.0, 240.0, 260.0]);
    assert!(missed.len() == 1 && missed[0].contains("goodput at 3"), "{missed:?}");
    let missed = of(&[260.0, 260.0]);
    assert!(missed.iter().any(|missed| missed == "turns done"), "{missed:?}");
    // A slow answer counts in each of them.
    let mut slow = vec![turn(260.0); TURNS];
    slow[0].highest.account.from_intended.p99_ms = 201.0;
    slow[1].best.account.improper = 1;
    let missed = super::bounds(&[ramp()], &slow, 280.0, 200.0, 1);
    assert_eq!(missed.iter().filter(|bound| !bound.met).count(), 2);
    // Where nothing is better than the highest there is nothing to compare.
    let mut rising = ramp();
    rising.steps[2].account.goodput = 300.0;
    let bounds = super::bounds(&[rising], &[], 280.0, 200.0, 1);
    assert!(bounds.iter().all(|bound| bound.met), "{bounds:?}");
}

#[test]
fn the_plot_has_a_point_for_each_step_and_the_median_over_ramps() {
    let mut other = ramp();
    other.steps[2].account.goodput = 100.0;
    // Nothing answered at all: no latency to show.
    for step in &mut other.steps {
        step.account.from_intended.p99_ms = 0.0;
    }
    let report = |ramps: Vec<Ramp>| Report {
        models: String::new(),
        settings: SETTINGS,
        seed: 1,
        wanted_runs: 1,
        window_s: 8.0,
        deadline_ms: 200.0,
        saturation: Spread { median: 280.0, min: 270.0, max: 290.0 },
        bounds: Vec::new(),
        ramps,
        turns: vec![turn(260.0)],
    };
    let dots = |report: &Report| report.plot().matches("<circle").count();
    assert_eq!(dots(&report(vec![ramp()])), 6, "three of goodput, three of the p99, no p50");
    assert_eq!(dots(&report(vec![other.clone()])), 3);
    assert!(report(vec![ramp(), other]).plot().contains("<svg "));
    assert_eq!(dots(&report(Vec::new())), 0);
    let text = report(vec![ramp()]).to_string();
    assert!(text.contains("90 of") && text.contains("(90.0 %)"), "{text}");
}
