use weighbridge_config::rollout::RolloutSpec;

use super::*;
use crate::assessment::{Floor, GuardEvidence};
use crate::counts::{Observed, Pair};

/// What a table row sees; everything else is calm and unproved.
#[derive(Clone, Copy, Default)]
struct Look {
    absolute: bool,
    relative: bool,
    heavy: bool,
    over: bool,
    err: bool,
    thin: bool,
    split: bool,
    proved: bool,
}

fn seen(look: Look) -> Assessment {
    let high = |is: bool| if is { 100.0 } else { -1.0 };
    let stream = |stream, regressed, least: u64| StreamEvidence {
        stream,
        log_e: high(regressed),
        log_e_required: 5.0,
        sup_log_e: 0.0,
        floor: Floor { seen: if look.thin { least - 1 } else { least }, wanted: least },
        log_v: high(look.proved),
        log_v_required: 3.0,
        seen: Pair::default(),
        rollback_margin: 0.002,
        promote_margin: 0.005,
    };
    Assessment {
        step: 1,
        weight: Percent::whole(if look.heavy { 60 } else { 5 }),
        observed: Observed::Request,
        streams: vec![stream(Stream::Err, look.err, 3), stream(Stream::P95, false, 20)],
        guard: GuardEvidence {
            absolute_log_e: high(look.absolute),
            absolute_required: 6.9,
            relative_log_e: high(look.relative),
            relative_required: 3.0,
            wants_relative: !look.heavy,
            goes_on: !look.over,
            canary_errors: 4,
            canary_requests: 4,
        },
        split_log_e: high(look.split),
        counted: Pair::default(),
        total: Pair::default(),
        open: Pair::default(),
    }
}

fn calm() -> Situation {
    Situation {
        step: 1,
        standing: Standing::Running,
        frozen: false,
        at_step_ms: 150_000,
        since_canary_ms: 10,
        expected_per_s: 10.0,
        told: false,
        abort: None,
    }
}

const ERR: Cause = Cause::Regression { stream: Stream::Err };
const EVERY_STANDING: [Standing; 4] =
    [Standing::Running, Standing::Paused, Standing::WaitsForApproval, Standing::Held];

#[test]
fn the_first_rule_that_applies_decides() {
    let spec = RolloutSpec::default();
    let none = Look::default();
    let all = Look { absolute: true, relative: true, err: true, split: true, proved: true, ..none };
    let by_hand = Situation { abort: Some("enough".to_owned()), ..calm() };
    let silent = Situation { since_canary_ms: 60_000, ..calm() };
    let cases = [
        (all, by_hand, Decision::RollBack(Cause::Manual { reason: "enough".to_owned() })),
        (all, calm(), Decision::RollBack(Cause::Guard)),
        (Look { relative: false, ..all }, calm(), Decision::Hold(HoldReason::CommonCause)),
        // The outage is over: the other rules apply again.
        (Look { relative: false, over: true, ..all }, calm(), Decision::RollBack(ERR)),
        (Look { absolute: false, ..all }, calm(), Decision::RollBack(ERR)),
        (
            Look { split: true, proved: true, ..none },
            silent.clone(),
            Decision::Hold(HoldReason::Split),
        ),
        (Look { proved: true, ..none }, silent, Decision::Hold(HoldReason::NoData)),
        (Look { proved: true, ..none }, calm(), Decision::Advance(Grounds::Proved)),
        (none, calm(), Decision::Stay),
        // Above half of the traffic nobody else's failures excuse the canary's.
        (Look { absolute: true, heavy: true, ..none }, calm(), Decision::RollBack(Cause::Guard)),
        (Look { err: true, thin: true, ..none }, calm(), Decision::Stay),
    ];
    for (place, (look, now, wanted)) in cases.into_iter().enumerate() {
        assert_eq!(decide(&spec, &seen(look), &now), wanted, "case {place}");
    }
}

#[test]
fn guard_and_rollback_apply_in_every_standing() {
    let none = Look::default();
    for standing in EVERY_STANDING {
        for frozen in [false, true] {
            for on_regression in [OnRegression::Rollback, OnRegression::Hold, OnRegression::Notify]
            {
                let spec = RolloutSpec { on_regression, ..RolloutSpec::default() };
                let now = Situation { standing, frozen, ..calm() };
                let guard = Look { absolute: true, relative: true, ..none };
                let decision = decide(&spec, &seen(guard), &now);
                assert_eq!(decision, Decision::RollBack(Cause::Guard), "{standing:?}");
            }
            let now = Situation { standing, frozen, ..calm() };
            let err = seen(Look { err: true, ..none });
            assert_eq!(decide(&RolloutSpec::default(), &err, &now), Decision::RollBack(ERR));
        }
    }
}

#[test]
fn only_a_running_rollout_advances() {
    let spec = RolloutSpec::default();
    let proved = seen(Look { proved: true, ..Look::default() });
    for standing in EVERY_STANDING {
        for frozen in [false, true] {
            let now = Situation { standing, frozen, ..calm() };
            let goes = standing == Standing::Running && !frozen;
            let wanted = if goes { Decision::Advance(Grounds::Proved) } else { Decision::Stay };
            assert_eq!(decide(&spec, &proved, &now), wanted, "{standing:?}, frozen: {frozen}");
        }
    }
}

#[test]
fn a_step_lasts_at_least_step_min() {
    let spec = RolloutSpec::default();
    let proved = seen(Look { proved: true, ..Look::default() });
    let at = |at_step_ms| decide(&spec, &proved, &Situation { at_step_ms, ..calm() });
    assert_eq!(at(119_999), Decision::Stay);
    assert_eq!(at(120_000), Decision::Advance(Grounds::Proved));
}

#[test]
fn the_last_step_promotes_and_approvals_are_asked_for() {
    let spec = RolloutSpec {
        approve: vec![Percent::whole(25), Percent::whole(100)],
        ..RolloutSpec::default()
    };
    let free = RolloutSpec::default();
    let proved = seen(Look { proved: true, ..Look::default() });
    let at = |spec: &RolloutSpec, step| decide(spec, &proved, &Situation { step, ..calm() });
    assert_eq!(at(&spec, 0), Decision::Advance(Grounds::Proved));
    assert_eq!(at(&spec, 1), Decision::AskApproval(Grounds::Proved));
    assert_eq!(at(&spec, 3), Decision::AskApproval(Grounds::Proved));
    assert_eq!(at(&free, 3), Decision::Promote(Grounds::Proved));
}

#[test]
fn on_regression() {
    let err = seen(Look { err: true, proved: true, ..Look::default() });
    let with = |on_regression, told, standing| {
        let spec = RolloutSpec { on_regression, ..RolloutSpec::default() };
        decide(&spec, &err, &Situation { told, standing, ..calm() })
    };
    let held = Decision::Stop(HoldReason::Regression { stream: Stream::Err });
    let goes_on = Decision::Advance(Grounds::Proved);
    assert_eq!(with(OnRegression::Hold, false, Standing::Running), held);
    // Once held it waits for somebody; once resumed it goes on.
    assert_eq!(with(OnRegression::Hold, false, Standing::Held), Decision::Stay);
    assert_eq!(with(OnRegression::Hold, true, Standing::Running), goes_on);
    assert_eq!(with(OnRegression::Notify, false, Standing::Running), Decision::Regressed(ERR));
    assert_eq!(with(OnRegression::Notify, true, Standing::Running), goes_on);
    assert_eq!(with(OnRegression::Rollback, true, Standing::Running), Decision::RollBack(ERR));
}

#[test]
fn on_inconclusive() {
    let open = seen(Look::default());
    let late = |on_inconclusive, step, standing, frozen| {
        let spec = RolloutSpec {
            on_inconclusive,
            approve: vec![Percent::whole(5)],
            ..RolloutSpec::default()
        };
        let now = Situation { step, standing, frozen, at_step_ms: 6 * 3_600_000, ..calm() };
        decide(&spec, &open, &now)
    };
    let running = |on, step| late(on, step, Standing::Running, false);
    let held = Decision::Stop(HoldReason::Inconclusive);
    assert_eq!(running(OnInconclusive::Hold, 1), held);
    assert_eq!(running(OnInconclusive::Rollback, 1), Decision::RollBack(Cause::Inconclusive));
    let grounds = Grounds::Inconclusive;
    assert_eq!(running(OnInconclusive::Promote, 1), Decision::Advance(grounds));
    assert_eq!(running(OnInconclusive::Promote, 0), Decision::AskApproval(grounds));
    assert_eq!(running(OnInconclusive::Promote, 3), Decision::Promote(grounds));
    // A freeze stops the advance, nothing else; whoever is paused or held has no time limit.
    assert_eq!(late(OnInconclusive::Promote, 1, Standing::Running, true), Decision::Stay);
    assert_eq!(late(OnInconclusive::Hold, 1, Standing::Running, true), held);
    assert_eq!(late(OnInconclusive::Rollback, 1, Standing::Paused, false), Decision::Stay);
    assert_eq!(late(OnInconclusive::Hold, 1, Standing::Held, false), Decision::Stay);
}

#[test]
fn the_clearest_regression_is_named() {
    let mut both = seen(Look { err: true, ..Look::default() });
    both.streams[1].log_e = 200.0;
    let decision = decide(&RolloutSpec::default(), &both, &calm());
    assert_eq!(decision, Decision::RollBack(Cause::Regression { stream: Stream::P95 }));
}
