//! Follows the registry: loads the versions that may be asked for, then publishes a snapshot.
//!
//! * The table is published after the load: a route that names a version which is not loaded
//!   yet keeps its old form until the load has ended, well or not.
//! * A registry that cannot be read changes nothing: the snapshot in force stays.
//! * One load per version at a time, however many ask for it.
//! * A version that nobody may ask for any more is dropped when its last request has ended.
//! * Beside a canary, stable is loaded a second time ([`crate::rollout::control`]).

mod residency;
mod slots;
mod wanted;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::{Mutex, Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use weighbridge_config::{ModelName, Residency, Split, Version, settings};
use weighbridge_registry::{
    Model, Phase, Registry, Rollout, Snapshot as RegistrySnapshot, VersionRecord, VersionState,
};
use weighbridge_routing::{Availability, ModelRoute};

use crate::experiment::Experiments;
use crate::loading::loader::Loader;
use crate::loading::memory;
use crate::rollout::snapshot::{EffectiveSettings, ServedModel, Snapshot};
use crate::rollout::trial::Trial;
use crate::rollout::trials::{Trials, observed};
use crate::serving::loaded::LoadedVersion;
use crate::serving::queue::{Queue, Queues};
use crate::shadow::ShadowTarget;
use crate::shadow::target::Sinks;
use crate::telemetry::events;

use residency::Hold;
use slots::{Budget, Key, Slot, Slots, Use, no_room};
use wanted::{wanted_control, wanted_versions};

/// A version that failed to load is tried again after this time: a store that was away may be
/// back.
const RETRY_FAILED: Duration = Duration::from_secs(30);

#[derive(Debug)]
struct State {
    slots: Slots,
    queues: Queues,
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
        let memory = settings.engine.memory.bytes();
        let budget = Budget {
            bytes: if memory == 0 { memory::default_budget() } else { memory },
            min_stay: settings.engine.min_stay,
        };
        Arc::new(Self {
            registry,
            loader,
            live,
            seen: watch::Sender::new(None),
            trials,
            serving: settings.serving.clone(),
            versions_per_model: settings.engine.loaded_versions_per_model as usize,
            state: Mutex::new(State {
                slots: Slots::new(budget),
                queues: Queues::default(),
                shadows: Sinks::default(),
                seen: None,
            }),
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
            self.wait_loaded(model, &record, Hold::Needed).await?;
        }
        Ok(())
    }

    /// Loads versions that a request asks for, from what the registry said last.
    ///
    /// # Errors
    /// One sentence that says which version cannot be loaded and why.
    pub async fn fetch(
        self: &Arc<Self>,
        model: &ModelName,
        versions: impl IntoIterator<Item = Version>,
    ) -> Result<(), String> {
        let seen = self.seen.borrow().clone();
        let known = seen.iter().flat_map(|seen| &seen.models).find(|m| m.name == *model);
        for version in versions {
            let Some(record) = known.and_then(|m| m.version(version)) else {
                return Err(format!("version {version} of {model} was not found"));
            };
            self.wait_loaded(model, record, Hold::OnDemand).await?;
        }
        Ok(())
    }

    /// Waits until the control of the model's rollout is loaded, or cannot be, if its canary takes
    /// traffic with the table that is published then.
    pub async fn control_settled(&self, model: &ModelName) {
        let seen = self.seen.borrow().clone();
        let model = seen.iter().flat_map(|seen| &seen.models).find(|m| m.name == *model);
        let is_live = |model: &Model| {
            let phase = model.rollout.as_ref().map(|rollout| rollout.phase);
            matches!(phase, Some(Phase::Live { .. }))
        };
        let Some(model) = model.filter(|model| is_live(model)) else { return };
        if let Some(version) = wanted_control(model) {
            self.ended((model.name.clone(), version, Use::Control)).await;
        }
    }

    /// Waits until a version is not being loaded, however its load ends.
    pub async fn load_ended(&self, model: &ModelName, version: Version) {
        self.ended((model.clone(), version, Use::Serving)).await;
    }

    async fn ended(&self, key: Key) {
        let ended = match self.state.lock().await.slots.get(&key) {
            Some(Slot::Loading(ended)) => Some(ended.clone()),
            _ => None,
        };
        if let Some(mut ended) = ended {
            // An error means that the load has ended: its sender is gone.
            let _ = ended.changed().await;
        }
    }

    async fn wait_loaded(
        self: &Arc<Self>,
        model: &ModelName,
        record: &VersionRecord,
        hold: Hold,
    ) -> Result<(), String> {
        let version = record.version;
        let cannot =
            |reason: String| format!("version {version} of {model} cannot be loaded: {reason}");
        let mut has_tried = false;
        loop {
            let mut ended = {
                let mut state = self.state.lock().await;
                match state.slots.of(model, record, Use::Serving) {
                    // One that is run no more gets a new chance when somebody asks for it.
                    Some(Slot::Loaded(loaded)) if loaded.quarantine().is_none() => return Ok(()),
                    Some(Slot::Failed { reason, .. }) if has_tried => {
                        return Err(cannot(reason.clone()));
                    }
                    Some(Slot::Loading(ended)) => ended.clone(),
                    _ => {
                        let begun =
                            self.start_load(&mut state, model, record, Use::Serving, (hold, true));
                        // What was put away for it leaves the table now, and memory with it.
                        self.publish(&mut state);
                        // What is on its way may make room once it has come.
                        begun.or_else(|why| state.slots.on_the_way().ok_or_else(|| cannot(why)))?
                    }
                }
            };
            has_tried = true;
            // An error means that the load has ended: its sender is gone.
            let _ = ended.changed().await;
        }
    }

    fn adopt(self: &Arc<Self>, state: &mut State, seen: RegistrySnapshot) {
        let mut keep: HashMap<Key, Hold> = HashMap::new();
        let mut eager: Vec<(&Model, &VersionRecord, Use, Hold)> = Vec::new();
        for model in &seen.models {
            for wanted in wanted_versions(model, self.versions_per_model) {
                let Some(record) = model.version(wanted.version) else { continue };
                keep.insert((model.name.clone(), wanted.version, Use::Serving), wanted.hold);
                if wanted.is_eager {
                    eager.push((model, record, Use::Serving, wanted.hold));
                }
            }
            if let Some(record) = wanted_control(model).and_then(|v| model.version(v)) {
                keep.insert((model.name.clone(), record.version, Use::Control), Hold::Needed);
                eager.push((model, record, Use::Control, Hold::Needed));
            }
        }
        state.slots.retain(&keep);
        // What is needed gets its room before what is merely kept.
        eager.sort_by_key(|(_, _, _, hold)| *hold);
        for (model, record, of, hold) in eager {
            let is_due = match state.slots.of(&model.name, record, of) {
                Some(Slot::Failed { at, .. }) => at.elapsed() >= RETRY_FAILED,
                slot => slot.is_none(),
            };
            if is_due {
                let drives_out = hold == Hold::Needed;
                // A version that is needed and has no room has failed; others may come later.
                let _ = self.start_load(state, &model.name, record, of, (hold, drives_out));
            }
        }
        state.slots.shrink();
        self.seen.send_replace(Some(Arc::new(seen.clone())));
        state.seen = Some(seen);
        self.publish(state);
    }

    /// Loads a version if there is room, or room can be made when it `drives_out` others; the
    /// error says what there is no room for. A version that is needed has failed then.
    fn start_load(
        self: &Arc<Self>,
        state: &mut State,
        model: &ModelName,
        record: &VersionRecord,
        of: Use,
        (hold, drives_out): (Hold, bool),
    ) -> Result<watch::Receiver<()>, String> {
        let (ending, ended) = watch::channel(());
        let key = (model.clone(), record.version, of);
        let begun = state.slots.begin(key.clone(), record, (hold, drives_out), ended.clone());
        if let Err(no) = begun {
            let reason = no_room(no);
            // Whoever asks later for a version on demand may find room.
            if drives_out && hold == Hold::Needed {
                events::loaded(model, record.version, of.word(), Err(&reason));
                let slot = Slot::Failed { reason: reason.clone(), at: Instant::now() };
                state.slots.end(key, record, slot);
            }
            return Err(reason);
        }
        let (sync, model, record) = (Arc::clone(self), model.clone(), record.clone());
        self.tasks.spawn(async move {
            let outcome = sync.loader.load(&record).await;
            let told = outcome.as_ref().map(|(_, took)| *took).map_err(String::as_str);
            events::loaded(&model, record.version, of.word(), told);
            let slot = match outcome {
                Ok((engine, _)) => {
                    let mut version = loaded_version(&model, &record, engine);
                    version.farewell = Some(sync.loader.farewell());
                    Slot::Loaded(Arc::new(version))
                }
                Err(reason) => Slot::Failed { reason, at: Instant::now() },
            };
            let mut state = sync.state.lock().await;
            state.slots.end(key, &record, slot);
            sync.publish(&mut state);
            drop(state);
            drop(ending);
            sync.changed.notify_one();
        });
        Ok(ended)
    }

    fn publish(&self, state: &mut State) {
        let Some(seen) = &state.seen else { return };
        let old = self.live.load_full();
        let mut snapshot =
            Snapshot { revision: seen.revision, is_settled: true, ..Snapshot::default() };
        for model in &seen.models {
            let queue = state.queues.of(&model.name);
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
        state.queues.retain(|name| seen.models.iter().any(|m| m.name == *name));
        let loaded = snapshot.models.values().map(|m| m.loaded.len()).sum();
        events::published(snapshot.revision, loaded, state.slots.used(), state.slots.budget());
        self.live.store(Arc::new(snapshot));
    }

    fn serve_model(
        &self,
        model: &Model,
        slots: &Slots,
        queue: &Arc<Queue>,
        old: Option<&Arc<ServedModel>>,
    ) -> ServedModel {
        let mut loaded = BTreeMap::new();
        let mut versions = BTreeMap::new();
        for record in &model.versions {
            let slot = slots.of(&model.name, record, Use::Serving);
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
        let control = control.and_then(|record| slots.of(&model.name, record, Use::Control));
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
fn is_settled(model: &Model, slots: &Slots) -> bool {
    let is_unloaded = model.settings.loaded == Some(false);
    if is_unloaded || model.settings.residency == Some(Residency::OnDemand) {
        return true;
    }
    let routed = model.route.iter().flat_map(|r| r.split.weights().into_keys());
    let in_experiment = model.experiment.iter().flat_map(|e| e.versions.iter().copied());
    routed.chain(in_experiment).all(|version| {
        let slot = slots.get(&(model.name.clone(), version, Use::Serving));
        matches!(slot, Some(Slot::Loaded(_) | Slot::Failed { .. }))
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
