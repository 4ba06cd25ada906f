//! Which versions are to be loaded.

use weighbridge_config::{Residency, Version};
use weighbridge_registry::{Model, Phase, VersionState};

use super::residency::Hold;
use crate::shadow::target;

/// A version that may be in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    pub version: Version,
    pub hold: Hold,
    /// It is loaded without being asked for, if there is room.
    pub is_eager: bool,
}

/// The versions that may be loaded.
///
/// What a rollout, an experiment or the shadows name is needed, and so is what the route, the
/// previous route or an alias names, unless the model is loaded on demand. The newest ready ones
/// are kept beside them, up to `most` in all, and the very newest in any case: who has pushed it
/// tries it out. Of a model that an operator has unloaded there is none.
pub(super) fn wanted_versions(model: &Model, most: usize) -> Vec<Wanted> {
    if model.settings.loaded == Some(false) {
        return Vec::new();
    }
    let residency = model.settings.residency.unwrap_or_default();
    let is_ready = |v: &Version| model.version(*v).is_some_and(|r| r.state == VersionState::Ready);
    let routes = model.route.iter().chain(&model.previous_route);
    let active = model.rollout.iter().filter(|r| r.is_active());
    let shadows = target::named(&model.settings).into_keys();
    let experiment = model.experiment.iter().flat_map(|e| e.versions.iter().copied());
    let at_work = active.flat_map(|r| [r.from, r.to]).chain(experiment).chain(shadows);
    let routed =
        routes.flat_map(|r| r.split.weights().into_keys()).chain(model.aliases.values().copied());
    let routed_as = match residency {
        Residency::OnDemand => Hold::OnDemand,
        Residency::Routed | Residency::Pinned => Hold::Needed,
    };
    let named = at_work.map(|v| (v, Hold::Needed)).chain(routed.map(|v| (v, routed_as)));
    let mut wanted: Vec<Wanted> = Vec::new();
    let mut want = |version, hold, is_eager| {
        if !wanted.iter().any(|w| w.version == version) {
            wanted.push(Wanted { version, hold, is_eager });
        }
        wanted.len()
    };
    let mut count = 0;
    for (version, hold) in named.filter(|(v, _)| is_ready(v)) {
        count = want(version, hold, true);
    }
    let newest = model.versions.iter().rev().filter(|r| r.state == VersionState::Ready);
    for (age, record) in newest.enumerate() {
        count = match residency {
            // However many: memory is the bound.
            Residency::OnDemand => want(record.version, Hold::OnDemand, age == 0),
            _ if count >= most && age > 0 => break,
            Residency::Routed => want(record.version, Hold::Kept, true),
            Residency::Pinned => want(record.version, Hold::Needed, true),
        };
    }
    wanted
}

/// The version to load a second time: stable, as long as it is compared with a canary of less
/// weight.
pub(super) fn wanted_control(model: &Model) -> Option<Version> {
    let is_loaded = model.settings.loaded != Some(false);
    let rollout = model.rollout.as_ref().filter(|r| is_loaded && r.is_active())?;
    let first = match rollout.phase {
        Phase::Shadow => 0,
        Phase::Live { step } => step,
        _ => return None,
    };
    let mut ahead = rollout.spec.steps.iter().skip(first);
    ahead.any(|weight| rollout.spec.has_control(*weight)).then_some(rollout.from)
}
