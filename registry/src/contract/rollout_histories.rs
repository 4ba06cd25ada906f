//! Random histories of rollouts: whatever is asked in whatever order, what they promise holds.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;
use weighbridge_config::RolloutSpec;
use weighbridge_config::rollout::Percent;

use super::fixture::*;
use crate::{
    Event, IfRollout, IfRouted, Model, MoveRecord, NewRollout, Phase, Result, Rollout, RolloutMove,
    RolloutOutcome, RouteCause, RouteChange, Snapshot,
};

const HISTORIES: u32 = 60;
const LONGEST: usize = 50;
const VERSIONS: u32 = 3;

/// One call, with small numbers so that calls often meet.
#[derive(Debug, Clone)]
enum Step {
    Start { to: u32, shadow: bool, gated: bool },
    Move { step: RolloutMove, evidence: bool, is_stale: bool },
    Evidence { back: u64 },
    Route { to: u32, percent: u32, if_rollout: IfRollout },
    RollBack(IfRollout),
    Archive(u32),
    Freeze(bool),
    StartExperiment,
    StopExperiment,
    DeleteModel,
    Push,
}

fn any_move() -> impl Strategy<Value = RolloutMove> {
    prop_oneof![
        4 => Just(RolloutMove::BeginSteps),
        6 => Just(RolloutMove::Advance),
        3 => Just(RolloutMove::Promote),
        1 => Just(RolloutMove::PromoteNow),
        2 => Just(RolloutMove::RollBack),
        1 => Just(RolloutMove::Pause),
        3 => Just(RolloutMove::Resume),
        3 => Just(RolloutMove::AskApproval),
        3 => Just(RolloutMove::Approve),
        1 => prop::sample::select(vec!["no-data", "split"])
            .prop_map(|reason| RolloutMove::Hold { reason: reason.to_owned() }),
        1 => Just(RolloutMove::Regressed),
        1 => Just(RolloutMove::End),
    ]
}

fn any_step() -> impl Strategy<Value = Step> {
    let version = || 1..=VERSIONS;
    let if_rollout = || prop_oneof![2 => Just(IfRollout::Refuse), 1 => Just(IfRollout::End)];
    prop_oneof![
        8 => (version(), any::<bool>(), prop::bool::weighted(0.3))
            .prop_map(|(to, shadow, gated)| Step::Start { to, shadow, gated }),
        20 => (any_move(), any::<bool>(), prop::bool::weighted(0.05))
            .prop_map(|(step, evidence, is_stale)| Step::Move { step, evidence, is_stale }),
        2 => (0u64..3).prop_map(|back| Step::Evidence { back }),
        4 => (version(), prop::sample::select(vec![5u32, 25, 100]), if_rollout())
            .prop_map(|(to, percent, if_rollout)| Step::Route { to, percent, if_rollout }),
        2 => if_rollout().prop_map(Step::RollBack),
        1 => version().prop_map(Step::Archive),
        1 => prop::bool::weighted(0.3).prop_map(Step::Freeze),
        1 => Just(Step::StartExperiment),
        2 => Just(Step::StopExperiment),
        1 => Just(Step::DeleteModel),
        2 => Just(Step::Push),
    ]
}

/// Runs random histories, each on a registry of its own, and shrinks one that fails.
pub fn random_rollouts_keep_the_invariants<Make, Made, Guard>(make: Make)
where
    Make: Fn() -> Made,
    Made: Future<Output = (Shared, Guard)>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let histories = prop::collection::vec(any_step(), 1..LONGEST);
    let config = Config { cases: HISTORIES, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config).run(&histories, |history| {
        runtime.block_on(async {
            let (registry, _guard) = make().await;
            ready_versions(&registry, VERSIONS).await;
            promote(&registry, 1).await.expect("a promotion");
            follow(&registry, &history).await;
        });
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

async fn follow(registry: &Shared, history: &[Step]) {
    let mut ended = BTreeMap::new();
    let mut before = snapshot(registry).await;
    for step in history {
        let answer = take(registry, step, &before).await;
        let after = snapshot(registry).await;
        let newest = events(registry).await.into_iter().next().expect("an event");
        if after.revision == before.revision {
            assert_eq!(after, before, "{step:?} changed something without an event");
        } else if !matches!(step, Step::Push) {
            assert!(answer.is_ok(), "{step:?} failed and changed something: {answer:?}");
            assert_eq!(after.revision, before.revision + 1, "{step:?}");
            assert_eq!(newest.sequence, after.revision);
            check_change(step, &before, &after, &newest);
        }
        check_state(registry, &after, &mut ended).await;
        before = after;
    }
    let report = registry.verify_events().await.expect("a report");
    assert_eq!((report.broken_at, report.last), (None, Some(before.revision)));
}

fn spec(shadow: bool, gated: bool) -> RolloutSpec {
    let mut spec = if shadow { shadow_then(&[5, 25]) } else { steps(&[5, 25]) };
    if gated {
        spec.approve = vec![Percent::whole(25), Percent::whole(100)];
    }
    spec
}

async fn take(registry: &Shared, step: &Step, before: &Snapshot) -> Result<()> {
    let (ada, fraud) = (ada(), fraud());
    let last = before.models.first().and_then(|model| model.rollout.as_ref());
    match step.clone() {
        Step::Start { to, shadow, gated } => {
            let id = format!("ro-{:016x}", before.revision);
            let reason = Some("again".to_owned());
            let new = NewRollout { id, to: v(to), spec: spec(shadow, gated), reason };
            registry.start_rollout(fraud, new, None, ada, before.revision).await.map(drop)
        }
        Step::Move { step, evidence, is_stale } => {
            let evidence = evidence.then(|| json!(before.revision));
            let record = MoveRecord { evidence, ..MoveRecord::default() };
            let expected = last.map(|rollout| rollout.revision - u64::from(is_stale));
            let made =
                registry.move_rollout(fraud, step, expected, record, ada, before.revision).await;
            assert!(!is_stale || made.is_err(), "a stale move was made");
            made.map(drop)
        }
        Step::Evidence { back } => {
            let Some(last) = last else { return Ok(()) };
            let revision = last.revision.saturating_sub(back);
            let put = registry.put_evidence(fraud, &last.id, revision, &json!(back), NOON).await?;
            assert_eq!(put, back == 0 && last.is_active());
            Ok(())
        }
        Step::Route { to, percent, if_rollout } => {
            let pairs = [(to % VERSIONS + 1, 10_000 - percent * 100), (to, percent * 100)];
            let change = RouteChange::set(weights(&pairs));
            registry.set_route(fraud, change, if_rollout, None, ada, NOON).await.map(drop)
        }
        Step::RollBack(if_rollout) => {
            registry.roll_back(fraud, if_rollout, None, ada, NOON).await.map(drop)
        }
        Step::Archive(version) => {
            registry.archive(fraud, v(version), None, ada, NOON).await.map(drop)
        }
        Step::Freeze(frozen) => registry.set_frozen(frozen, None, ada, NOON).await,
        Step::StartExperiment => experiment(registry, &[1, 2]).await.map(drop),
        Step::StopExperiment => {
            let running = before.experiments().next().map(|running| running.id.clone());
            let Some(id) = running else { return Ok(()) };
            registry.stop_experiment(&id, None, None, ada, NOON).await.map(drop)
        }
        Step::DeleteModel => registry.delete_model(fraud, IfRouted::Delete, None, ada, NOON).await,
        Step::Push => {
            for number in 1..=VERSIONS {
                let pushed = push(registry, &format!("files {number}")).await;
                if pushed.needs_check {
                    end_check(registry, pushed.record.version, true).await;
                }
            }
            Ok(())
        }
    }
}

fn active(seen: &Snapshot) -> Option<&Rollout> {
    seen.models.first().and_then(Model::active_rollout)
}

/// What a change may and may not have done.
fn check_change(step: &Step, before: &Snapshot, after: &Snapshot, event: &Event) {
    let is_of_rollout = event.action.starts_with("rollout.");
    assert_eq!(is_of_rollout, {
        let rollout_of = |seen: &Snapshot| seen.models.first().and_then(|m| m.rollout.clone());
        rollout_of(before) != rollout_of(after) && !after.models.is_empty()
    });
    let routes = |seen: &Snapshot| seen.models.first().and_then(|m| m.route.clone());
    if let Step::Start { shadow: true, .. } = step {
        assert_eq!(routes(before), routes(after));
    }
    let Step::Move { step, .. } = step else { return };
    let was = active(before).expect("a rollout that could be moved");
    let model = &after.models[0];
    let now = rollout(model);
    assert_eq!(
        (now.id.as_str(), now.number, now.base_route),
        (was.id.as_str(), was.number, was.base_route)
    );
    let forward = [RolloutMove::BeginSteps, RolloutMove::Advance, RolloutMove::Promote];
    assert!(!(before.frozen && forward.contains(step)), "{step:?} while frozen");
    if routes(before) == routes(after) {
        return;
    }
    // Only the two versions, and back to the base (or to where that leads, from a rollback).
    let route = model.route.as_ref().expect("a route");
    assert!(route.split.weights().keys().all(|version| now.concerns(*version)));
    if now.phase == (Phase::Ended { outcome: RolloutOutcome::RolledBack }) {
        assert_eq!(model.share_of(now.to), 0);
        assert!(route.previous < Some(now.base_route));
    } else {
        assert_eq!(route.previous, Some(now.base_route));
    }
}

/// What holds at any time.
async fn check_state(registry: &Shared, seen: &Snapshot, ended: &mut BTreeMap<String, Rollout>) {
    let listed = registry.active_rollouts().await.expect("rollouts");
    assert_eq!(listed.iter().collect::<Vec<_>>(), active(seen).into_iter().collect::<Vec<_>>());
    for (id, known) in &*ended {
        assert_eq!(&registry.rollout(id).await.expect("a rollout"), known, "{id} has changed");
    }
    let Some(model) = seen.models.first() else { return };
    let leads_to_a_step =
        model.previous_route.as_ref().is_some_and(|route| route.cause == RouteCause::Step);
    assert!(!leads_to_a_step, "a rollback would lead to a step");
    assert!(!(active(seen).is_some() && model.experiment.is_some()));
    let Some(rollout) = &model.rollout else { return };
    let route = model.route.as_ref().expect("a model with a rollout has a route");
    if let Some((revision, _)) = registry.evidence(&rollout.id).await.expect("evidence") {
        assert!(revision <= rollout.revision);
    }
    match rollout.phase {
        Phase::Live { step } => {
            let weight = rollout.spec.steps[step].as_points();
            let pairs = [(rollout.from, 10_000 - weight), (rollout.to, weight)];
            assert_eq!(route.split.weights(), BTreeMap::from(pairs));
            assert_eq!((route.cause, route.previous), (RouteCause::Step, Some(rollout.base_route)));
        }
        // Still the one of before, unless that was a step left in force.
        Phase::Shadow => assert!(
            route.sequence == rollout.base_route || route.cause == RouteCause::Step,
            "the shadow phase has changed the route"
        ),
        Phase::Ended { .. } => {
            assert!(rollout.ended_at.is_some());
            ended.insert(rollout.id.clone(), rollout.clone());
        }
    }
}
