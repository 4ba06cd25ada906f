//! Stored evidence: a restart, a second shard and a replay change nothing.

use proptest::prelude::*;
use weighbridge_config::rollout::{Percent, RateMargins, RolloutSpec};
use weighbridge_judge::{
    Diff, Judge, Latencies, Observed, Outcomes, Pair, Pairs, Rewards, ShadowJudge, Situation,
    Standing, State, Tail, TailPart, decide, decide_shadow, replay, replay_shadow,
};

/// What arrives between two looks.
#[derive(Debug, Clone)]
struct Seconds {
    step: usize,
    outcomes: Pair<Outcomes>,
    latencies: Pair<Latencies>,
    rewards: Pair<Rewards>,
    warm_up: bool,
    tail: Pair<Outcomes>,
    ms: u64,
}

fn outcomes() -> impl Strategy<Value = Outcomes> {
    (0..400_u64, 0..20_u64, 0..20_u64, 0..5_u64)
        .prop_map(|(ok, err, client_error, unit_err)| Outcomes { ok, err, client_error, unit_err })
}

fn latencies() -> impl Strategy<Value = Latencies> {
    let levels = || prop::array::uniform9(0..60_u64);
    (levels(), levels(), 0..30_u64, 0..300_u64).prop_map(
        |(rollback, promote, slo_missed, slo_met)| Latencies {
            rollback,
            promote,
            slo_missed,
            slo_met,
        },
    )
}

fn rewards() -> impl Strategy<Value = Rewards> {
    (0..50_u64, 0..50_u64).prop_map(|(good, bad)| Rewards { good, bad })
}

/// The same of both variants.
fn pair<S: Strategy>(of: impl Fn() -> S) -> impl Strategy<Value = Pair<S::Value>> {
    (of(), of()).prop_map(|(canary, stable)| Pair { canary, stable })
}

fn seconds() -> impl Strategy<Value = Seconds> {
    let counts = (pair(outcomes), pair(latencies), pair(rewards));
    (0..4_usize, counts, any::<bool>(), pair(outcomes), 0..200_000_u64).prop_map(
        |(step, (outcomes, latencies, rewards), warm_up, tail, ms)| Seconds {
            step,
            outcomes,
            latencies,
            rewards,
            warm_up,
            tail,
            ms,
        },
    )
}

fn spec() -> RolloutSpec {
    let text = r#"
        [client_errors]
        rollback_pp = 1.0
        promote_pp = 2.0
        [slo]
        latency = "200ms"
        [reward]
        metric = "clicked"
        good_at_least = 1.0
    "#;
    RolloutSpec::parse(text).expect("a spec")
}

fn observed(key: bool) -> Observed {
    if key { Observed::Key } else { Observed::Request }
}

fn feed(judge: &mut Judge, spec: &RolloutSpec, at_ms: &mut u64, of: &Seconds) -> Tail {
    let weight = spec.steps[of.step];
    *at_ms += of.ms;
    judge.begin_epoch(of.step, weight);
    judge.open_starts(*at_ms);
    judge.absorb_outcomes(weight, &of.outcomes, of.warm_up);
    judge.absorb_latencies(weight, &of.latencies);
    judge.absorb_rewards(weight, &of.rewards);
    let part =
        TailPart { weight, warm_up: Pair::default(), counted: of.tail, open: Pair::default() };
    Tail { parts: vec![part] }
}

/// As a database would keep it.
fn stored(state: &State) -> State {
    let text = serde_json::to_string(state).expect("JSON");
    assert!(text.len() < 12_000, "{} bytes", text.len());
    serde_json::from_str(&text).expect("what was written")
}

fn situation(step: usize) -> Situation {
    Situation {
        step,
        standing: Standing::Running,
        frozen: false,
        at_step_ms: 200_000,
        since_canary_ms: 0,
        expected_per_s: 1.0,
        told: false,
        abort: None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_restart_changes_nothing(
        all in prop::collection::vec(seconds(), 1..12),
        cut in 0..12_usize,
        key in any::<bool>(),
    ) {
        let (spec, observed) = (spec(), observed(key));
        let mut through = Judge::new(&spec, observed);
        let mut restarted = Judge::new(&spec, observed);
        let (mut at, mut at_too) = (0, 0);
        for (place, of) in all.iter().enumerate() {
            if place == cut % all.len() {
                restarted = Judge::restore(&spec, observed, stored(restarted.state())).expect("the same spec");
            }
            let tail = feed(&mut through, &spec, &mut at, of);
            feed(&mut restarted, &spec, &mut at_too, of);
            let before = through.state().clone();
            let seen = through.assess(&tail);
            prop_assert_eq!(&seen, &restarted.assess(&tail));
            prop_assert_eq!(through.state(), restarted.state());
            // What was decided is decided again.
            let now = situation(of.step);
            let decision = decide(&spec, &seen, &now);
            for state in [&before, through.state()] {
                let again = replay(&spec, observed, &stored(state), &tail, &now).expect("the same spec");
                prop_assert_eq!(&decision, &again);
            }
        }
    }

    #[test]
    fn shards_add_up(all in prop::collection::vec(seconds(), 1..8), key in any::<bool>()) {
        let (spec, observed) = (spec(), observed(key));
        let (mut one, mut two) = (Judge::new(&spec, observed), Judge::new(&spec, observed));
        let (mut at, mut at_too) = (0, 0);
        for of in &all {
            let tail = feed(&mut one, &spec, &mut at, of);
            // The same counts from two threads, one of which saw the errors only.
            let weight = spec.steps[of.step];
            let errors = |of: &Outcomes| Outcomes { err: of.err, ..Outcomes::default() };
            let others = |of: &Outcomes| Outcomes { err: 0, ..*of };
            let part = |f: &dyn Fn(&Outcomes) -> Outcomes| Pair {
                canary: f(&of.outcomes.canary),
                stable: f(&of.outcomes.stable),
            };
            let first = Seconds { outcomes: part(&others), ..of.clone() };
            feed(&mut two, &spec, &mut at_too, &first);
            two.absorb_outcomes(weight, &part(&errors), of.warm_up);
            prop_assert_eq!(part(&others) + part(&errors), of.outcomes);
            prop_assert_eq!(one.assess(&tail), two.assess(&tail));
            prop_assert_eq!(one.state(), two.state());
        }
    }
}

#[test]
fn other_margins_are_another_attempt() {
    let spec = spec();
    let state = Judge::new(&spec, Observed::Request).state().clone();
    type Change = fn(&mut RolloutSpec);
    let changes: [Change; 9] = [
        |of| of.err.rollback_pp = 0.3,
        |of| of.latency.rollback_scale = 1.2,
        |of| of.alpha = 0.02,
        |of| of.beta = 0.02,
        |of| of.steps = vec![Percent::whole(5)],
        |of| of.guard.error_rate = 0.2,
        |of| of.client_errors = Some(RateMargins::default()),
        |of| of.slo = None,
        |of| of.shadow.requests = 0,
    ];
    for (place, change) in changes.into_iter().enumerate() {
        let mut other = spec.clone();
        change(&mut other);
        let refused = Judge::restore(&other, Observed::Request, state.clone());
        assert!(refused.is_err(), "change {place}");
    }
    assert!(Judge::restore(&spec, Observed::Key, state.clone()).is_err());
    let text =
        Judge::restore(&spec, Observed::Key, state.clone()).expect_err("refused").to_string();
    assert!(text.contains("start a new attempt"), "{text}");
    // What does not touch the numbers may change.
    let mut same = spec.clone();
    same.step_max *= 2;
    same.approve = vec![Percent::whole(100)];
    assert!(Judge::restore(&same, Observed::Request, state).is_ok());
}

#[test]
fn damaged_numbers_are_refused() {
    let spec = RolloutSpec::default();
    let text = serde_json::to_string(Judge::new(&spec, Observed::Request).state()).expect("JSON");
    let half = "-0.6931471805599453";
    assert!(text.contains(half));
    let broken = text.replacen(half, "NaN", 1);
    assert!(serde_json::from_str::<State>(&broken).is_err());
    // One bet fewer than the spec has.
    let short = text.replacen(&format!("{half} "), "", 1);
    let short: State = serde_json::from_str(&short).expect("numbers");
    assert!(Judge::restore(&spec, Observed::Request, short).is_err());
}

#[test]
fn a_shadow_stage_is_restored_and_replayed() {
    let spec = RolloutSpec::default();
    let mut judge = ShadowJudge::new(&spec);
    let pairs = Pairs { both_ok: 900, canary_err: 14, stable_err: 1, both_err: 5 };
    judge.absorb(&pairs, &Diff { differ: 3, same: 897 });
    let mut fresh = judge.clone();
    let seen = judge.assess();
    let text = serde_json::to_string(judge.state()).expect("JSON");
    let state = serde_json::from_str(&text).expect("what was written");
    let mut restored = ShadowJudge::restore(&spec, state).expect("the same spec");
    assert_eq!(restored.assess(), seen);
    let now = situation(0);
    let decision = decide_shadow(&spec, &seen, &now);
    assert_eq!(replay_shadow(&spec, judge.state(), &now).expect("the same spec"), decision);
    fresh.absorb(&pairs, &Diff::default());
    assert!(fresh.assess().streams[0].log_e > seen.streams[0].log_e);
    let other = RolloutSpec { alpha: 0.02, ..spec };
    assert!(ShadowJudge::restore(&other, judge.state().clone()).is_err());
}
