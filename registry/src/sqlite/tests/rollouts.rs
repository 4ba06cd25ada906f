//! Rollouts over restarts, over writes that fail, and beside the release before.

use super::*;
use crate::{IfRouted, MoveRecord, Phase, RolloutMove, RolloutOutcome, RouteCause};

/// What the release before writes to promote a version: routes, models, events.
async fn foreign_promotion(registry: &SqliteRegistry, version: u32) {
    let route = format!(
        r#"INSERT INTO routes (model, sequence, split, cause, set_at, set_by, previous)
           VALUES ('fraud', (SELECT COALESCE(MAX(sequence), 0) + 1 FROM routes WHERE model = 'fraud'),
                   '[{{"version": {version}, "weight": 10000}}]', 'promote', 77, 'key:wbk_old',
                   (SELECT MAX(sequence) FROM routes WHERE model = 'fraud'))"#
    );
    let bump = "UPDATE models SET revision = (SELECT MAX(sequence) + 1 FROM events)";
    for text in [route.as_str(), bump] {
        sql(registry, text).await.expect(text);
    }
    foreign_event(registry, "route.promoted").await;
}

async fn foreign_event(registry: &SqliteRegistry, action: &str) {
    let event = format!(
        "INSERT INTO events (sequence, at, actor, actor_name, action, model)
         VALUES ((SELECT MAX(sequence) + 1 FROM events), 77, 'key:wbk_old', 'Old', '{action}',
                 'fraud')"
    );
    sql(registry, &event).await.expect("an event");
}

#[tokio::test]
async fn a_rollout_goes_on_after_a_restart() {
    let folder = TempDir::new().expect("a folder");
    let mut registry = Arc::new(opened(folder.path()).await.expect("a registry"));
    let mut shared: Shared = registry.clone();
    ready_versions(&shared, 2).await;
    promote(&shared, 1).await.expect("a promotion");
    let id =
        rollout(&start(&shared, 2, shadow_then(&[5, 25])).await.expect("a rollout")).id.clone();
    // Reopened in every state on the way.
    for (number, made) in [
        RolloutMove::Pause,
        RolloutMove::Resume,
        RolloutMove::BeginSteps,
        RolloutMove::Hold { reason: "no-data".to_owned() },
        RolloutMove::Resume,
        RolloutMove::Advance,
        RolloutMove::Promote,
    ]
    .into_iter()
    .enumerate()
    {
        let record = MoveRecord {
            verdict: Some(json!({ "line": number })),
            evidence: Some(json!({ "n": number, "log_e": -2.5e-3 })),
            reason: None,
        };
        let moved = shared.move_rollout(fraud(), made, None, record, ada(), NOON).await;
        moved.expect("a move");
        let before = (
            snapshot(&shared).await,
            events(&shared).await,
            shared.evidence(&id).await.expect("evidence"),
            shared.verify_events().await.expect("a report"),
        );
        registry.close().await;
        registry = Arc::new(opened(folder.path()).await.expect("a registry"));
        shared = registry.clone();
        let after = (
            snapshot(&shared).await,
            events(&shared).await,
            shared.evidence(&id).await.expect("evidence"),
            shared.verify_events().await.expect("a report"),
        );
        assert_eq!(after, before);
    }
    assert_eq!(split(&read(&shared).await), "2=100%");
    assert_eq!(shared.rollout_events(&id).await.expect("events").len(), 8);
}

#[tokio::test]
async fn a_move_whose_event_cannot_be_written_is_undone() {
    let (registry, shared) = promoted().await;
    let started = start(&shared, 2, steps(&[5, 25])).await.expect("a rollout");
    let id = rollout(&started).id.clone();
    let refuse = "CREATE TRIGGER no_events BEFORE INSERT ON events
                  BEGIN SELECT RAISE(ABORT, 'disk full'); END";
    sql(&registry, refuse).await.expect("a trigger");
    let before = snapshot(&shared).await;
    for made in [RolloutMove::Advance, RolloutMove::RollBack, RolloutMove::Pause] {
        let record = MoveRecord { evidence: Some(json!(1)), ..MoveRecord::default() };
        let moved = shared.move_rollout(fraud(), made, None, record, ada(), NOON).await;
        assert!(matches!(moved, Err(Error::Unavailable { .. })), "{moved:?}");
    }
    let ended = shared.delete_model(fraud(), IfRouted::Delete, None, ada(), NOON).await;
    assert!(matches!(ended, Err(Error::Unavailable { .. })), "{ended:?}");
    assert_eq!(snapshot(&shared).await, before);
    assert_eq!(shared.evidence(&id).await.expect("none"), None);
    assert_eq!(shared.route_history(fraud(), 9).await.expect("routes").len(), 2);
}

#[tokio::test]
async fn what_has_ended_cannot_be_changed_in_sql() {
    let (registry, shared) = promoted().await;
    start(&shared, 2, steps(&[5])).await.expect("a rollout");
    let second = "INSERT INTO rollouts
         SELECT 'ro-x', model, 2, attempt, from_version, to_version, spec, phase, step, outcome,
                standing, held_reason, approved, revision, started_at, started_by, step_since,
                NULL, reason, verdict, base_route, route, undo_until
         FROM rollouts";
    let refused = sql(&registry, second).await.expect_err("a second active rollout");
    assert!(refused.contains("UNIQUE"), "{refused}");
    step(&shared, RolloutMove::RollBack).await.expect("a rollback");
    for text in ["UPDATE rollouts SET outcome = 'promoted'", "DELETE FROM rollouts"] {
        let refused = sql(&registry, text).await.expect_err(text);
        assert!(refused.contains("not changed") || refused.contains("not deleted"), "{refused}");
    }
}

#[tokio::test]
async fn a_route_of_the_release_before_ends_the_rollout() {
    for spec in [steps(&[5, 25]), shadow_then(&[5, 25])] {
        let (registry, shared) = promoted().await;
        let started = start(&shared, 2, spec).await.expect("a rollout");
        let revision = rollout(&started).revision;
        foreign_promotion(&registry, 2).await;
        let model = read(&shared).await;
        let ended = rollout(&model);
        assert_eq!(ended.phase, Phase::Ended { outcome: RolloutOutcome::Ended });
        assert_eq!((ended.ended_at, ended.revision), (Some(77), revision + 1));
        assert_eq!(ended.revision, snapshot(&shared).await.revision);
        assert!(ended.reason.as_ref().is_some_and(|r| r.contains("knows no rollouts")));
        assert_eq!(split(&model), "2=100%");
        assert!(illegal(step(&shared, RolloutMove::Advance).await).contains("has been ended"));
        let gone = shared.put_evidence(fraud(), &ended.id, ended.revision, &json!(1), NOON).await;
        assert_eq!(gone.ok(), Some(false));
        // And the next one starts from there.
        start(&shared, 1, steps(&[5])).await.expect("a rollout");
        let report = shared.verify_events().await.expect("a report");
        assert_eq!((report.broken_at, report.uncovered), (None, 0));
    }
}

#[tokio::test]
async fn a_model_deleted_by_the_release_before_ends_what_is_active() {
    let delete = "UPDATE versions SET deleted_at = 77;
                  UPDATE models SET deleted_at = 77, revision = revision + 1";
    let (registry, shared) = promoted().await;
    let started = start(&shared, 2, steps(&[5])).await.expect("a rollout");
    sql(&registry, delete).await.expect("a deletion");
    foreign_event(&registry, "model.deleted").await;
    let ended = shared.rollout(&rollout(&started).id).await.expect("the rollout");
    assert_eq!((ended.is_active(), ended.ended_at), (false, Some(77)));

    let (registry, shared) = promoted().await;
    let running = experiment(&shared, &[1, 2]).await.expect("an experiment");
    sql(&registry, delete).await.expect("a deletion");
    foreign_event(&registry, "model.deleted").await;
    let stopped = shared.experiment(&running.id).await.expect("the experiment");
    assert_eq!((stopped.stopped_at, stopped.revision), (Some(77), running.revision + 1));
    assert_eq!(ready(&shared, "files 1").await, v(3));
    experiment(&shared, &[3]).await.expect("an experiment of the successor");
}

#[tokio::test]
async fn rollouts_of_a_later_release_are_read() {
    let (registry, shared) = promoted().await;
    start(&shared, 2, steps(&[5])).await.expect("a rollout");
    for text in [
        "ALTER TABLE rollouts ADD COLUMN region TEXT",
        "UPDATE rollouts SET spec = json_set(spec, '$.regions', json('[1]'), '$.err.window', 3)",
        "ALTER TABLE experiments ADD COLUMN region TEXT",
    ] {
        sql(&registry, text).await.expect(text);
    }
    assert_eq!(rollout(&read(&shared).await).spec, steps(&[5]));
    let promoted = step(&shared, RolloutMove::Promote).await.expect("a promotion");
    let cause = promoted.route.as_ref().map(|route| route.cause);
    assert_eq!(cause, Some(RouteCause::Promote));
}

#[tokio::test]
async fn garbage_in_rollouts_is_corrupt_and_named() {
    for (text, column) in [
        ("UPDATE rollouts SET spec = '3'", "spec of the rollout ro-"),
        ("UPDATE rollouts SET phase = 'odd'", "phase of the rollout ro-"),
        ("UPDATE rollouts SET step = NULL", "phase of the rollout ro-"),
        ("UPDATE rollouts SET standing = 'odd'", "standing of the rollout ro-"),
        ("UPDATE rollouts SET to_version = 0", "to_version of the rollout ro-"),
        ("UPDATE rollouts SET verdict = '{{'", "verdict of the rollout ro-"),
    ] {
        let (registry, shared) = promoted().await;
        start(&shared, 2, steps(&[5])).await.expect("a rollout");
        sql(&registry, text).await.expect(text);
        for answer in [shared.snapshot().await.map(drop), promote(&shared, 2).await.map(drop)] {
            match answer {
                Err(Error::Corrupt { what, .. }) => assert!(what.contains(column), "{what}"),
                other => panic!("{text}: {other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_rollout_is_readable_json() {
    let (_, shared) = promoted().await;
    start(&shared, 2, steps(&[5])).await.expect("a rollout");
    let hold = RolloutMove::Hold { reason: "no-data".to_owned() };
    let held = step(&shared, hold).await.expect("a hold");
    let shown = serde_json::to_value(&held).expect("JSON");
    for (part, wanted) in [
        ("phase", json!("live")),
        ("step", json!(0)),
        ("standing", json!("held")),
        ("held_reason", json!("no-data")),
        ("from", json!(1)),
        ("to", json!(2)),
    ] {
        assert_eq!(shown["rollout"][part], wanted, "{part}");
    }
    assert_eq!(shown["rollout"]["spec"]["steps"], json!([5.0]));
    assert_eq!(serde_json::from_value::<Model>(shown).expect("a model"), held);
    let ended = step(&shared, RolloutMove::RollBack).await.expect("a rollback");
    let shown = serde_json::to_value(rollout(&ended)).expect("JSON");
    assert_eq!((&shown["phase"], &shown["outcome"]), (&json!("ended"), &json!("rolled_back")));
    assert_eq!(serde_json::from_value::<Rollout>(shown).expect("a rollout"), *rollout(&ended));
}
