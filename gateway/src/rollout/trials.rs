//! The trials that are in force or not done with yet: kept over snapshots, so that a request
//! of an older snapshot and one of the newest count for the same weight in the same cells.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use weighbridge_config::rollout::{Percent, RolloutSpec, Unit};
use weighbridge_config::split::POINTS;
use weighbridge_judge::Observed;
use weighbridge_registry::{Phase, Rollout, Route};

use crate::rollout::control::Control;
use crate::rollout::evidence::{Evidence, Thresholds};
use crate::rollout::snapshot::EffectiveSettings;
use crate::rollout::trial::{Shared, Trial};
use crate::rollout::units::Units;
use crate::serving::loaded::LoadedVersion;
use crate::shadow::{Comparisons, Purpose, Rules, ShadowTarget};

/// The trials of all rollouts.
#[derive(Debug)]
pub struct Trials {
    /// No request lives longer.
    longest: Duration,
    shards: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    courses: HashMap<String, Course>,
    /// Rollouts whose canary gets no traffic here, whatever the registry says so far.
    set_aside: HashSet<String>,
}

/// The trials of one rollout.
#[derive(Debug, Default)]
struct Course {
    shared: Arc<Shared>,
    units: Arc<Units>,
    /// One per weight, the newest last.
    trials: Vec<Arc<Trial>>,
    /// Where the pairs of the shadow stage are counted.
    sink: Option<Arc<Comparisons>>,
}

impl Trials {
    /// For requests that end within `longest`, written by `shards` threads.
    pub fn new(longest: Duration, shards: usize) -> Self {
        Self { longest, shards, state: Mutex::default() }
    }

    /// The trial of `rollout` under `route`: the one there is, or a new one. `copy` is the second
    /// copy of stable, once it is loaded.
    pub fn in_force(
        &self,
        rollout: &Rollout,
        observed: Observed,
        route: &Route,
        stable: &Arc<LoadedVersion>,
        canary: &Arc<LoadedVersion>,
        copy: Option<&Arc<LoadedVersion>>,
    ) -> Option<Arc<Trial>> {
        let Phase::Live { step } = rollout.phase else { return None };
        let points = *route.split.weights().get(&canary.version)?;
        if points == 0 || points >= POINTS {
            return None;
        }
        let weight = Percent::points(points);
        let control = match copy {
            _ if !rollout.spec.has_control(weight) => Control::Stable,
            Some(version) => {
                let share = rollout.spec.control_share(weight);
                Control::Copy { version: Arc::clone(version), share }
            }
            None => Control::Awaited,
        };
        let mut state = self.lock();
        let course = state.courses.entry(rollout.id.clone()).or_default();
        let is_it = |t: &&Arc<Trial>| {
            t.route == route.sequence
                && Arc::ptr_eq(&t.stable, stable)
                && Arc::ptr_eq(&t.canary, canary)
                && t.control.is(&control)
        };
        if let Some(trial) = course.trials.last().filter(is_it) {
            return Some(Arc::clone(trial));
        }
        let thresholds = Arc::new(Thresholds::default());
        let units = (observed == Observed::Key).then(|| Arc::clone(&course.units));
        let evidence = Evidence::new(Instant::now(), self.longest, self.shards, thresholds, units);
        let trial = Arc::new(Trial::new(
            rollout.id.clone(),
            route.sequence,
            step,
            weight,
            Arc::clone(stable),
            Arc::clone(canary),
            control,
            Arc::new(evidence),
            rollout.spec.reward.clone(),
            Arc::clone(&course.shared),
        ));
        trial.refresh_thresholds(&rollout.spec);
        course.trials.push(Arc::clone(&trial));
        Some(trial)
    }

    /// The trials of a rollout, the newest last.
    pub fn of(&self, rollout: &str) -> Vec<Arc<Trial>> {
        self.lock().courses.get(rollout).map_or_else(Vec::new, |c| c.trials.clone())
    }

    /// The canary as a shadow, while `rollout` is in its shadow stage.
    pub fn shadow(
        &self,
        rollout: &Rollout,
        settings: &EffectiveSettings,
        canary: &Arc<LoadedVersion>,
    ) -> Option<ShadowTarget> {
        if rollout.phase != Phase::Shadow || self.is_set_aside(&rollout.id) {
            return None;
        }
        let mut state = self.lock();
        let course = state.courses.entry(rollout.id.clone()).or_default();
        let new = || Arc::new(Comparisons::new(&rollout.model, rollout.to));
        let sink = Arc::clone(course.sink.get_or_insert_with(new));
        let rules = Rules {
            tolerance: rollout.spec.outputs.clone(),
            allow_nan: settings.allow_nan,
            max_batch_size: settings.batching.max_batch_size,
        };
        Some(ShadowTarget {
            version: Arc::clone(canary),
            share: rollout.spec.shadow.percent,
            purpose: Purpose::Rollout,
            rules: Arc::new(rules),
            sink,
        })
    }

    /// The pairs of a rollout's shadow stage, if it has begun here.
    pub fn sink(&self, rollout: &str) -> Option<Arc<Comparisons>> {
        self.lock().courses.get(rollout)?.sink.clone()
    }

    /// What the trials of a rollout share.
    pub fn shared(&self, rollout: &str) -> Arc<Shared> {
        Arc::clone(&self.lock().courses.entry(rollout.to_owned()).or_default().shared)
    }

    /// Lets go of a trial that has been read to its end.
    pub fn retire(&self, trial: &Arc<Trial>) {
        if let Some(course) = self.lock().courses.get_mut(&trial.rollout) {
            course.trials.retain(|t| !Arc::ptr_eq(t, trial));
        }
    }

    /// Lets go of a rollout that has ended.
    pub fn forget(&self, rollout: &str) {
        let mut state = self.lock();
        state.courses.remove(rollout);
        state.set_aside.remove(rollout);
    }

    /// From the next snapshot on the canary of this rollout gets no traffic here, until the
    /// registry has recorded its end.
    pub fn set_aside(&self, rollout: &str) {
        self.lock().set_aside.insert(rollout.to_owned());
    }

    /// The canary of this rollout gets what the registry says again.
    pub fn readmit(&self, rollout: &str) {
        self.lock().set_aside.remove(rollout);
    }

    /// Whether the canary of this rollout gets no traffic here.
    pub fn is_set_aside(&self, rollout: &str) -> bool {
        self.lock().set_aside.contains(rollout)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held; a poisoned lock would still hold a whole state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one observation is, for a model that is sticky or not.
pub fn observed(spec: &RolloutSpec, is_sticky: bool) -> Observed {
    match spec.unit {
        Unit::Request => Observed::Request,
        Unit::Key => Observed::Key,
        Unit::Auto if is_sticky => Observed::Key,
        Unit::Auto => Observed::Request,
    }
}
