//! Short words for what the cases do over and over.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use serde_json::json;
use weighbridge_config::rollout::{Percent, RolloutSpec, ShadowStage};
use weighbridge_config::{AliasName, Digest, Manifest, ModelName, Version};

use crate::{
    Actor, CheckOutcome, Error, Event, EventQuery, Experiment, IfRollout, Millis, Model,
    MoveRecord, NewExperiment, NewRollout, NewVersion, Registered, Registry, Result, Rollout,
    RolloutMove, RouteChange, Snapshot, VersionInfo,
};

/// The registry under test.
pub type Shared = Arc<dyn Registry>;

/// When everything happens that does not care.
pub const NOON: Millis = 1_700_000_000_000;

/// Who does everything.
pub fn ada() -> &'static Actor {
    static ADA: LazyLock<Actor> =
        LazyLock::new(|| Actor { id: "key:wbk_ada".to_owned(), name: "Ada".to_owned() });
    &ADA
}

/// The model of the cases that need one only.
pub fn fraud() -> &'static ModelName {
    static FRAUD: LazyLock<ModelName> = LazyLock::new(|| named("fraud"));
    &FRAUD
}

/// A model's name.
pub fn named(name: &str) -> ModelName {
    name.parse().expect("a model name")
}

/// The alias of the cases.
pub fn champion() -> &'static AliasName {
    static CHAMPION: LazyLock<AliasName> = LazyLock::new(|| "champion".parse().expect("an alias"));
    &CHAMPION
}

/// A version number.
pub fn v(number: u32) -> Version {
    Version::try_from(number).expect("a version number")
}

/// A manifest of one file with this content.
pub fn files(content: &str) -> Manifest {
    Manifest::single_onnx(content.len() as u64, Digest::of(content.as_bytes()))
}

/// A push of these files to fraud.
pub fn new_version(content: &str) -> NewVersion {
    NewVersion {
        model: fraud().clone(),
        version: None,
        manifest: files(content),
        info: VersionInfo::default(),
    }
}

/// Weights in basis points.
pub fn weights(pairs: &[(u32, u32)]) -> BTreeMap<Version, u32> {
    pairs.iter().map(|(n, w)| (v(*n), *w)).collect()
}

/// Registers files as a version of fraud.
pub async fn push(registry: &Shared, content: &str) -> Registered {
    let registered = registry.register_version(new_version(content), ada(), NOON);
    registered.await.expect("a push")
}

/// Ends the check of a version of fraud.
pub async fn end_check(registry: &Shared, version: Version, good: bool) {
    let outcome = if good {
        CheckOutcome::Ready { report: json!({ "golden": 3 }) }
    } else {
        CheckOutcome::Rejected { reason: "golden case 2 differs".to_owned(), report: None }
    };
    let ended = registry.finish_check(fraud(), version, outcome, ada(), NOON);
    ended.await.expect("the end of a check");
}

/// Registers files as a version of fraud that is ready.
pub async fn ready(registry: &Shared, content: &str) -> Version {
    let version = push(registry, content).await.record.version;
    end_check(registry, version, true).await;
    version
}

/// Registers the versions 1 to `count` of fraud, all ready.
pub async fn ready_versions(registry: &Shared, count: u32) {
    for number in 1..=count {
        assert_eq!(ready(registry, &format!("files {number}")).await, v(number));
    }
}

/// Sets the weights of fraud.
pub async fn route(registry: &Shared, pairs: &[(u32, u32)]) -> Result<Model> {
    let change = RouteChange::set(weights(pairs));
    let set = registry.set_route(fraud(), change, IfRollout::Refuse, None, ada(), NOON);
    set.await
}

/// Gives all traffic of fraud to a version.
pub async fn promote(registry: &Shared, version: u32) -> Result<Model> {
    let change = RouteChange::promote(v(version));
    let set = registry.set_route(fraud(), change, IfRollout::Refuse, None, ada(), NOON);
    set.await
}

/// Rolls fraud back.
pub async fn roll_back(registry: &Shared) -> Result<Model> {
    registry.roll_back(fraud(), IfRollout::Refuse, None, ada(), NOON).await
}

/// A spec with these steps in percent, without a shadow stage.
pub fn steps(percents: &[u32]) -> RolloutSpec {
    RolloutSpec {
        steps: percents.iter().copied().map(Percent::whole).collect(),
        shadow: ShadowStage { requests: 0, ..ShadowStage::default() },
        ..RolloutSpec::default()
    }
}

/// The same with a shadow stage.
pub fn shadow_then(percents: &[u32]) -> RolloutSpec {
    RolloutSpec { shadow: ShadowStage::default(), ..steps(percents) }
}

/// Starts a rollout of a version of fraud.
pub async fn start(registry: &Shared, to: u32, spec: RolloutSpec) -> Result<Model> {
    let revision = registry.revision().await?;
    let reason = Some("to see".to_owned());
    let new = NewRollout { id: format!("ro-{revision:016x}"), to: v(to), spec, reason };
    registry.start_rollout(fraud(), new, None, ada(), NOON).await
}

/// Moves the rollout of fraud.
pub async fn step(registry: &Shared, step: RolloutMove) -> Result<Model> {
    let record = MoveRecord::default();
    registry.move_rollout(fraud(), step, None, record, ada(), NOON).await
}

/// The rollout of a model that has one.
#[track_caller]
pub fn rollout(model: &Model) -> &Rollout {
    model.rollout.as_ref().expect("a rollout")
}

/// Starts an experiment on versions of fraud.
pub async fn experiment(registry: &Shared, versions: &[u32]) -> Result<Experiment> {
    let revision = registry.revision().await?;
    let new = NewExperiment {
        id: format!("ex-{revision:016x}"),
        name: "colours".to_owned(),
        spec: json!({ "variants": versions }),
        versions: versions.iter().copied().map(v).collect(),
    };
    registry.start_experiment(fraud(), new, None, ada(), NOON).await
}

/// Fraud as it is.
pub async fn read(registry: &Shared) -> Model {
    registry.model(fraud()).await.expect("the model fraud")
}

/// Everything as it is.
pub async fn snapshot(registry: &Shared) -> Snapshot {
    registry.snapshot().await.expect("a snapshot")
}

/// The newest events, newest first.
pub async fn events(registry: &Shared) -> Vec<Event> {
    let query = EventQuery { model: None, before: None, limit: 1_000 };
    registry.events(&query).await.expect("events")
}

/// The current split of a model in words, such as `1=95% 2=5%`.
pub fn split(model: &Model) -> String {
    let route = model.route.as_ref();
    route.map_or("none".to_owned(), |route| route.split.to_string())
}

/// The sentence of an illegal move; fails for any other answer.
#[track_caller]
pub fn illegal<T: std::fmt::Debug>(answer: Result<T>) -> String {
    match answer {
        Err(Error::Illegal(sentence)) => sentence,
        other => panic!("wanted an illegal move, got {other:?}"),
    }
}

/// The thing that was not found; fails for any other answer.
#[track_caller]
pub fn not_found<T: std::fmt::Debug>(answer: Result<T>) -> String {
    match answer {
        Err(Error::NotFound { what }) => what,
        other => panic!("wanted not found, got {other:?}"),
    }
}

/// The revision found by a lost compare-and-swap; fails for any other answer.
#[track_caller]
pub fn conflict<T: std::fmt::Debug>(answer: Result<T>) -> u64 {
    match answer {
        Err(Error::Conflict { found, .. }) => found,
        other => panic!("wanted a conflict, got {other:?}"),
    }
}
