use super::*;

fn spec(metric: &str) -> ExperimentSpec {
    let text = format!(
        r#"
        name = "x"
        unit = "header:u"
        variants = [
            {{ name = "a", version = 1, weight = 50 }},
            {{ name = "b", version = 2, weight = 50 }},
        ]
        n0 = 1000
        metrics = {{ primary = {{ name = "m", window = "10s", {metric} }} }}
        bandit = {{ thompson = {{ every = "2s", horizon = "1h", half_life = "1m" }} }}
    "#
    );
    ExperimentSpec::parse(&text).unwrap()
}

fn thompson(spec: &ExperimentSpec) -> Thompson {
    match &spec.bandit {
        weighbridge_config::experiment::Bandit::Thompson(thompson) => thompson.clone(),
        other => panic!("{other:?}"),
    }
}

/// Units of alternating variants, all with feedback: `ones` of a hundred of a variant are 1.
fn units(count: usize, ones: [usize; 2]) -> Vec<Observation> {
    let unit = |n: usize| {
        let variant = n % 2;
        let value = f64::from(u8::from((n / 2 * 37) % 100 < ones[variant]));
        Observation { variant, share: 0.5, epoch: 0, at: n as u64, count: 1, sum: value }
    };
    (0..count).map(unit).collect()
}

fn stepped(spec: &ExperimentSpec, units: Vec<Observation>, situation: Situation<'_>) -> Step {
    let mut state = 1u64;
    let mut random = || {
        // SplitMix64.
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    };
    step(spec, &thompson(spec), units, situation, &mut random)
}

const SITUATION: Situation<'_> =
    Situation { now: 20_000, started_at: 0, points: &[5000, 5000], split_is_wrong: false };

#[test]
fn weights_go_to_the_better_and_stay_where_there_is_no_difference() {
    let up = spec("kind = \"binary\"");
    let Step::Reweight(points) = stepped(&up, units(200, [30, 50]), SITUATION) else {
        panic!("no new weights")
    };
    assert_eq!(points, [2500, 7500], "at most half or double");
    let down = spec("kind = \"binary\", better = \"down\"");
    assert_eq!(stepped(&down, units(200, [30, 50]), SITUATION), Step::Reweight(vec![7500, 2500]));
    let real = spec("kind = \"real\"");
    assert_eq!(stepped(&real, units(200, [30, 50]), SITUATION), Step::Reweight(vec![2500, 7500]));
    let already = Situation { points: &[500, 9500], ..SITUATION };
    assert_eq!(stepped(&up, units(200, [30, 50]), already), Step::Stay(Stay::Same));
}

#[test]
fn a_clear_winner_ends_the_changes() {
    let spec = spec("kind = \"binary\"");
    assert_eq!(stepped(&spec, units(4000, [10, 60]), SITUATION), Step::Settled(1));
}

#[test]
fn weights_stay_without_feedback_or_with_a_wrong_split_or_after_the_horizon() {
    let spec = spec("kind = \"binary\"");
    let stay = |units, situation| match stepped(&spec, units, situation) {
        Step::Stay(stay) => stay,
        other => panic!("{other:?}"),
    };
    let good = || units(200, [30, 50]);
    assert_eq!(stay(vec![], SITUATION), Stay::NoFeedback);
    // The window of none of them has passed.
    assert_eq!(stay(good(), Situation { now: 9_999, ..SITUATION }), Stay::NoFeedback);
    let wrong = Situation { split_is_wrong: true, ..SITUATION };
    assert_eq!(stay(good(), wrong), Stay::SplitWrong);
    let late = Situation { now: 3_600_001, ..SITUATION };
    assert_eq!(stay(good(), late), Stay::HorizonPassed);
    let mut silent = good();
    silent[150..].iter_mut().for_each(|unit| (unit.count, unit.sum) = (0, 0.0));
    assert_eq!(stay(silent, SITUATION), Stay::FeedbackStopped);
    // Of rare feedback a longer silence is no sign.
    let mut rare = good();
    rare.iter_mut().filter(|u| u.at % 20 != 0).for_each(|u| (u.count, u.sum) = (0, 0.0));
    assert_ne!(stepped(&spec, rare, SITUATION), Step::Stay(Stay::FeedbackStopped));
}

#[test]
fn old_units_count_less() {
    let spec = spec("kind = \"binary\"");
    // Long ago b was better; of late a is.
    let mut all = units(400, [20, 60]);
    let mut new = units(400, [60, 20]);
    new.iter_mut().for_each(|unit| unit.at += 900_000);
    all.extend(new);
    let situation = Situation { now: 920_000, ..SITUATION };
    let Step::Reweight(points) = stepped(&spec, all.clone(), situation) else { panic!() };
    assert_eq!(points, [7500, 2500]);
    let mut forgetful = spec.clone();
    let weighbridge_config::experiment::Bandit::Thompson(bandit) = &mut forgetful.bandit else {
        panic!()
    };
    bandit.half_life = None;
    assert_eq!(stepped(&forgetful, all, situation), Step::Stay(Stay::Same));
}

#[test]
fn steps_are_no_shorter_than_the_window() {
    let spec = spec("kind = \"binary\"");
    let period = period(&thompson(&spec), &spec.metrics.primary);
    assert_eq!(period, Duration::from_secs(10));
}
