//! Which versions are to be loaded.

use weighbridge_config::Version;
use weighbridge_registry::{Model, Phase, VersionState};

use crate::shadow::target;

/// The versions to keep loaded: all that the route, the previous route, an alias or the shadows
/// name, and the newest ready ones up to `most` in all.
pub(super) fn wanted_versions(model: &Model, most: usize) -> Vec<Version> {
    let is_ready = |v: &Version| model.version(*v).is_some_and(|r| r.state == VersionState::Ready);
    let routes = model.route.iter().chain(&model.previous_route);
    let active = model.rollout.iter().filter(|r| r.is_active());
    let shadows = target::named(&model.settings).into_keys();
    let experiment = model.experiment.iter().flat_map(|e| e.versions.iter().copied());
    let named = routes
        .flat_map(|r| r.split.weights().into_keys())
        .chain(experiment)
        .chain(active.flat_map(|r| [r.from, r.to]))
        .chain(model.aliases.values().copied())
        .chain(shadows);
    let mut wanted: Vec<Version> = Vec::new();
    for version in named.filter(is_ready) {
        if !wanted.contains(&version) {
            wanted.push(version);
        }
    }
    let newest = model.versions.iter().rev().filter(|r| r.state == VersionState::Ready);
    for record in newest {
        if wanted.len() >= most {
            break;
        }
        if !wanted.contains(&record.version) {
            wanted.push(record.version);
        }
    }
    wanted
}

/// The version to load a second time: stable, as long as it is compared with a canary of less
/// weight.
pub(super) fn wanted_control(model: &Model) -> Option<Version> {
    let rollout = model.rollout.as_ref().filter(|r| r.is_active())?;
    let first = match rollout.phase {
        Phase::Shadow => 0,
        Phase::Live { step } => step,
        _ => return None,
    };
    let mut ahead = rollout.spec.steps.iter().skip(first);
    ahead.any(|weight| rollout.spec.has_control(*weight)).then_some(rollout.from)
}
