//! Follows the registry: loads the versions that may be asked for, then publishes a snapshot.
//!
//! * The table is published after the load: a route that names a version which is not loaded
//!   yet keeps its old form until the load has ended, well or not.
//! * A registry that cannot be read changes nothing: the snapshot in force stays.
//! * One load per version at a time, however many ask for it.
//! * A version that nobody may ask for any more is dropped when its last request has ended.
//! * Beside a canary, stable is loaded a second time ([`crate::rollout::control`]).

mod wanted;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::{Mutex, Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use weighbridge_config::{Digest, ModelName, Split, Version, settings};
use weighbridge_registry::{
    Model, Phase, Registry, Rollout, Snapshot as RegistrySnapshot, VersionRecord, VersionState,
};
use weighbridge_routing::{Availability, ModelRoute};

use crate::experiment::Experiments;
use crate::loading::loader::Loader;
use crate::rollout::snapshot::{EffectiveSettings, ServedModel, Snapshot};
use crate::rollout::trial::Trial;
use crate::rollout::trials::{Trials, observed};
use crate::serving::loaded::LoadedVersion;
use crate::serving::queue::Queue;
use crate::shadow::ShadowTarget;
use crate::shadow::target::Sinks;
use crate::telemetry::events;

use wanted::{wanted_control, wanted_versions};

/// A version that failed to load is tried again after this time: a store that was away may be
/// back.
const RETRY_FAILED: Duration = Duration::from_secs(30);

/// A version of a model, and what it is loaded for.
type Key = (ModelName, Version, Use);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Use {
    /// Whoever asks for it.
    Serving,
    /// To be compared with a canary.
    Control,
}

impl Use {
    /// The word of logs.
    fn word(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Control => "control",
        }
    }
}

/// How far the loading of a version is.
#[derive(Debug, Clone)]
enum Slot {
    /// The sender is dropped when the load has ended.
    Loading(watch::Receiver<()>),
    Loaded(Arc<LoadedVersion>),
    Failed {
        reason: String,
        at: Instant,
    },
}

#[derive(Debug, Default)]
struct State {
    /// By version; the digest tells whether the number still means the same bytes.
    slots: HashMap<Key, (Digest, Slot)>,
    queues: HashMap<ModelName, Arc<Queue>>,
    shadows: Sinks,
    /// The registry as it was read last.
    seen: Option<RegistrySnapshot>,
}

/// The one that keeps the snapshot true.
#[derive(Debug)]
pub struct Sync {
    registry: Arc<dyn Registry>,
    loader: Loader,
    live: Arc<ArcSwap<Snapshot>>,
    serving: settings::Serving,
    versions_per_model: usize,
    state: Mutex<State>,
    /// Held while the registry is read and what it says is adopted.
    reading: Mutex<()>,
    /// Rung when a load has ended, so that the snapshot is made anew.
    changed: Notify,
    /// The registry as it was read last, for those who follow it.
    seen: watch::Sender<Option<Arc<RegistrySnapshot>>>,
    pub trials: Arc<Trials>,
    experiments: Arc<Experiments>,
    tasks: TaskTracker,
}

impl Sync {
    /// Publishes into `live`; loads run on `tasks`.
    pub fn new(
        registry: Arc<dyn Registry>,
        loader: Loader,
        live: Arc<ArcSwap<Snapshot>>,
        settings: &settings::Settings,
        trials: Arc<Trials>,
        experiments: Arc<Experiments>,
        tasks: TaskTracker,
    ) -> Arc<Self> {
        Arc::new(Self {
            registry,
            loader,
            live,
            seen: watch::Sender::new(None),
            trials,
            serving: settings.serving.clone(),
            versions_per_model: settings.engine.loaded_versions_per_model as usize,
            state: Mutex::default(),
            reading: Mutex::default(),
            changed: Notify::new(),
            experiments,
            tasks,
        })
    }

    /// Follows the registry until `stop`: after each load, and every `poll`, for changes that
    /// nobody announced.
    pub async fn follow(self: Arc<Self>, poll: Duration, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = self.changed.notified() => {}
                () = tokio::time::sleep(poll) => {}
                () = stop.cancelled() => return,
            }
            if let Err(error) = self.refresh().await {
                events::registry_unreadable(&error);
            }
        }
    }

    /// Reads the registry, starts the loads it asks for and publishes what stands.
    pub async fn refresh(self: &Arc<Self>) -> Result<(), weighbridge_registry::Error> {
        // In turn, or an older picture could come last. The state is free meanwhile: what takes a
        // canary out of the table does not wait for the registry.
        let _turn = self.reading.lock().await;
        let seen = self.registry.snapshot().await?;
        self.experiments.adopt(&seen).await?;
        let mut state = self.state.lock().await;
        self.adopt(&mut state, seen);
        Ok(())
    }

    /// Makes the snapshot anew from what is known: after a rollout was set aside.
    pub async fn republish(&self) {
        let mut state = self.state.lock().await;
        self.publish(&mut state);
    }

    /// The registry as it was read last, and a bell for each time it is read.
    pub fn seen(&self) -> watch::Receiver<Option<Arc<RegistrySnapshot>>> {
        self.seen.subscribe()
    }

    /// Waits until each of `versions` is loaded, loading what is not.
    ///
    /// # Errors
    /// One sentence that says which version cannot be loaded and why.
    pub async fn ensure_loaded(
        self: &Arc<Self>,
        model: &ModelName,
        versions: impl IntoIterator<Item = Version>,
    ) -> Result<(), String> {
        for version in versions {
            let record = self.registry.model(model).await.map_err(|e| e.to_string())?;
            let Some(record) = record.version(version).cloned() else {
                return Err(format!("version {version} of {model} was not found"));
            };
            self.wait_loaded(model, &record).await?;
        }
        Ok(())
    }

    /// Waits until the control of the model's rollout is loaded, or cannot be, if its canary takes
    /// traffic with the table that is published then.
    pub async fn control_settled(&self, model: &ModelName) {
        let loading = {
            let state = self.state.lock().await;
            let models = state.seen.iter().flat_map(|seen| &seen.models);
            let is_live = |m: &&Model| {
                let phase = m.rollout.as_ref().map(|rollout| rollout.phase);
                m.name == *model && matches!(phase, Some(Phase::Live { .. }))
            };
            let version = models.filter(is_live).find_map(wanted_control);
            let slot = version.and_then(|v| state.slots.get(&(model.clone(), v, Use::Control)));
            match slot {
                Some((_, Slot::Loading(ended))) => Some(ended.clone()),
                _ => None,
            }
        };
        if let Some(mut ended) = loading {
            // An error means that the load has ended: its sender is gone.
            let _ = ended.changed().await;
        }
    }

    async fn wait_loaded(
        self: &Arc<Self>,
        model: &ModelName,
        record: &VersionRecord,
    ) -> Result<(), String> {
        let version = record.version;
        let mut has_tried = false;
        loop {
            let mut ended = {
                let mut state = self.state.lock().await;
                let slot = state.slots.get(&(model.clone(), version, Use::Serving));
                match slot.filter(|(digest, _)| *digest == record.digest) {
                    // One that is run no more gets a new chance when somebody asks for it.
                    Some((_, Slot::Loaded(loaded))) if loaded.quarantine().is_none() => {
                        return Ok(());
                    }
                    Some((_, Slot::Failed { reason, .. })) if has_tried => {
                        return Err(format!(
                            "version {version} of {model} cannot be loaded: {reason}"
                        ));
                    }
                    Some((_, Slot::Loading(ended))) => ended.clone(),
                    _ => self.start_load(&mut state, model, record, Use::Serving),
                }
            };
            has_tried = true;
            // An error means that the load has ended: its sender is gone.
            let _ = ended.changed().await;
        }
    }

    fn adopt(self: &Arc<Self>, state: &mut State, seen: RegistrySnapshot) {
        let wanted: Vec<(ModelName, VersionRecord, Use)> = seen
            .models
            .iter()
            .flat_map(|m| {
                let served = wanted_versions(m, self.versions_per_model).into_iter();
                let served = served.map(|v| (v, Use::Serving));
                let all = served.chain(wanted_control(m).map(|v| (v, Use::Control)));
                all.filter_map(|(v, of)| Some((m.name.clone(), m.version(v)?.clone(), of)))
            })
            .collect();
        let keep: HashSet<Key> =
            wanted.iter().map(|(m, r, of)| (m.clone(), r.version, *of)).collect();
        state.slots.retain(|key, (_, slot)| keep.contains(key) || matches!(slot, Slot::Loading(_)));
        for (model, record, of) in &wanted {
            let slot = state.slots.get(&(model.clone(), record.version, *of));
            let is_current = slot.is_some_and(|(digest, slot)| {
                let is_due =
                    matches!(slot, Slot::Failed { at, .. } if at.elapsed() >= RETRY_FAILED);
                *digest == record.digest && !is_due
            });
            if !is_current {
                self.start_load(state, model, record, *of);
            }
        }
        self.seen.send_replace(Some(Arc::new(seen.clone())));
        state.seen = Some(seen);
        self.publish(state);
    }

    fn start_load(
        self: &Arc<Self>,
        state: &mut State,
        model: &ModelName,
        record: &VersionRecord,
        of: Use,
    ) -> watch::Receiver<()> {
        let (ending, ended) = watch::channel(());
        let key = (model.clone(), record.version, of);
        let slot = Slot::Loading(ended.clone());
        state.slots.insert(key.clone(), (record.digest, slot));
        let (sync, model, record) = (Arc::clone(self), model.clone(), record.clone());
        self.tasks.spawn(async move {
            let outcome = sync.loader.load(&record.manifest).await;
            let told = outcome.as_ref().map(|(_, took)| *took).map_err(String::as_str);
            events::loaded(&model, record.version, of.word(), told);
            let slot = match outcome {
                Ok((engine, _)) => Slot::Loaded(Arc::new(loaded_version(&model, &record, engine))),
                Err(reason) => Slot::Failed { reason, at: Instant::now() },
            };
            let mut state = sync.state.lock().await;
            state.slots.insert(key, (record.digest, slot));
            sync.publish(&mut state);
            drop(state);
            drop(ending);
            sync.changed.notify_one();
        });
        ended
    }

    fn publish(&self, state: &mut State) {
        let Some(seen) = &state.seen else { return };
        let old = self.live.load_full();
        let mut snapshot =
            Snapshot { revision: seen.revision, is_settled: true, ..Snapshot::default() };
        for model in &seen.models {
            let queue = state.queues.entry(model.name.clone());
            let queue = queue.or_insert_with(|| Arc::new(Queue::new(model.name.clone())));
            let mut served =
                self.serve_model(model, &state.slots, queue, old.models.get(&model.name));
            served.shadows = state.shadows.targets(model, &served.settings, &served.loaded);
            served.shadows.extend(self.rollouts_shadow(model, &served));
            snapshot.is_settled &= is_settled(model, &state.slots);
            snapshot.models.insert(model.name.clone(), Arc::new(served));
        }
        for key in &seen.keys {
            snapshot.keys.insert(key.hash, Arc::new(key.clone()));
        }
        state.shadows.retain(&seen.models);
        state.queues.retain(|name, _| seen.models.iter().any(|m| m.name == *name));
        let loaded = snapshot.models.values().map(|m| m.loaded.len()).sum();
        events::published(snapshot.revision, loaded);
        self.live.store(Arc::new(snapshot));
    }

    fn serve_model(
        &self,
        model: &Model,
        slots: &HashMap<Key, (Digest, Slot)>,
        queue: &Arc<Queue>,
        old: Option<&Arc<ServedModel>>,
    ) -> ServedModel {
        let mut loaded = BTreeMap::new();
        let mut versions = BTreeMap::new();
        for record in &model.versions {
            let slot = slot_of(slots, model, record, Use::Serving);
            let availability = match (&record.state, slot) {
                (_, Some(Slot::Loaded(version))) => {
                    loaded.insert(record.version, Arc::clone(version));
                    Availability::Loaded
                }
                (_, Some(Slot::Failed { reason, .. })) => Availability::Failed(reason.clone()),
                (VersionState::Rejected { reason }, None) => Availability::Failed(reason.clone()),
                _ => Availability::NotLoaded,
            };
            versions.insert(record.version, availability);
        }
        let split = model.route.as_ref().map(|r| r.split.clone());
        let control = wanted_control(model).and_then(|v| model.version(v));
        let control = control.and_then(|record| slot_of(slots, model, record, Use::Control));
        let awaits_control = matches!(control, Some(Slot::Loading(_)));
        let split = route_in_force(split, &versions, awaits_control, old.map(|o| &o.route));
        let active = model.rollout.as_ref().filter(|r| r.is_active());
        let split = match active {
            // Decided here, and not recorded yet: the canary has no traffic already.
            Some(rollout) if self.trials.is_set_aside(&rollout.id) => {
                Some(Split::all_to(rollout.from))
            }
            _ => split,
        };
        let settings = EffectiveSettings::of(model, &self.serving);
        let copy = match control {
            Some(Slot::Loaded(copy)) => Some(copy),
            _ => None,
        };
        let trial =
            active.and_then(|rollout| self.trial(rollout, model, split.as_ref(), &loaded, copy));
        let route = ModelRoute {
            salt: model.name.to_string(),
            split,
            aliases: model.aliases.clone(),
            versions,
        };
        ServedModel {
            name: model.name.clone(),
            route,
            loaded,
            settings,
            queue: Arc::clone(queue),
            trial,
            shadows: Vec::new(),
            experiment: self.experiments.of(model),
        }
    }

    /// The canary of a rollout in its shadow stage.
    fn rollouts_shadow(&self, model: &Model, served: &ServedModel) -> Option<ShadowTarget> {
        let rollout = model.rollout.as_ref()?;
        let canary = served.loaded.get(&rollout.to)?;
        self.trials.shadow(rollout, &served.settings, canary)
    }

    /// The trial of an active rollout, once its route is in force.
    fn trial(
        &self,
        rollout: &Rollout,
        model: &Model,
        split: Option<&Split>,
        loaded: &BTreeMap<Version, Arc<LoadedVersion>>,
        copy: Option<&Arc<LoadedVersion>>,
    ) -> Option<Arc<Trial>> {
        let route = model.route.as_ref().filter(|route| split == Some(&route.split))?;
        let (stable, canary) = (loaded.get(&rollout.from)?, loaded.get(&rollout.to)?);
        let observed = observed(&rollout.spec, model.settings.sticky.is_some());
        self.trials.in_force(rollout, observed, route, stable, canary, copy)
    }
}

/// How far the loading of a version is, if it has begun.
fn slot_of<'a>(
    slots: &'a HashMap<Key, (Digest, Slot)>,
    model: &Model,
    record: &VersionRecord,
    of: Use,
) -> Option<&'a Slot> {
    let slot = slots.get(&(model.name.clone(), record.version, of));
    slot.filter(|(digest, _)| *digest == record.digest).map(|(_, slot)| slot)
}

/// The new route, or the old one while the new one waits for a load (of one of its versions, or
/// of the control beside them) and the old one can serve.
fn route_in_force(
    new: Option<Split>,
    versions: &BTreeMap<Version, Availability>,
    awaits_control: bool,
    old: Option<&ModelRoute>,
) -> Option<Split> {
    let is_waiting = |s: &Split| {
        let is_missing = |v: &Version| versions.get(v) == Some(&Availability::NotLoaded);
        awaits_control || s.weights().keys().any(is_missing)
    };
    let can_serve =
        |s: &Split| s.weights().keys().all(|v| versions.get(v) == Some(&Availability::Loaded));
    let old = old.and_then(|o| o.split.as_ref());
    match (&new, old) {
        (Some(split), Some(old)) if is_waiting(split) && can_serve(old) => Some(old.clone()),
        _ => new,
    }
}

/// True when each version that is routed or in an experiment is loaded or has failed.
fn is_settled(model: &Model, slots: &HashMap<Key, (Digest, Slot)>) -> bool {
    let routed = model.route.iter().flat_map(|r| r.split.weights().into_keys());
    let in_experiment = model.experiment.iter().flat_map(|e| e.versions.iter().copied());
    routed.chain(in_experiment).all(|version| {
        let slot = slots.get(&(model.name.clone(), version, Use::Serving));
        matches!(slot, Some((_, Slot::Loaded(_) | Slot::Failed { .. })))
    })
}

fn loaded_version(
    model: &ModelName,
    record: &VersionRecord,
    engine: weighbridge_engine::LoadedModel,
) -> LoadedVersion {
    let (signature, cost) = (engine.signature().clone(), engine.cost());
    let from_model = signature.outputs.iter().find(|o| !o.labels.is_empty());
    let class_names = match &record.info.class_names {
        names if !names.is_empty() => names.clone(),
        _ => from_model.map(|o| o.labels.clone()).unwrap_or_default(),
    };
    let mut version =
        LoadedVersion::new(model.clone(), record.version, signature, cost, Box::new(engine));
    version.class_names = class_names;
    version
}
