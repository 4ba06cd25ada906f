//! Experiments: started, given other shares, stopped.

use serde_json::json;

use super::fixture::*;
use crate::{ExperimentState, IfRouted, NewExperiment, RolloutMove};

async fn two_ready(registry: &Shared) {
    ready_versions(registry, 2).await;
    promote(registry, 1).await.expect("a promotion");
}

pub async fn an_experiment_runs_until_it_is_stopped(registry: Shared) {
    two_ready(&registry).await;
    let before = read(&registry).await;
    let started = experiment(&registry, &[1, 2]).await.expect("an experiment");
    assert_eq!((started.state, started.epoch), (ExperimentState::Running, 0));
    assert_eq!((started.started_at, started.started_by.as_str()), (NOON, "key:wbk_ada"));
    let model = read(&registry).await;
    assert_eq!(model.experiment.as_ref(), Some(&started));
    assert_eq!((model.revision, started.revision), (before.revision + 1, before.revision + 1));
    let seen = snapshot(&registry).await;
    assert_eq!(seen.experiments().collect::<Vec<_>>(), [&started]);

    let outcome = Some("blue won".to_owned());
    let stale = Some(started.revision - 1);
    let stop = async |expected| {
        let outcome = outcome.clone();
        registry.stop_experiment(&started.id, outcome, expected, ada(), NOON + 5).await
    };
    assert_eq!(conflict(stop(stale).await), started.revision);
    let stopped = stop(Some(started.revision)).await.expect("a stop");
    assert_eq!((stopped.state, &stopped.outcome), (ExperimentState::Stopped, &outcome));
    assert_eq!(
        (stopped.stopped_at, stopped.stopped_by.as_deref()),
        (Some(NOON + 5), Some("key:wbk_ada"))
    );
    let at_rest = (snapshot(&registry).await, events(&registry).await);
    assert_eq!(stop(None).await.expect("the same stop"), stopped);
    assert_eq!((snapshot(&registry).await, events(&registry).await), at_rest);
    assert_eq!(read(&registry).await.experiment, None);
    assert_eq!(registry.experiment(&started.id).await.expect("it"), stopped);

    let second = experiment(&registry, &[1]).await.expect("an experiment");
    let listed = registry.experiments(fraud(), 9).await.expect("experiments");
    assert_eq!(listed, [second, stopped]);
    assert_eq!(registry.experiments(fraud(), 1).await.expect("experiments").len(), 1);
    let actions: Vec<_> = events(&registry).await.into_iter().map(|e| e.action).collect();
    assert_eq!(actions[..3], ["experiment.started", "experiment.stopped", "experiment.started"]);
    let shown = events(&registry).await[0].to.clone().expect("what it shows");
    assert_eq!(shown["spec"], json!({ "variants": [1] }));
}

pub async fn rollouts_and_experiments_keep_apart(registry: Shared) {
    two_ready(&registry).await;
    start(&registry, 2, steps(&[5])).await.expect("a rollout");
    let sentence = illegal(experiment(&registry, &[1, 2]).await);
    assert!(sentence.contains("a rollout of version 2 is running"), "{sentence}");
    step(&registry, RolloutMove::RollBack).await.expect("a rollback");
    let running = experiment(&registry, &[1, 2]).await.expect("an experiment");
    let sentence = illegal(start(&registry, 2, steps(&[5])).await);
    assert!(sentence.contains("experiment colours"), "{sentence}");
    assert!(illegal(experiment(&registry, &[1]).await).contains("stop it first"));
    // The route can be set meanwhile: it serves whoever takes no part.
    promote(&registry, 2).await.expect("a promotion");
    let stopped = registry.stop_experiment(&running.id, None, None, ada(), NOON).await;
    stopped.expect("a stop");
    start(&registry, 1, steps(&[5])).await.expect("a rollout");
}

pub async fn impossible_experiments_change_nothing(registry: Shared) {
    two_ready(&registry).await;
    let third = push(&registry, "files 3").await.record.version;
    end_check(&registry, third, false).await;
    let before = (snapshot(&registry).await, events(&registry).await);
    assert!(illegal(experiment(&registry, &[1, 3]).await).contains("golden case 2 differs"));
    not_found(experiment(&registry, &[1, 9]).await);
    assert!(illegal(experiment(&registry, &[]).await).contains("no version"));
    let new = NewExperiment {
        id: "ex-1".to_owned(),
        name: "colours".to_owned(),
        spec: json!({}),
        versions: [v(1)].into(),
    };
    conflict(registry.start_experiment(fraud(), new.clone(), Some(1), ada(), NOON).await);
    not_found(registry.start_experiment(&named("churn"), new.clone(), None, ada(), NOON).await);
    not_found(registry.stop_experiment("ex-1", None, None, ada(), NOON).await);
    not_found(registry.reshare_experiment("ex-1", json!({}), None, ada(), NOON).await);
    not_found(registry.experiment("ex-1").await);
    not_found(registry.experiments(&named("churn"), 9).await);
    assert_eq!((snapshot(&registry).await, events(&registry).await), before);

    let started = registry.start_experiment(fraud(), new.clone(), None, ada(), NOON).await;
    started.expect("an experiment");
    let stopped = registry.stop_experiment("ex-1", None, None, ada(), NOON).await;
    stopped.expect("a stop");
    let again = registry.start_experiment(fraud(), new, None, ada(), NOON).await;
    assert!(illegal(again).contains("ex-1"));
}

pub async fn shares_come_with_an_epoch(registry: Shared) {
    two_ready(&registry).await;
    let started = experiment(&registry, &[1, 2]).await.expect("an experiment");
    let reshare = async |blue: f64, expected| {
        let shares = json!({ "blue": blue });
        registry.reshare_experiment(&started.id, shares, expected, ada(), NOON).await
    };
    let first = reshare(0.5, Some(started.revision)).await.expect("other shares");
    assert_eq!((first.epoch, &first.shares), (1, &Some(json!({ "blue": 0.5 }))));
    assert_eq!(reshare(0.5, None).await.expect("the same shares"), first);
    conflict(reshare(0.6, Some(started.revision)).await);
    let second = reshare(0.75, Some(first.revision)).await.expect("other shares");
    assert_eq!((second.epoch, read(&registry).await.experiment), (2, Some(second.clone())));
    assert_eq!(events(&registry).await[0].action, "experiment.reshared");
    let stopped = registry.stop_experiment(&started.id, None, None, ada(), NOON).await;
    stopped.expect("a stop");
    assert!(illegal(reshare(0.9, None).await).contains("has been stopped"));
}

pub async fn versions_of_an_experiment_stay(registry: Shared) {
    two_ready(&registry).await;
    let running = experiment(&registry, &[2]).await.expect("an experiment");
    for refused in [
        registry.archive(fraud(), v(2), None, ada(), NOON).await.map(drop),
        registry.delete_version(fraud(), v(2), None, ada(), NOON).await,
    ] {
        assert!(illegal(refused).contains("experiment colours"));
    }
    let stopped = registry.stop_experiment(&running.id, None, None, ada(), NOON).await;
    stopped.expect("a stop");
    registry.archive(fraud(), v(2), None, ada(), NOON).await.expect("an archived version");
}

pub async fn a_deleted_model_stops_its_experiment(registry: Shared) {
    two_ready(&registry).await;
    let running = experiment(&registry, &[2]).await.expect("an experiment");
    let refused = registry.delete_model(fraud(), IfRouted::Refuse, None, ada(), NOON).await;
    assert!(illegal(refused).contains("experiment colours"));
    let deleted = registry.delete_model(fraud(), IfRouted::Delete, None, ada(), NOON + 9).await;
    deleted.expect("a deleted model");
    let stopped = registry.experiment(&running.id).await.expect("the experiment");
    assert_eq!((stopped.state, stopped.stopped_at), (ExperimentState::Stopped, Some(NOON + 9)));
    assert_eq!(stopped.outcome.as_deref(), Some("the model was deleted"));
    assert_eq!(stopped.stopped_by.as_deref(), Some("key:wbk_ada"));
}
