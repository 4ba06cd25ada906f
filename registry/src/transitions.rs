//! What a change makes of a model, or why it is refused: decided from values alone.
//!
//! The backends read the model inside their write transaction, ask here, and write the answer.
//! `None` means that the wish is fulfilled already and nothing is written.

pub(crate) mod experiments;
pub(crate) mod rollouts;

use std::collections::{BTreeMap, BTreeSet};

use weighbridge_config::split::percent;
use weighbridge_config::{AliasName, ModelName, Split, SplitError, Version};

use crate::error::{Error, Result};
use crate::model::{IfRouted, Model, Revision};
use crate::route::{RouteCause, RouteChange};
use crate::version::{CheckOutcome, NewVersion, VersionRecord, VersionState};

/// A route that has been decided on; the backend gives it sequence, time and actor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NextRoute {
    pub(crate) split: Split,
    pub(crate) cause: RouteCause,
    pub(crate) previous: Option<u64>,
}

/// What a push comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Registration<'a> {
    /// The files are this version, which stays as it is.
    Existing(&'a VersionRecord),
    /// The files are this version, which goes back to `checking`.
    Revived(&'a VersionRecord),
    /// The files are new and get this number.
    New(Version),
}

/// Refuses a change that was based on another revision than the model's.
pub(crate) fn require_revision(model: &Model, expected: Option<Revision>) -> Result<()> {
    match expected {
        Some(expected) if expected != model.revision => {
            Err(Error::Conflict { model: model.name.clone(), expected, found: model.revision })
        }
        _ => Ok(()),
    }
}

/// Decides what a push comes to. `live` are the model's versions, `used` all numbers that its
/// name has ever had.
pub(crate) fn register<'a>(
    new: &NewVersion,
    live: &'a [VersionRecord],
    used: &BTreeSet<Version>,
) -> Result<Registration<'a>> {
    let digest = new.manifest.digest();
    let Some(same) = live.iter().find(|r| r.digest == digest) else {
        let number = new_number(new, live, used)?;
        return Ok(Registration::New(number));
    };
    if let Some(wanted) = new.version.filter(|wanted| *wanted != same.version) {
        return Err(Error::Illegal(format!(
            "these files cannot be registered as version {wanted} of {}: \
             they are version {} already",
            new.model, same.version
        )));
    }
    Ok(match same.state {
        VersionState::Checking | VersionState::Ready => Registration::Existing(same),
        VersionState::Rejected { .. } | VersionState::Archived => Registration::Revived(same),
    })
}

fn new_number(
    new: &NewVersion,
    live: &[VersionRecord],
    used: &BTreeSet<Version>,
) -> Result<Version> {
    let model = &new.model;
    let Some(wanted) = new.version else {
        let highest = used.last().map_or(0, |version| version.get());
        return Version::try_from(highest.saturating_add(1)).map_err(|_| {
            Error::Illegal(format!("{model} has used the highest version number there is"))
        });
    };
    if !used.contains(&wanted) {
        return Ok(wanted);
    }
    let holder = match live.iter().find(|r| r.version == wanted) {
        Some(record) => format!("has other files (digest {})", record.digest.short()),
        None => "was deleted".to_owned(),
    };
    Err(Error::Illegal(format!(
        "these files cannot be registered as version {wanted} of {model}: \
         that version {holder}, and numbers are never used twice"
    )))
}

/// The state that a check leads to.
pub(crate) fn finish_check(record: &VersionRecord, outcome: &CheckOutcome) -> Result<VersionState> {
    if record.state != VersionState::Checking {
        return Err(Error::Illegal(format!(
            "the check of {} cannot be finished: the version is {} already",
            named(&record.model, record.version),
            record.state.word()
        )));
    }
    Ok(match outcome {
        CheckOutcome::Ready { .. } => VersionState::Ready,
        CheckOutcome::Rejected { reason, .. } => VersionState::Rejected { reason: reason.clone() },
    })
}

/// The route that gives each version its wanted weight.
pub(crate) fn set_route(model: &Model, change: &RouteChange) -> Result<Option<NextRoute>> {
    if !matches!(change.cause, RouteCause::Set | RouteCause::Promote) {
        return Err(cannot_route(model, "only set and promote can be asked for"));
    }
    let weights = weights_of_ready_versions(model, &change.weights)?;
    let current = model.route.as_ref();
    let split = match current {
        Some(route) => route.split.reweighted(&weights),
        None => Split::new(&weights),
    };
    let split = split.map_err(|mistake: SplitError| cannot_route(model, mistake))?;
    if current.is_some_and(|route| route.split == split) {
        return Ok(None);
    }
    let previous = previous_of(model, &split);
    Ok(Some(NextRoute { split, cause: change.cause, previous }))
}

/// Where a rollback from a new split leads: to the route in force until now. A rollout's step
/// is none that anybody goes back to; the route before the rollout stands in its place, and
/// when that is what the new split restores, the one before it.
fn previous_of(model: &Model, split: &Split) -> Option<u64> {
    let current = model.route.as_ref()?;
    if current.cause != RouteCause::Step {
        return Some(current.sequence);
    }
    match &model.previous_route {
        Some(base) if base.split == *split => base.previous,
        _ => current.previous,
    }
}

/// The weights that are not zero, once every version is known to be fit for its weight.
fn weights_of_ready_versions(
    model: &Model,
    weights: &BTreeMap<Version, u32>,
) -> Result<BTreeMap<Version, u32>> {
    for (version, weight) in weights {
        let record = existing(model, *version)?;
        if *weight > 0 {
            require_ready(record, "take traffic")?;
        }
    }
    let with_weight = weights.iter().filter(|(_, weight)| **weight > 0);
    Ok(with_weight.map(|(v, w)| (*v, *w)).collect())
}

/// The route of a model that the gateway was started with, unless it has or had one.
pub(crate) fn initial_route(model: &Model, version: Version) -> Result<Option<NextRoute>> {
    if model.route.is_some() {
        return Ok(None);
    }
    require_ready(existing(model, version)?, "take traffic")?;
    Ok(Some(NextRoute {
        split: Split::all_to(version),
        cause: RouteCause::Initial,
        previous: None,
    }))
}

/// The route that restores the previous one. Its own `previous` is that of the route restored,
/// so that the next rollback walks on instead of coming back here.
pub(crate) fn roll_back(model: &Model) -> Result<NextRoute> {
    let Some(restored) = &model.previous_route else {
        return Err(Error::Illegal(format!(
            "{} cannot be rolled back: it has no earlier route to go back to",
            model.name
        )));
    };
    for version in restored.split.weights().into_keys() {
        let record = model.version(version).ok_or_else(|| {
            Error::Illegal(format!(
                "{} cannot be rolled back to {}: version {version} has been deleted",
                model.name, restored.split
            ))
        })?;
        require_ready(record, "take traffic again")?;
    }
    Ok(NextRoute {
        split: restored.split.clone(),
        cause: RouteCause::RollBack,
        previous: restored.previous,
    })
}

/// Whether an alias has to be written to point to `version`.
pub(crate) fn set_alias(model: &Model, alias: &AliasName, version: Version) -> Result<bool> {
    require_ready(existing(model, version)?, "have an alias")?;
    Ok(model.aliases.get(alias) != Some(&version))
}

/// Whether a version has to be written as archived.
pub(crate) fn archive(model: &Model, version: Version) -> Result<bool> {
    match existing(model, version)?.state {
        VersionState::Archived => return Ok(false),
        VersionState::Checking => {
            return Err(Error::Illegal(format!(
                "{} cannot be archived: its check has not ended",
                named(&model.name, version)
            )));
        }
        VersionState::Ready | VersionState::Rejected { .. } => {}
    }
    require_unused(model, version, "archived")?;
    Ok(true)
}

/// Refuses to delete a version that is used.
pub(crate) fn delete_version(model: &Model, version: Version) -> Result<()> {
    existing(model, version)?;
    require_unused(model, version, "deleted")
}

/// Refuses to delete a model that is in use, unless that is meant.
pub(crate) fn delete_model(model: &Model, if_routed: IfRouted) -> Result<()> {
    if if_routed == IfRouted::Delete {
        return Ok(());
    }
    let why = match (model.active_rollout(), &model.experiment, &model.route) {
        (Some(rollout), _, _) => {
            format!("a rollout of version {} {}", rollout.to, rollouts::state(rollout))
        }
        (None, Some(experiment), _) => format!("the experiment {} is running", experiment.name),
        (None, None, Some(route)) => format!("it takes traffic ({})", route.split),
        (None, None, None) => return Ok(()),
    };
    Err(Error::Illegal(format!("{} cannot be deleted: {why}", model.name)))
}

/// The record of a version, or that it was not found.
pub(crate) fn existing(model: &Model, version: Version) -> Result<&VersionRecord> {
    let record = model.version(version);
    record.ok_or_else(|| Error::not_found(named(&model.name, version)))
}

/// Refuses a version that is not ready, saying what it therefore cannot do.
fn require_ready(record: &VersionRecord, purpose: &str) -> Result<()> {
    let why = match &record.state {
        VersionState::Ready => return Ok(()),
        VersionState::Checking => "its check has not ended".to_owned(),
        VersionState::Rejected { reason } => format!("it was rejected: {reason}"),
        VersionState::Archived => "it is archived; pushing it again brings it back".to_owned(),
    };
    let version = named(&record.model, record.version);
    Err(Error::Illegal(format!("{version} cannot {purpose}: {why}")))
}

/// Refuses a move that would take a version away from traffic or from an alias.
fn require_unused(model: &Model, version: Version, moved: &str) -> Result<()> {
    let share = model.share_of(version);
    let alias = model.aliases.iter().find(|(_, target)| **target == version);
    let rollout = model.active_rollout().filter(|rollout| rollout.concerns(version));
    let experiment = model.experiment.as_ref().filter(|e| e.versions.contains(&version));
    let use_made = if share > 0 {
        format!("it takes {} of the traffic", percent(u64::from(share)))
    } else if let Some(rollout) = rollout {
        format!("a rollout from version {} to {} is active", rollout.from, rollout.to)
    } else if let Some(experiment) = experiment {
        format!("the experiment {} is running with it", experiment.name)
    } else if let Some((alias, _)) = alias {
        format!("the alias {alias} points to it")
    } else {
        return Ok(());
    };
    let version = named(&model.name, version);
    Err(Error::Illegal(format!("{version} cannot be {moved}: {use_made}")))
}

fn cannot_route(model: &Model, why: impl std::fmt::Display) -> Error {
    Error::Illegal(format!("the route of {} cannot be set: {why}", model.name))
}

/// A version as sentences name it.
pub(crate) fn named(model: &ModelName, version: Version) -> String {
    format!("version {version} of {model}")
}

#[cfg(test)]
mod tests;
