use std::collections::BTreeSet;

use serde_json::json;
use tokio_util::task::TaskTracker;
use weighbridge_config::{Digest, Manifest, Version};
use weighbridge_registry::{
    Actor, CheckOutcome, NewExperiment, NewVersion, SqliteRegistry, UnitQuery, VersionInfo,
};

use super::*;

/// A registry in which the experiment `ex-1` runs.
async fn registry() -> Arc<dyn Registry> {
    let registry = SqliteRegistry::in_memory().await.unwrap();
    let (model, actor) = ("m".parse().unwrap(), Actor::system());
    let new = NewVersion {
        model,
        version: None,
        manifest: Manifest::single_onnx(1, Digest::of(b"x")),
        info: VersionInfo::default(),
    };
    let model = new.model.clone();
    registry.register_version(new, &actor, 1).await.unwrap();
    let one = Version::try_from(1).unwrap();
    let outcome = CheckOutcome::Ready { report: json!({}) };
    registry.finish_check(&model, one, outcome, &actor, 1).await.unwrap();
    let versions = BTreeSet::from([one]);
    let (id, name) = ("ex-1".to_owned(), "x".to_owned());
    let new = NewExperiment { id, name, spec: json!({}), versions };
    registry.start_experiment(&model, new, None, &actor, 1).await.unwrap();
    Arc::new(registry)
}

fn entry(unit: &str, is_new: bool) -> Entry {
    let (experiment, unit) = ("ex-1".to_owned(), unit.to_owned());
    let exposure = Exposure {
        experiment: experiment.clone(),
        unit: unit.clone(),
        variant: "a".to_owned(),
        share: 0.5,
        epoch: 0,
        at: 7,
    };
    let request = RequestUnit { request: format!("r-{unit}"), experiment, unit, at: now_ms() };
    Entry { request, exposure: is_new.then_some(exposure) }
}

async fn units(registry: &dyn Registry) -> Vec<String> {
    let query = UnitQuery {
        experiment: "ex-1".to_owned(),
        metric: "m".to_owned(),
        within: None,
        after: None,
        limit: 10_000,
    };
    registry.units(&query).await.unwrap().into_iter().map(|unit| unit.unit).collect()
}

#[tokio::test]
async fn a_flush_and_a_stop_write_what_is_queued() {
    let (registry, tasks, stop) = (registry().await, TaskTracker::new(), CancellationToken::new());
    let (log, queue) = Log::new();
    tasks.spawn(Writer::new(Arc::clone(&registry), queue).run(stop.clone()));
    assert!(log.note(entry("alice", true)) && log.note(entry("alice", false)));
    log.flush().await;
    assert_eq!(units(registry.as_ref()).await, ["alice"]);
    assert!(log.note(entry("bob", true)));
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    assert_eq!(units(registry.as_ref()).await, ["alice", "bob"]);
    // Nobody writes any more, and nobody waits for it.
    log.flush().await;
    assert!(!log.note(entry("carol", true)));
}

#[tokio::test]
async fn a_full_queue_drops_and_never_waits() {
    let (log, mut queue) = Log::new();
    for n in 0..QUEUE {
        assert!(log.note(entry(&n.to_string(), true)));
    }
    assert!(!log.note(entry("one too many", true)));
    assert!(queue.try_recv().is_ok());
    assert!(log.note(entry("again", true)));
}

#[tokio::test]
async fn entries_are_written_without_a_flush() {
    let (registry, tasks, stop) = (registry().await, TaskTracker::new(), CancellationToken::new());
    let (log, queue) = Log::new();
    tasks.spawn(Writer::new(Arc::clone(&registry), queue).run(stop.clone()));
    assert!(log.note(entry("alice", true)));
    let began = tokio::time::Instant::now();
    while units(registry.as_ref()).await.is_empty() {
        assert!(began.elapsed() < 20 * PERIOD, "not written in time");
        tokio::time::sleep(PERIOD / 50).await;
    }
    stop.cancel();
}
