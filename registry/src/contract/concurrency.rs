//! Several callers at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use tokio::task::JoinSet;
use weighbridge_config::ModelSettings;

use super::fixture::*;
use crate::{
    CheckOutcome, Error, IfRollout, MoveRecord, NewRollout, RolloutMove, RouteChange, Snapshot,
    VersionState,
};

const WRITERS: u32 = 20;

pub async fn of_many_writers_one_wins(registry: Shared) {
    ready_versions(&registry, 2).await;
    let before = promote(&registry, 1).await.expect("a promotion");
    let mut writers = JoinSet::new();
    for number in 1..=WRITERS {
        let (registry, expected) = (Arc::clone(&registry), Some(before.revision));
        let change = RouteChange::set(weights(&[(1, 10_000 - number), (2, number)]));
        writers.spawn(async move {
            let set = registry.set_route(fraud(), change, IfRollout::Refuse, expected, ada(), NOON);
            set.await
        });
    }
    let answers = writers.join_all().await;
    let won: Vec<_> = answers.iter().filter_map(|a| a.as_ref().ok()).collect();
    assert_eq!(won.len(), 1);
    assert_eq!(&read(&registry).await, won[0]);
    for lost in answers.iter().filter_map(|a| a.as_ref().err()) {
        assert!(
            matches!(lost, Error::Conflict { expected, found, .. }
                if *expected == before.revision && *found == won[0].revision),
            "{lost:?}"
        );
    }
    let routes = registry.route_history(fraud(), 99).await.expect("routes");
    assert_eq!(routes.len(), 2);
}

pub async fn writers_without_expectation_all_win(registry: Shared) {
    push(&registry, "a").await;
    let mut writers = JoinSet::new();
    for number in 1..=WRITERS {
        let registry = Arc::clone(&registry);
        let settings = ModelSettings { max_batch_size: Some(number), ..ModelSettings::default() };
        writers.spawn(async move {
            let set = registry.configure(fraud(), settings, None, ada(), NOON);
            set.await
        });
    }
    assert!(writers.join_all().await.iter().all(Result::is_ok));
    let sequences: Vec<_> = events(&registry).await.iter().map(|e| e.sequence).collect();
    assert_eq!(sequences, (1..=u64::from(WRITERS) + 1).rev().collect::<Vec<_>>());
}

/// The writer makes each change at a time equal to the revision it leads to, so the newest
/// time in a snapshot has to be the snapshot's revision.
pub async fn snapshots_are_consistent_while_someone_writes(registry: Shared) {
    const ROUNDS: u64 = 30;
    let finished = Arc::new(AtomicBool::new(false));
    let writer = {
        let (registry, finished) = (Arc::clone(&registry), Arc::clone(&finished));
        #[expect(clippy::disallowed_methods, reason = "a test waits for the handle itself")]
        tokio::spawn(async move {
            for round in 0..ROUNDS {
                push_check_and_promote(&registry, round * 3).await;
            }
            finished.store(true, Ordering::SeqCst);
        })
    };
    let mut last = 0;
    while !finished.load(Ordering::SeqCst) {
        let seen = snapshot(&registry).await;
        assert!(seen.revision >= last);
        assert_eq!(newest_time(&seen), seen.revision);
        last = seen.revision;
    }
    writer.await.expect("the writer");
    assert_eq!(snapshot(&registry).await.revision, ROUNDS * 3);
}

async fn push_check_and_promote(registry: &Shared, revision: u64) {
    let (ada, fraud) = (ada(), fraud());
    let new = new_version(&format!("files {revision}"));
    let pushed = registry.register_version(new, ada, revision + 1).await;
    let version = pushed.expect("a push").record.version;
    let good = CheckOutcome::Ready { report: json!(null) };
    let checked = registry.finish_check(fraud, version, good, ada, revision + 2).await;
    checked.expect("a checked version");
    let change = RouteChange::promote(version);
    let promoted =
        registry.set_route(fraud, change, IfRollout::Refuse, None, ada, revision + 3).await;
    promoted.expect("a promotion");
}

fn newest_time(seen: &Snapshot) -> u64 {
    let times = seen.models.iter().flat_map(|model| {
        let route = model.route.as_ref();
        if let Some(route) = route {
            let record = model.version(route.split.stable()).expect("a routed version");
            assert_eq!(record.state, VersionState::Ready);
        }
        let routed = route.map(|r| r.set_at);
        let checked = model.versions.iter().filter_map(|r| r.checked_at);
        let pushed = model.versions.iter().map(|r| r.created_at);
        routed.into_iter().chain(checked).chain(pushed)
    });
    times.max().unwrap_or(0)
}

pub async fn of_two_moves_one_wins(registry: Shared) {
    ready_versions(&registry, 2).await;
    promote(&registry, 1).await.expect("a promotion");
    let started = start(&registry, 2, steps(&[5, 25])).await.expect("a rollout");
    let expected = rollout(&started).revision;
    let moves = [
        RolloutMove::Advance,
        RolloutMove::RollBack,
        RolloutMove::PromoteNow,
        RolloutMove::Pause,
        RolloutMove::Hold { reason: "no-data".to_owned() },
    ];
    let mut movers = JoinSet::new();
    for step in moves.iter().cycle().take(WRITERS as usize).cloned() {
        let registry = Arc::clone(&registry);
        movers.spawn(async move {
            let record = MoveRecord::default();
            let made = registry.move_rollout(fraud(), step, Some(expected), record, ada(), NOON);
            made.await
        });
    }
    let answers = movers.join_all().await;
    let won: Vec<_> = answers.iter().filter_map(|a| a.as_ref().ok()).collect();
    assert_eq!(won.len(), 1);
    assert_eq!(&read(&registry).await, won[0]);
    let after = rollout(won[0]).revision;
    for lost in answers.iter().filter_map(|a| a.as_ref().err()) {
        assert!(
            matches!(lost, Error::Conflict { expected: e, found, .. }
                if *e == expected && *found == after),
            "{lost:?}"
        );
    }
    assert_eq!(registry.rollout_events(&rollout(won[0]).id).await.expect("events").len(), 2);
}

/// Rollouts and experiments alike: a model has one of them at most.
pub async fn of_many_starts_one_wins(registry: Shared) {
    ready_versions(&registry, 2).await;
    promote(&registry, 1).await.expect("a promotion");
    let mut starters = JoinSet::new();
    for number in 0..WRITERS {
        let registry = Arc::clone(&registry);
        starters.spawn(async move {
            if number % 2 == 0 {
                return experiment(&registry, &[1, 2]).await.map(drop);
            }
            let id = format!("ro-{number}");
            let new = NewRollout { id, to: v(2), spec: steps(&[5]), reason: None };
            registry.start_rollout(fraud(), new, None, ada(), NOON).await.map(drop)
        });
    }
    let answers = starters.join_all().await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    assert!(answers.iter().all(|a| matches!(a, Ok(()) | Err(Error::Illegal(_)))), "{answers:?}");
    let model = read(&registry).await;
    assert_ne!(model.active_rollout().is_some(), model.experiment.is_some());
}

pub async fn evidence_never_follows_a_move(registry: Shared) {
    ready_versions(&registry, 2).await;
    promote(&registry, 1).await.expect("a promotion");
    let started = start(&registry, 2, steps(&[5, 25])).await.expect("a rollout");
    let (id, first) = (rollout(&started).id.clone(), rollout(&started).revision);
    let mut tasks = JoinSet::new();
    for number in 0..WRITERS {
        let (registry, id) = (Arc::clone(&registry), id.clone());
        tasks.spawn(async move {
            if number == WRITERS / 2 {
                let evidence = Some(json!("of the move"));
                let record = MoveRecord { evidence, ..MoveRecord::default() };
                let step = RolloutMove::Advance;
                let made = registry.move_rollout(fraud(), step, None, record, ada(), NOON).await;
                made.expect("a step");
            } else {
                let evidence = json!(number);
                let put = registry.put_evidence(fraud(), &id, first, &evidence, NOON).await;
                put.expect("an answer");
            }
        });
    }
    tasks.join_all().await;
    let after = rollout(&read(&registry).await).revision;
    let stored = registry.evidence(&id).await.expect("evidence");
    assert_eq!(stored, Some((after, json!("of the move"))));
}
