//! Rollouts: started, moved, ended, and what else must stand back meanwhile.

use serde_json::{Value, json};
use weighbridge_config::rollout::Percent;

use super::fixture::*;
use crate::{
    Error, Event, IfRollout, IfRouted, Model, MoveRecord, NewRollout, Phase, RolloutMove,
    RolloutOutcome, RouteCause, RouteChange, Standing,
};

const PROMOTED: Phase = Phase::Ended { outcome: RolloutOutcome::Promoted };
const ROLLED_BACK: Phase = Phase::Ended { outcome: RolloutOutcome::RolledBack };
const ENDED: Phase = Phase::Ended { outcome: RolloutOutcome::Ended };

/// Three ready versions, the first with all traffic.
async fn one_promoted(registry: &Shared) -> Model {
    ready_versions(registry, 3).await;
    promote(registry, 1).await.expect("a promotion")
}

fn previous(model: &Model) -> Option<u64> {
    model.route.as_ref().and_then(|route| route.previous)
}

fn cause(model: &Model) -> Option<RouteCause> {
    model.route.as_ref().map(|route| route.cause)
}

pub async fn a_rollout_goes_step_by_step_to_all_traffic(registry: Shared) {
    let base = one_promoted(&registry).await;
    let started = start(&registry, 2, steps(&[5, 25])).await.expect("a rollout");
    let of = rollout(&started);
    assert_eq!((of.number, of.attempt, of.from, of.to), (1, 1, v(1), v(2)));
    assert_eq!((of.phase, &of.standing), (Phase::Live { step: 0 }, &Standing::Running));
    assert_eq!((of.started_at, of.started_by.as_str(), of.base_route), (NOON, "key:wbk_ada", 1));
    assert_eq!(of.revision, started.revision);
    assert!(started.revision > base.revision);
    assert_eq!(split(&started), "1=95% 2=5%");

    let second = step(&registry, RolloutMove::Advance).await.expect("a step");
    assert_eq!(
        (split(&second), rollout(&second).phase),
        ("1=75% 2=25%".into(), Phase::Live { step: 1 })
    );
    for model in [&started, &second] {
        assert_eq!((cause(model), previous(model)), (Some(RouteCause::Step), Some(1)));
        assert_eq!(model.previous_route, base.route);
    }
    let all = step(&registry, RolloutMove::Promote).await.expect("a promotion");
    assert_eq!((split(&all), rollout(&all).phase), ("2=100%".to_owned(), PROMOTED));
    assert_eq!((cause(&all), previous(&all)), (Some(RouteCause::Promote), Some(1)));
    assert_eq!(rollout(&all).undo_until, Some(NOON + 30 * 60_000));
    assert_eq!(read(&registry).await, all);
    assert!(registry.active_rollouts().await.expect("rollouts").is_empty());

    // Going back is going back to what was before the rollout, and it is still there.
    let back = roll_back(&registry).await.expect("a rollback");
    assert_eq!((split(&back), previous(&back)), ("1=100%".to_owned(), None));
    assert_eq!(rollout(&back), rollout(&all));
}

pub async fn a_shadow_phase_leaves_the_route_alone(registry: Shared) {
    let base = one_promoted(&registry).await;
    let started = start(&registry, 2, shadow_then(&[5])).await.expect("a rollout");
    assert_eq!((started.route.clone(), rollout(&started).phase), (base.route, Phase::Shadow));
    let begun = step(&registry, RolloutMove::BeginSteps).await.expect("the first step");
    assert_eq!((split(&begun), previous(&begun)), ("1=95% 2=5%".to_owned(), Some(1)));
    step(&registry, RolloutMove::RollBack).await.expect("a rollback");

    for (step_made, there) in
        [(RolloutMove::RollBack, "1=100%"), (RolloutMove::PromoteNow, "2=100%")]
    {
        start(&registry, 2, shadow_then(&[5])).await.expect("a rollout");
        let after = step(&registry, step_made).await.expect("an end");
        assert_eq!(split(&after), there);
    }
}

/// Whatever ends a rollout, the next one starts from a clean route and its rollbacks never
/// lead to a step of either.
pub async fn consecutive_rollouts_never_leak_a_route(registry: Shared) {
    one_promoted(&registry).await;
    let ends = [
        (RolloutMove::RollBack, ROLLED_BACK),
        (RolloutMove::PromoteNow, PROMOTED),
        (RolloutMove::End, ENDED),
    ];
    for (number, (end, phase)) in ends.iter().cycle().take(9).enumerate() {
        let set = RouteChange::promote(v(1));
        let set = registry.set_route(fraud(), set, IfRollout::Refuse, None, ada(), NOON);
        let base = set.await.expect("a route");
        start(&registry, 2, steps(&[5, 25])).await.expect("a rollout");
        if number % 2 == 0 {
            step(&registry, RolloutMove::Advance).await.expect("a step");
        }
        let ended = step(&registry, end.clone()).await.expect("an end");
        assert_eq!(rollout(&ended).phase, *phase);
        match phase {
            Phase::Ended { outcome: RolloutOutcome::RolledBack } => {
                assert_eq!(split(&ended), "1=100%");
                assert_eq!(previous(&ended), base.route.as_ref().and_then(|r| r.previous));
            }
            _ => assert_eq!(ended.previous_route, base.route),
        }
        let other = route(&registry, &[(3, 10_000)]).await.expect("a route");
        let before = other.previous_route.expect("an earlier route");
        assert_ne!(before.cause, RouteCause::Step, "after {end:?}");
    }
    let listed = registry.rollouts(fraud(), 99).await.expect("rollouts");
    let numbers: Vec<_> = listed.iter().map(|r| (r.number, r.attempt)).collect();
    assert_eq!(numbers, (1..=9).rev().map(|n| (n, n as u32)).collect::<Vec<_>>());
    assert_eq!(registry.rollouts(fraud(), 2).await.expect("rollouts").len(), 2);
}

pub async fn a_rollback_takes_all_traffic_from_the_canary(registry: Shared) {
    one_promoted(&registry).await;
    route(&registry, &[(1, 9_500), (2, 500)]).await.expect("a route");
    let started = start(&registry, 2, steps(&[1, 25])).await.expect("a rollout");
    assert_eq!((split(&started), previous(&started)), ("1=99% 2=1%".to_owned(), Some(2)));
    let back = step(&registry, RolloutMove::RollBack).await.expect("a rollback");
    assert_eq!((split(&back), previous(&back)), ("1=100%".to_owned(), Some(1)));
}

pub async fn impossible_starts_change_nothing(registry: Shared) {
    ready_versions(&registry, 3).await;
    let fourth = push(&registry, "files 4").await.record.version;
    end_check(&registry, fourth, false).await;
    assert!(illegal(start(&registry, 2, steps(&[5])).await).contains("promote one first"));
    promote(&registry, 1).await.expect("a promotion");
    route(&registry, &[(1, 9_000), (3, 1_000)]).await.expect("a route");
    assert!(illegal(start(&registry, 2, steps(&[5])).await).contains("version 3 is neither"));
    promote(&registry, 1).await.expect("a promotion");
    let before = (snapshot(&registry).await, events(&registry).await);
    let sentence = illegal(start(&registry, 4, steps(&[5])).await);
    assert!(sentence.contains("golden case 2 differs"), "{sentence}");
    not_found(start(&registry, 9, steps(&[5])).await);
    illegal(start(&registry, 1, steps(&[5])).await);
    illegal(start(&registry, 2, steps(&[25, 5])).await);
    not_found(step(&registry, RolloutMove::Pause).await);
    let new = NewRollout { id: "ro-1".into(), to: v(2), spec: steps(&[5]), reason: None };
    conflict(registry.start_rollout(fraud(), new.clone(), Some(1), ada(), NOON).await);
    not_found(registry.start_rollout(&named("churn"), new.clone(), None, ada(), NOON).await);
    assert_eq!((snapshot(&registry).await, events(&registry).await), before);

    let revision = Some(before.0.models[0].revision);
    let started = registry.start_rollout(fraud(), new.clone(), revision, ada(), NOON).await;
    started.expect("a rollout");
    illegal(start(&registry, 3, steps(&[5])).await);
    step(&registry, RolloutMove::RollBack).await.expect("a rollback");
    let again = registry.start_rollout(fraud(), new, None, ada(), NOON).await;
    assert!(illegal(again).contains("ro-1"));
}

pub async fn later_attempts_say_why(registry: Shared) {
    one_promoted(&registry).await;
    let attempt = async |number: u64, to: u32, reason: Option<&str>| {
        let reason = reason.map(str::to_owned);
        let new = NewRollout { id: format!("ro-{number}"), to: v(to), spec: steps(&[5]), reason };
        let started = registry.start_rollout(fraud(), new, None, ada(), NOON).await?;
        step(&registry, RolloutMove::RollBack).await?;
        Ok::<_, Error>(rollout(&started).attempt)
    };
    for number in 1..=3 {
        assert_eq!(attempt(number, 2, None).await.ok(), Some(number as u32));
    }
    assert!(illegal(attempt(4, 2, None).await).contains("say why"));
    assert_eq!(attempt(4, 2, Some("it was the network")).await.ok(), Some(4));
    // Another version has attempts of its own.
    assert_eq!(attempt(5, 3, None).await.ok(), Some(1));
    let numbers = registry.rollouts(fraud(), 9).await.expect("rollouts");
    assert_eq!(numbers.iter().map(|r| r.number).collect::<Vec<_>>(), [5, 4, 3, 2, 1]);
    assert_eq!(numbers[1].reason, None);
}

pub async fn moves_that_are_made_already_change_nothing(registry: Shared) {
    one_promoted(&registry).await;
    start(&registry, 2, steps(&[5])).await.expect("a rollout");
    let hold = RolloutMove::Hold { reason: "no-data".to_owned() };
    for again in [RolloutMove::Pause, RolloutMove::Resume, hold] {
        let first = step(&registry, again.clone()).await.expect("a move");
        let before = (snapshot(&registry).await, events(&registry).await);
        assert_eq!(step(&registry, again).await.expect("the same move"), first);
        assert_eq!((snapshot(&registry).await, events(&registry).await), before);
    }
}

pub async fn a_move_based_on_an_older_revision_is_a_conflict(registry: Shared) {
    one_promoted(&registry).await;
    let started = start(&registry, 2, steps(&[5, 25])).await.expect("a rollout");
    let expected = Some(rollout(&started).revision);
    let advance = async |expected| {
        let record = MoveRecord::default();
        let step = RolloutMove::Advance;
        registry.move_rollout(fraud(), step, expected, record, ada(), NOON).await
    };
    // A change of the model that is none of the rollout's does not matter to it.
    let aliased = registry.set_alias(fraud(), champion(), v(3), None, ada(), NOON).await;
    assert!(aliased.expect("an alias").revision > started.revision);
    let second = advance(expected).await.expect("a step");
    assert_eq!(conflict(advance(expected).await), rollout(&second).revision);
    assert_eq!(read(&registry).await, second);
}

pub async fn approvals_let_one_weight_pass(registry: Shared) {
    one_promoted(&registry).await;
    let mut spec = steps(&[5, 25]);
    spec.approve = vec![Percent::whole(25), Percent::whole(100)];
    start(&registry, 2, spec).await.expect("a rollout");
    for (forward, there) in
        [(RolloutMove::Advance, "1=75% 2=25%"), (RolloutMove::Promote, "2=100%")]
    {
        assert!(illegal(step(&registry, forward.clone()).await).contains("an approval before"));
        assert!(illegal(step(&registry, RolloutMove::Approve).await).contains("does not wait"));
        let waits = step(&registry, RolloutMove::AskApproval).await.expect("a question");
        assert_eq!(rollout(&waits).standing, Standing::WaitsForApproval);
        illegal(step(&registry, forward.clone()).await);
        let approved = step(&registry, RolloutMove::Approve).await.expect("an approval");
        assert!(rollout(&approved).approved);
        assert_eq!(rollout(&approved).standing, Standing::Running);
        let next = step(&registry, forward).await.expect("a move");
        assert_eq!((split(&next), rollout(&next).approved), (there.to_owned(), false));
    }
}

pub async fn a_route_is_set_only_by_ending_the_rollout(registry: Shared) {
    one_promoted(&registry).await;
    promote(&registry, 3).await.expect("a promotion");
    let set = async |version: u32, if_rollout| {
        let change = RouteChange::promote(v(version));
        registry.set_route(fraud(), change, if_rollout, None, ada(), NOON).await
    };
    let back = async |if_rollout| registry.roll_back(fraud(), if_rollout, None, ada(), NOON).await;
    start(&registry, 2, steps(&[5])).await.expect("a rollout");
    let before = (snapshot(&registry).await, events(&registry).await);
    for refused in [set(1, IfRollout::Refuse).await, back(IfRollout::Refuse).await] {
        let sentence = illegal(refused);
        for part in ["version 2 is running at step 1 of 1 (5%)", "--end-rollout"] {
            assert!(sentence.contains(part), "{sentence}");
        }
    }
    // A route that cannot be set ends nothing.
    not_found(set(9, IfRollout::End).await);
    assert_eq!((snapshot(&registry).await, events(&registry).await), before);

    let after = set(1, IfRollout::End).await.expect("a route");
    assert_eq!((split(&after), rollout(&after).phase), ("1=100%".to_owned(), ENDED));
    assert_eq!(after.previous_route.as_ref().map(|r| r.split.to_string()), Some("3=100%".into()));
    assert_eq!(events(&registry).await.len(), before.1.len() + 1);

    // All the way back, past the rollout.
    start(&registry, 2, steps(&[5])).await.expect("a rollout");
    let after = back(IfRollout::End).await.expect("a rollback");
    assert_eq!((split(&after), rollout(&after).phase), ("1=100%".to_owned(), ENDED));
    let after = back(IfRollout::End).await.expect("a rollback without a rollout to end");
    assert_eq!(split(&after), "3=100%");

    // The split that the step has set is wanted: only the rollout ends.
    start(&registry, 2, steps(&[5])).await.expect("a rollout");
    let change = RouteChange::set(weights(&[(3, 9_500), (2, 500)]));
    let kept = registry.set_route(fraud(), change, IfRollout::End, None, ada(), NOON).await;
    let kept = kept.expect("the same route");
    assert_eq!((split(&kept), rollout(&kept).phase), ("2=5% 3=95%".to_owned(), ENDED));
    assert_eq!(cause(&kept), Some(RouteCause::Step));
}

pub async fn versions_of_an_active_rollout_stay(registry: Shared) {
    one_promoted(&registry).await;
    start(&registry, 2, shadow_then(&[5])).await.expect("a rollout");
    let before = snapshot(&registry).await;
    for version in [v(1), v(2)] {
        let archived = registry.archive(fraud(), version, None, ada(), NOON).await;
        let deleted = registry.delete_version(fraud(), version, None, ada(), NOON).await;
        for sentence in [illegal(archived), illegal(deleted)] {
            let names = sentence.contains("a rollout from version 1 to 2");
            assert!(names || sentence.contains("100% of the traffic"), "{sentence}");
        }
    }
    assert_eq!(snapshot(&registry).await, before);
    step(&registry, RolloutMove::RollBack).await.expect("a rollback");
    let archived = registry.archive(fraud(), v(2), None, ada(), NOON).await;
    archived.expect("an archived version");
}

pub async fn a_deleted_model_ends_its_rollout(registry: Shared) {
    one_promoted(&registry).await;
    let started = start(&registry, 2, shadow_then(&[5])).await.expect("a rollout");
    let id = rollout(&started).id.clone();
    let refused = registry.delete_model(fraud(), IfRouted::Refuse, None, ada(), NOON).await;
    assert!(illegal(refused).contains("a rollout of version 2 is running"));
    let deleted = registry.delete_model(fraud(), IfRouted::Delete, None, ada(), NOON).await;
    deleted.expect("a deleted model");
    let ended = registry.rollout(&id).await.expect("the rollout");
    assert_eq!((ended.phase, ended.reason), (ENDED, None));
    assert!(registry.active_rollouts().await.expect("rollouts").is_empty());
    let newest = &events(&registry).await[0];
    assert_eq!(newest.action, "model.deleted");
    assert_eq!(newest.from.as_ref().map(|from| from["rollout"].clone()), Some(json!(id)));

    // Its successor has none, and counts on.
    ready(&registry, "files 1").await;
    ready(&registry, "files 2").await;
    assert_eq!(read(&registry).await.rollout, None);
    promote(&registry, 4).await.expect("a promotion");
    let next = start(&registry, 5, steps(&[5])).await.expect("a rollout");
    assert_eq!((rollout(&next).number, rollout(&next).attempt), (2, 1));
    let listed = registry.rollouts(fraud(), 9).await.expect("rollouts");
    assert_eq!(listed.len(), 2);
    assert_eq!(registry.active_rollouts().await.expect("rollouts"), listed[..1]);
}

pub async fn evidence_belongs_to_a_revision(registry: Shared) {
    one_promoted(&registry).await;
    let started = start(&registry, 2, steps(&[5, 25])).await.expect("a rollout");
    let (id, first) = (rollout(&started).id.clone(), rollout(&started).revision);
    assert_eq!(registry.evidence(&id).await.expect("none"), None);
    let put = async |revision, errors: u32| {
        let evidence = json!({ "errors": errors });
        registry.put_evidence(fraud(), &id, revision, &evidence, NOON).await.expect("an answer")
    };
    let stored = async || registry.evidence(&id).await.expect("evidence");
    let before = (snapshot(&registry).await, events(&registry).await);
    assert!(put(first, 1).await && put(first, 2).await);
    assert_eq!(stored().await, Some((first, json!({ "errors": 2 }))));
    assert!(!put(first + 1, 3).await && !put(first - 1, 3).await);
    let elsewhere = registry.put_evidence(&named("churn"), &id, first, &json!(3), NOON).await;
    assert!(!elsewhere.expect("an answer"));
    let unknown = registry.put_evidence(fraud(), "ro-none", first, &json!(3), NOON).await;
    assert!(!unknown.expect("an answer"));
    assert_eq!((snapshot(&registry).await, events(&registry).await), before);

    // A move without evidence keeps it as it was; one with evidence replaces it.
    let paused = step(&registry, RolloutMove::Pause).await.expect("a pause");
    assert!(!put(first, 4).await);
    assert_eq!(stored().await, Some((first, json!({ "errors": 2 }))));
    assert!(put(rollout(&paused).revision, 5).await);
    step(&registry, RolloutMove::Resume).await.expect("a resumption");
    let record = MoveRecord { evidence: Some(json!({ "errors": 6 })), ..MoveRecord::default() };
    let step_made = RolloutMove::Advance;
    let moved = registry.move_rollout(fraud(), step_made, None, record, ada(), NOON).await;
    let moved = moved.expect("a step");
    let last = Some((rollout(&moved).revision, json!({ "errors": 6 })));
    assert_eq!(stored().await, last);
    let ended = step(&registry, RolloutMove::RollBack).await.expect("a rollback");
    assert!(!put(rollout(&ended).revision, 7).await);
    assert_eq!(stored().await, last);
}

pub async fn frozen_rollouts_only_go_back(registry: Shared) {
    one_promoted(&registry).await;
    start(&registry, 2, steps(&[5, 25])).await.expect("a rollout");
    let freeze = async |frozen, reason: Option<&str>| {
        let set = registry.set_frozen(frozen, reason.map(str::to_owned), ada(), NOON);
        set.await.expect("a freeze");
    };
    freeze(true, Some("black friday")).await;
    let frozen = snapshot(&registry).await;
    assert!(frozen.frozen);
    freeze(true, Some("once more")).await;
    assert_eq!(snapshot(&registry).await, frozen);
    assert!(illegal(step(&registry, RolloutMove::Advance).await).contains("frozen"));
    step(&registry, RolloutMove::Pause).await.expect("a pause");
    freeze(false, None).await;
    assert!(!snapshot(&registry).await.frozen);
    step(&registry, RolloutMove::Resume).await.expect("a resumption");
    step(&registry, RolloutMove::Advance).await.expect("a step");
    freeze(true, None).await;
    step(&registry, RolloutMove::RollBack).await.expect("a rollback");
    let actions: Vec<_> = events(&registry).await.into_iter().map(|e| (e.action, e.to)).collect();
    let why = json!({ "frozen": true, "reason": "black friday" });
    assert!(actions.contains(&("rollouts.frozen".to_owned(), Some(why))));
    assert!(actions.iter().any(|(action, _)| action == "rollouts.unfrozen"));
}

/// Every move is one event, and the event says everything.
pub async fn each_move_leaves_one_event(registry: Shared) {
    one_promoted(&registry).await;
    let before = events(&registry).await.len();
    let mut spec = steps(&[5, 25]);
    spec.approve = vec![Percent::whole(25)];
    let started = start(&registry, 2, spec).await.expect("a rollout");
    let id = rollout(&started).id.clone();
    let moves = [
        (RolloutMove::AskApproval, "waits_for_approval"),
        (RolloutMove::Approve, "approved"),
        (RolloutMove::Pause, "paused"),
        (RolloutMove::Resume, "resumed"),
        (RolloutMove::Hold { reason: "common-cause".to_owned() }, "held"),
        (RolloutMove::Regressed, "regressed"),
        (RolloutMove::Resume, "resumed"),
        (RolloutMove::Advance, "advanced"),
        (RolloutMove::RollBack, "rolled_back"),
    ];
    for (place, (step, _)) in moves.iter().enumerate() {
        let record = MoveRecord {
            verdict: Some(json!({ "line": place })),
            evidence: Some(json!({ "n": place })),
            reason: Some(format!("reason {place}")),
        };
        let moved = registry.move_rollout(fraud(), step.clone(), None, record, ada(), NOON);
        let moved = moved.await.expect("a move");
        assert_eq!(rollout(&moved).verdict, Some(json!({ "line": place })));
        assert_eq!(rollout(&moved).reason, Some(format!("reason {place}")));
    }
    let listed = registry.rollout_events(&id).await.expect("events");
    assert_eq!(events(&registry).await.len(), before + 1 + moves.len());
    let actions: Vec<_> = listed.iter().map(|event| event.action.clone()).collect();
    let words = ["started"].into_iter().chain(moves.iter().map(|(_, word)| *word));
    assert_eq!(actions, words.map(|word| format!("rollout.{word}")).collect::<Vec<_>>());

    let shown = |event: &Event| event.to.clone().expect("what it shows");
    assert_eq!(
        shown(&listed[5]),
        json!({
            "rollout": id, "number": 1, "attempt": 1, "from": 1, "to": 2,
            "phase": "live", "step": 0, "standing": "held", "held_reason": "common-cause",
            "weight": 5.0, "verdict": { "line": 4 }, "evidence": { "n": 4 },
            "reason": "reason 4",
        })
    );
    let advanced = shown(&listed[8]);
    assert_eq!(advanced["weight"], json!(25.0));
    assert_eq!(advanced["route"]["weights"], json!({ "1": 7_500, "2": 2_500 }));
    let back = &listed[9];
    assert_eq!(back.version, Some(v(2)));
    assert_eq!(
        back.from,
        Some(json!({ "phase": "live", "step": 1, "standing": "running", "weight": 25.0 }))
    );
    let back = shown(back);
    assert_eq!((&back["phase"], &back["outcome"]), (&json!("ended"), &json!("rolled_back")));
    assert_eq!((&back["weight"], &back["route"]["cause"]), (&json!(0.0), &json!("roll_back")));
    assert_eq!(shown(&listed[0])["reason"], json!("to see"));
    not_found(registry.rollout_events("ro-none").await);
    not_found(registry.rollout("ro-none").await);
    let all = registry.rollouts(fraud(), 9).await.expect("rollouts");
    assert_eq!(all, [registry.rollout(&id).await.expect("the rollout")]);
    assert_eq!(Value::from(all[0].number), json!(1));
}
