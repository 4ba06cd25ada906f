use weighbridge_config::rollout::RolloutSpec;

use super::*;
use crate::contract::fixture::{shadow_then, steps, v, weights};
use crate::experiment::{Experiment, ExperimentState};
use crate::transitions::tests::{model, route, sentence};

const MOMENT: Moment<'_> = Moment { revision: 9, at: 5_000, actor: "key:wbk_ada" };

fn held() -> Standing {
    Standing::Held { reason: "no-data".to_owned() }
}

/// All moves, in the order of the tables below.
fn all_moves() -> [RolloutMove; 12] {
    [
        RolloutMove::BeginSteps,
        RolloutMove::Advance,
        RolloutMove::Promote,
        RolloutMove::PromoteNow,
        RolloutMove::RollBack,
        RolloutMove::Pause,
        RolloutMove::Resume,
        RolloutMove::AskApproval,
        RolloutMove::Approve,
        RolloutMove::Hold { reason: "no-data".to_owned() },
        RolloutMove::Regressed,
        RolloutMove::End,
    ]
}

/// A model with version 1 in force and a rollout to version 5 in that state.
fn under_way(spec: RolloutSpec, phase: Phase, standing: Standing) -> Model {
    let mut model = model();
    model.route = Some(route(4, 1, Some(2)));
    let new = NewRollout { id: "ro-1".to_owned(), to: v(5), spec, reason: None };
    let started = Moment { revision: 8, at: 1_000, ..MOMENT };
    let mut rollout = start(&model, new, Earlier::default(), &started).expect("a rollout").rollout;
    if let Phase::Live { step } = phase {
        let weight = rollout.spec.steps[step].as_points();
        let base = model.route.replace(route(5, 1, Some(4)));
        let current = model.route.as_mut().expect("a route");
        let split = current.split.reweighted(&weights(&[(1, 10_000 - weight), (5, weight)]));
        current.split = split.expect("a split");
        current.cause = RouteCause::Step;
        model.previous_route = base;
    }
    rollout.phase = phase;
    rollout.standing = standing;
    model.rollout = Some(rollout);
    model
}

fn moved(model: &Model, step: &RolloutMove) -> Result<Option<Moved>> {
    make_move(model, step, &MoveRecord::default(), false, &MOMENT)
}

/// The state after a move in one letter.
fn letter(rollout: &Rollout) -> char {
    match (&rollout.phase, &rollout.standing) {
        (Phase::Ended { outcome: RolloutOutcome::Promoted }, _) => 'P',
        (Phase::Ended { outcome: RolloutOutcome::RolledBack }, _) => 'B',
        (Phase::Ended { outcome: RolloutOutcome::Ended }, _) => 'E',
        (_, Standing::Paused) => 'p',
        (_, Standing::WaitsForApproval) => 'w',
        (_, Standing::Held { .. }) => 'h',
        (_, Standing::Running) if rollout.approved => 'a',
        (_, Standing::Running) => 'r',
    }
}

/// The row of a state: one letter per move, a full stop for a refusal, `=` for nothing to do,
/// and a digit for the step that a move forward leads to.
fn row(model: &Model) -> String {
    let before = rollout_before(model);
    let answer = |step: &RolloutMove| match moved(model, step) {
        Ok(None) => '=',
        Ok(Some(moved)) => match moved.rollout.phase {
            Phase::Live { step } if before.phase != moved.rollout.phase => {
                char::from_digit(step as u32, 10).expect("a digit")
            }
            _ => letter(&moved.rollout),
        },
        Err(Error::Illegal(sentence)) => {
            for part in ["rollout 1 (version 5 of fraud) cannot", step.word(), &state(before)] {
                assert!(sentence.contains(part), "{sentence} lacks {part}");
            }
            '.'
        }
        Err(other) => panic!("{other:?}"),
    };
    all_moves().iter().map(answer).collect()
}

fn rollout_before(model: &Model) -> &Rollout {
    model.rollout.as_ref().expect("a rollout")
}

/// Every state against every move. Columns: begin steps, advance, promote, promote now, roll
/// back, pause, resume, ask approval, approve, hold, regressed, end.
#[test]
fn each_state_allows_and_refuses_what_it_should() {
    let table = [
        (Phase::Shadow, ["0..PBp=..hrE", "...PB=r..hpE", "...PBp.=ahwE", "...PBpr..=hE"]),
        (Phase::Live { step: 0 }, [".1.PBp=..hrE", "...PB=r..hpE", "...PBp.=ahwE", "...PBpr..=hE"]),
        (Phase::Live { step: 2 }, ["..PPBp=..hrE", "...PB=r..hpE", "...PBp.=ahwE", "...PBpr..=hE"]),
        (ended(RolloutOutcome::Promoted), ["............"; 4]),
        (ended(RolloutOutcome::RolledBack), ["............"; 4]),
        (ended(RolloutOutcome::Ended), ["............"; 4]),
    ];
    let standings = [Standing::Running, Standing::Paused, Standing::WaitsForApproval, held()];
    for (phase, rows) in table {
        for (standing, wanted) in standings.clone().into_iter().zip(rows) {
            let model = under_way(shadow_then(&[5, 25, 50]), phase, standing.clone());
            assert_eq!(row(&model), wanted, "{phase:?} {standing:?}");
        }
    }
}

/// The same for a rollout that runs and whose spec wants an approval before each weight: not
/// approved, then approved.
#[test]
fn weights_that_want_an_approval_are_not_reached_without() {
    for (phase, lacking, approved) in [
        (Phase::Shadow, "...PBp=w.hrE", "0..PBp=.=haE"),
        (Phase::Live { step: 0 }, "...PBp=w.hrE", ".1.PBp=.=haE"),
        (Phase::Live { step: 2 }, "...PBp=w.hrE", "..PPBp=.=haE"),
    ] {
        let mut spec = shadow_then(&[5, 25, 50]);
        spec.approve = [5, 25, 50, 100].map(Percent::whole).to_vec();
        let mut model = under_way(spec, phase, Standing::Running);
        assert_eq!(row(&model), lacking, "{phase:?}");
        let refused = sentence(moved(&model, &RolloutMove::AskApproval));
        assert_eq!(refused, None);
        if let Some(rollout) = &mut model.rollout {
            rollout.approved = true;
        }
        assert_eq!(row(&model), approved, "{phase:?} approved");
    }
    // The approval is spent on the weight it was for.
    let mut spec = shadow_then(&[5, 25]);
    spec.approve = vec![Percent::whole(5), Percent::whole(25)];
    let mut model = under_way(spec, Phase::Shadow, Standing::WaitsForApproval);
    for (step, lacks) in [(RolloutMove::Approve, false), (RolloutMove::BeginSteps, true)] {
        let next = moved(&model, &step).expect("a move").expect("a change").rollout;
        assert_eq!(next.lacks_approval(), lacks, "{step:?}");
        model.rollout = Some(next);
    }
    let answer = sentence(moved(&model, &RolloutMove::Advance)).unwrap_or_default();
    assert!(answer.contains("an approval before 25%"), "{answer}");
}

#[test]
fn frozen_rollouts_go_back_and_not_forward() {
    for (phase, forward) in [
        (Phase::Shadow, RolloutMove::BeginSteps),
        (Phase::Live { step: 0 }, RolloutMove::Advance),
        (Phase::Live { step: 1 }, RolloutMove::Promote),
    ] {
        let model = under_way(shadow_then(&[5, 25]), phase, Standing::Running);
        let frozen =
            |step: &RolloutMove| make_move(&model, step, &MoveRecord::default(), true, &MOMENT);
        let answer = sentence(frozen(&forward)).unwrap_or_default();
        assert!(answer.contains("frozen"), "{answer}");
        for step in all_moves().iter().filter(|step| **step != forward) {
            assert_eq!(frozen(step).ok(), moved(&model, step).ok(), "{phase:?} {step:?}");
        }
    }
}

/// What each move makes of the route: weights, cause, and where a rollback from it leads.
#[test]
fn moves_set_the_route_that_belongs_to_their_phase() {
    let shadow = under_way(shadow_then(&[5, 25]), Phase::Shadow, Standing::Running);
    let first = under_way(shadow_then(&[5, 25]), Phase::Live { step: 0 }, held());
    let last = under_way(shadow_then(&[5, 25]), Phase::Live { step: 1 }, Standing::Running);
    // The base, sequence 4, came after sequence 2.
    for (model, step, wanted) in [
        (&shadow, RolloutMove::BeginSteps, Some(("1=95% 5=5%", RouteCause::Step, Some(4)))),
        (&shadow, RolloutMove::PromoteNow, Some(("5=100%", RouteCause::Promote, Some(4)))),
        (&shadow, RolloutMove::RollBack, None),
        (&shadow, RolloutMove::End, None),
        (&first, RolloutMove::Resume, None),
        (&first, RolloutMove::PromoteNow, Some(("5=100%", RouteCause::Promote, Some(4)))),
        (&first, RolloutMove::RollBack, Some(("1=100%", RouteCause::RollBack, Some(2)))),
        (&first, RolloutMove::End, None),
        (&last, RolloutMove::Promote, Some(("5=100%", RouteCause::Promote, Some(4)))),
    ] {
        let after = moved(model, &step).expect("a move").expect("a change");
        let route = after.route.as_ref();
        let got = route.map(|next| (next.split.to_string(), next.cause, next.previous));
        let wanted = wanted.map(|(split, cause, previous)| (split.to_owned(), cause, previous));
        assert_eq!(got, wanted, "{step:?}");
        assert_eq!(after.rollout.revision, MOMENT.revision);
    }
}

#[test]
fn a_step_keeps_the_callers_of_the_step_before() {
    let first = under_way(steps(&[5, 25]), Phase::Live { step: 0 }, Standing::Running);
    let next = moved(&first, &RolloutMove::Advance).expect("a move").expect("a change");
    let before = &first.route.as_ref().expect("a route").split;
    let after = next.route.expect("a route").split;
    assert!((0..500).all(|point| before.version_at(point) == v(5)));
    assert!((0..2_500).all(|point| after.version_at(point) == v(5)));
}

#[test]
fn a_canary_that_had_a_part_of_the_base_loses_it() {
    let mut model = model();
    let mut base = route(4, 1, Some(2));
    base.split = base.split.reweighted(&weights(&[(1, 9_500), (5, 500)])).expect("a split");
    model.route = Some(base);
    let new =
        NewRollout { id: "ro".to_owned(), to: v(5), spec: shadow_then(&[1, 25]), reason: None };
    let started = start(&model, new, Earlier::default(), &MOMENT).expect("a rollout");
    assert_eq!(started.route, None);
    model.rollout = Some(started.rollout);
    // Down to the first step, and to nothing by a rollback, in the shadow phase already.
    let begun = moved(&model, &RolloutMove::BeginSteps).expect("a move").expect("a change");
    assert_eq!(begun.route.map(|r| r.split.to_string()), Some("1=99% 5=1%".to_owned()));
    let back = moved(&model, &RolloutMove::RollBack).expect("a move").expect("a change");
    let back = back.route.expect("a route");
    assert_eq!((back.split.to_string(), back.previous), ("1=100%".to_owned(), Some(2)));
}

#[test]
fn times_follow_the_moves() {
    let first = under_way(steps(&[5, 25]), Phase::Live { step: 0 }, held());
    let times = |step: &RolloutMove| {
        let after = moved(&first, step).expect("a move").expect("a change").rollout;
        (after.step_since, after.ended_at, after.undo_until)
    };
    let undo_until = 5_000 + 30 * 60_000;
    assert_eq!(times(&RolloutMove::Resume), (5_000, None, None));
    assert_eq!(times(&RolloutMove::Pause), (1_000, None, None));
    assert_eq!(times(&RolloutMove::Regressed), (1_000, None, None));
    assert_eq!(times(&RolloutMove::RollBack), (5_000, Some(5_000), None));
    assert_eq!(times(&RolloutMove::PromoteNow), (5_000, Some(5_000), Some(undo_until)));
}

#[test]
fn a_canary_that_is_no_longer_ready_gets_no_more_traffic() {
    let mut model = under_way(shadow_then(&[5]), Phase::Shadow, Standing::Running);
    model.versions[4].state = crate::VersionState::Archived;
    for step in [RolloutMove::BeginSteps, RolloutMove::PromoteNow] {
        let answer = sentence(moved(&model, &step)).unwrap_or_default();
        assert!(answer.contains("archived"), "{answer}");
    }
    assert!(moved(&model, &RolloutMove::RollBack).is_ok());
}

#[test]
fn starts_are_refused_with_the_reason() {
    let mut routed = model();
    routed.route = Some(route(4, 1, None));
    let begin = |model: &Model, to: u32, spec: RolloutSpec, attempts: u32, reason: Option<&str>| {
        let reason = reason.map(str::to_owned);
        let new = NewRollout { id: "ro-1".to_owned(), to: v(to), spec, reason };
        let earlier = Earlier { attempts, ..Earlier::default() };
        sentence(start(model, new, earlier, &MOMENT))
    };
    let plain = || steps(&[5, 25]);
    assert_eq!(begin(&routed, 5, plain(), 0, None), None);
    let (mut split, mut other_stable) = (routed.clone(), routed.clone());
    if let (Some(split), Some(other)) = (&mut split.route, &mut other_stable.route) {
        let thirds = Split::new(&weights(&[(1, 9_000), (7, 1_000)]));
        split.split = thirds.expect("a split");
        other.split = Split::new(&weights(&[(1, 4_000), (5, 6_000)])).expect("a split");
    }
    let mut with_experiment = routed.clone();
    with_experiment.experiment = Some(running_experiment(&routed));
    let active = under_way(plain(), Phase::Live { step: 0 }, Standing::Paused);
    let mut gated = plain();
    gated.approve = vec![Percent::whole(5)];
    for (model, to, spec, why) in [
        (&model(), 5, plain(), "promote one first"),
        (&active, 5, plain(), "rollout 1 (version 5 of fraud) is paused at step 1 of 2 (5%)"),
        (&with_experiment, 5, plain(), "experiment colours"),
        (&routed, 2, plain(), "has not ended"),
        (&routed, 3, plain(), "slow"),
        (&routed, 4, plain(), "archived"),
        (&routed, 1, plain(), "version 1 is the stable version already"),
        (&other_stable, 5, plain(), "version 5 is the stable version already"),
        (&split, 5, plain(), "version 7 is neither"),
        (&routed, 5, steps(&[]), "steps: 0 steps"),
        (&routed, 5, steps(&[25, 5]), "steps[1]"),
        (&routed, 5, gated, "without a shadow stage"),
    ] {
        let answer = begin(model, to, spec, 0, None).unwrap_or_default();
        assert!(answer.contains(why) && answer.contains("fraud"), "{answer} lacks {why}");
    }
    // The fourth attempt and later ones say why.
    for (attempts, reason, allowed) in [
        (2, None, true),
        (3, None, false),
        (3, Some("  "), false),
        (3, Some("the cause was the network"), true),
        (9, None, false),
    ] {
        let answer = begin(&routed, 5, plain(), attempts, reason);
        assert_eq!(answer.is_none(), allowed, "{attempts} {reason:?} {answer:?}");
        assert!(answer.is_none_or(|a| a.contains(&format!("attempt {}", attempts + 1))));
    }
}

fn running_experiment(model: &Model) -> Experiment {
    Experiment {
        id: "ex-1".to_owned(),
        model: model.name.clone(),
        name: "colours".to_owned(),
        spec: serde_json::Value::Null,
        versions: [v(1), v(5)].into(),
        state: ExperimentState::Running,
        epoch: 0,
        shares: None,
        revision: 3,
        started_at: 1,
        started_by: "system".to_owned(),
        stopped_at: None,
        stopped_by: None,
        outcome: None,
    }
}
