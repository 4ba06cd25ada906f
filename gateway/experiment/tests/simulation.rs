//! What the statistics promise, held against simulated experiments. Bounded to some seconds;
//! the seeds are fixed.

use rand::{RngExt, SeedableRng, rngs::SmallRng};
use weighbridge_config::ExperimentSpec;
use weighbridge_config::experiment::Bandit;
use weighbridge_experiment::effect::{Demand, Pair, Valued, effect};
use weighbridge_experiment::mismatch::Split;
use weighbridge_experiment::thompson::{Situation, Step, step};
use weighbridge_experiment::{Analysis, Decision, Observation, Study};

const PAIR: Pair = Pair { treatment: 1, control: 0 };

/// Draws values, given a uniform number.
type Draw = fn(&mut SmallRng) -> f64;

fn normal(rng: &mut SmallRng) -> f64 {
    let (one, other): (f64, f64) = (1.0 - rng.random::<f64>(), rng.random());
    (-2.0 * one.ln()).sqrt() * (2.0 * std::f64::consts::PI * other).cos()
}

fn rate(rng: &mut SmallRng, of: f64) -> f64 {
    f64::from(u8::from(rng.random::<f64>() < of))
}

/// Looks from the first possible moment on, each after 5 % more units.
fn ever_misses(values: &[Valued], shares: &[f64], demand: Demand, truth: f64) -> bool {
    let mut look = 200;
    while look < values.len() {
        if let Ok(effect) = effect(&values[..look], PAIR, shares, demand)
            && !(effect.lower..=effect.upper).contains(&truth)
        {
            return true;
        }
        look += look / 20;
    }
    false
}

#[test]
fn intervals_cover_no_difference_however_often_somebody_looks() {
    const RUNS: u32 = 120;
    const UNITS: usize = 6_000;
    let scenarios: [(&str, Draw); 6] = [
        ("even", |rng| rate(rng, 0.5)),
        ("rare", |rng| rate(rng, 0.02)),
        ("very rare", |rng| rate(rng, 0.005)),
        ("a high level", |rng| 1000.0 + normal(rng)),
        ("heavy tails", |rng| (1.5 * normal(rng)).exp()),
        ("mostly nothing", |rng| rate(rng, 0.03) * (3.0 + normal(rng)).exp()),
    ];
    let demand = Demand { alpha: 0.05, n0: 2000.0, min_units: 100 };
    for (name, draw) in scenarios {
        for share in [0.5, 0.1] {
            let mut rng = SmallRng::seed_from_u64(11);
            let mut missed = 0;
            for _ in 0..RUNS {
                let values: Vec<Valued> = (0..UNITS)
                    .map(|_| {
                        let variant = usize::from(rng.random::<f64>() < share);
                        let share = [1.0 - share, share][variant];
                        Valued { variant, share, value: draw(&mut rng) }
                    })
                    .collect();
                missed += u32::from(ever_misses(&values, &[1.0 - share, share], demand, 0.0));
            }
            // 5 % of 120, and three standard deviations.
            assert!(missed <= 13, "{name} at {share}: {missed} of {RUNS} ever missed");
        }
    }
}

#[test]
fn intervals_cover_a_difference_and_a_drift() {
    const RUNS: u32 = 200;
    let demand = Demand { alpha: 0.05, n0: 2000.0, min_units: 100 };
    let mut rng = SmallRng::seed_from_u64(12);
    let (mut missed, mut found) = (0, 0);
    for _ in 0..RUNS {
        let values: Vec<Valued> = (0..6_000)
            .map(|n| {
                let variant = usize::from(rng.random::<bool>());
                let level = 0.2 + 0.3 * f64::from(n) / 6_000.0;
                let value = rate(&mut rng, level + 0.06 * variant as f64);
                Valued { variant, share: 0.5, value }
            })
            .collect();
        missed += u32::from(ever_misses(&values, &[0.5, 0.5], demand, 0.06));
        let last = effect(&values, PAIR, &[0.5, 0.5], demand).unwrap();
        found += u32::from(last.lower > 0.0);
    }
    assert!(missed <= 19, "{missed} of {RUNS} ever missed");
    assert!(found > RUNS * 8 / 10, "only {found} of {RUNS} found six percentage points");
}

#[test]
fn a_right_split_raises_no_alarm_and_lost_units_do() {
    const RUNS: usize = 1_000;
    let mut rng = SmallRng::seed_from_u64(13);
    for shares in [vec![0.5, 0.5], vec![0.05, 0.95], vec![0.2, 0.3, 0.5]] {
        let mut beyond = [0; 2];
        for _ in 0..RUNS {
            let (mut split, mut most) = (Split::default(), 0.0f64);
            for n in 0..4_000u32 {
                let mut left = rng.random::<f64>();
                let variant = shares.iter().position(|share| {
                    left -= share;
                    left < 0.0
                });
                let variant = variant.unwrap_or(shares.len() - 1);
                split.add(u64::from(n / 1000), variant, shares[variant]);
                if n % 50 == 49 {
                    most = most.max(split.log_evidence());
                }
            }
            beyond[0] += usize::from(most >= 20f64.ln());
            beyond[1] += usize::from(most >= 1000f64.ln());
        }
        // At most 5 % and 0.1 % of them, with three standard deviations.
        assert!(beyond[0] <= 70 && beyond[1] <= 4, "{shares:?}: {beyond:?} of {RUNS}");
    }
    let mut detected = 0;
    for _ in 0..100 {
        let mut split = Split::default();
        for _ in 0..20_000 {
            let variant = usize::from(rng.random::<bool>());
            if variant == 0 || rng.random::<f64>() > 0.1 {
                split.add(0, variant, 0.5);
            }
        }
        detected += u32::from(split.log_evidence() >= 1000f64.ln());
    }
    assert!(detected > 95, "{detected} of 100 losses of 10 % of a variant's units were seen");
}

fn spec(extra: &str) -> ExperimentSpec {
    let text = format!(
        r#"
        name = "x"
        unit = "header:u"
        variants = [
            {{ name = "a", version = 1, weight = 50 }},
            {{ name = "b", version = 2, weight = 50 }},
        ]
        n0 = 2000
        {extra}
    "#
    );
    ExperimentSpec::parse(&text).unwrap()
}

#[test]
fn thompson_finds_the_better_variant_and_the_estimate_stays_unbiased() {
    const RUNS: u32 = 80;
    const TRUTH: f64 = 0.05;
    let spec = spec(
        "metrics = { primary = { name = \"m\", kind = \"binary\", window = \"1s\" } }
         bandit = { thompson = { every = \"1s\", horizon = \"1day\" } }",
    );
    let Bandit::Thompson(thompson) = &spec.bandit else { panic!() };
    let demand = Demand { alpha: 0.05, n0: 2000.0, min_units: 100 };
    let mut rng = SmallRng::seed_from_u64(14);
    let (mut on_better, mut missed, mut sum, mut squares) = (0u32, 0, 0.0, 0.0);
    for _ in 0..RUNS {
        let mut points = vec![5000, 5000];
        let mut units: Vec<Observation> = Vec::new();
        for epoch in 0..30 {
            for _ in 0..150 {
                let share = f64::from(points[1]) / 10_000.0;
                let variant = usize::from(rng.random::<f64>() < share);
                let value = rate(&mut rng, 0.10 + TRUTH * variant as f64);
                let share = [1.0 - share, share][variant];
                let at = units.len() as u64;
                units.push(Observation { variant, share, epoch, at, count: 1, sum: value });
            }
            let now = 10_000_000;
            let situation =
                Situation { now, started_at: now, points: &points, split_is_wrong: false };
            let mut random = || rng.random::<u64>();
            if let Step::Reweight(next) =
                step(&spec, thompson, units.clone(), situation, &mut random)
            {
                points = next;
            }
        }
        on_better += u32::from(points[1] >= 8000);
        let values: Vec<Valued> = units
            .iter()
            .map(|u| Valued { variant: u.variant, share: u.share, value: u.sum })
            .collect();
        missed += u32::from(ever_misses(&values, &[0.5, 0.5], demand, TRUTH));
        let estimate = effect(&values, PAIR, &[0.5, 0.5], demand).unwrap().estimate;
        sum += estimate;
        squares += estimate * estimate;
    }
    let runs = f64::from(RUNS);
    let (mean, of_squares) = (sum / runs, squares / runs);
    let error = ((of_squares - mean * mean) / runs).sqrt();
    assert!((mean - TRUTH).abs() < 3.5 * error, "{mean} ± {error}");
    assert!(missed <= 10, "{missed} of {RUNS} intervals ever missed");
    assert!(on_better > RUNS * 9 / 10, "{on_better} of {RUNS} sent most units to the better");
}

#[test]
fn a_study_ships_what_is_better_and_nothing_in_an_a_a_test() {
    let spec = spec(
        r#"
        [metrics.primary]
        name = "clicks"
        kind = "binary"
        window = "1m"
        [[metrics.guardrails]]
        name = "seconds"
        kind = "real"
        better = "down"
        window = "1m"
        margin = 0.5
    "#,
    );
    let analysed = |lift: f64, slower: f64, lost: f64, seed: u64| {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut study = Study::new(&spec, 100_000_000);
        let mut of: [Vec<Observation>; 2] = Default::default();
        for at in 0..8_000 {
            let variant = usize::from(rng.random::<bool>());
            let clicks = rate(&mut rng, 0.2 + lift * variant as f64);
            let seconds = 3.0 + normal(&mut rng) + slower * variant as f64;
            if variant == 1 && rng.random::<f64>() < lost {
                continue;
            }
            let unit = Observation { variant, share: 0.5, epoch: 0, at, count: 1, sum: 0.0 };
            of[0].push(Observation { sum: clicks, ..unit });
            of[1].push(Observation { sum: seconds, ..unit });
        }
        let [clicks, seconds] = of;
        study.take(&spec.metrics.primary, clicks, &[]);
        study.take(&spec.metrics.guardrails[0], seconds, &[]);
        study.finish(3)
    };
    let decision = |lift, slower, lost, seed| {
        let analysis = analysed(lift, slower, lost, seed);
        let json = serde_json::to_string(&analysis).unwrap();
        let read: Analysis = serde_json::from_str(&json).unwrap();
        assert_eq!(read.comparisons[0].reason, analysis.comparisons[0].reason);
        analysis.comparisons[0].decision
    };
    for seed in 0..10 {
        assert_eq!(decision(0.08, 0.0, 0.0, seed), Decision::Ship);
        assert_eq!(decision(0.08, 1.0, 0.0, seed), Decision::GuardrailBroken);
        assert_eq!(decision(-0.08, 0.0, 0.0, seed), Decision::Worse);
        assert_eq!(decision(0.08, 0.0, 0.3, seed), Decision::SampleRatioMismatch);
        assert_eq!(decision(0.0, 0.0, 0.0, seed), Decision::KeepGoing);
    }
    let analysis = analysed(0.0, 0.0, 0.0, 1);
    assert_eq!(analysis.forced, 3);
    assert_eq!(analysis.units.iter().map(|u| u.units).sum::<u64>(), 8_000);
    assert!(analysis.metrics[0].join.is_none() && analysis.metrics[1].join.is_some());
}
