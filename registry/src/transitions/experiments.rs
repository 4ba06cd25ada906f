//! Which experiments may start, and what changes of one that runs.

use serde_json::Value;

use super::rollouts::{Moment, state};
use super::{existing, require_ready};
use crate::error::{Error, Result};
use crate::experiment::{Experiment, ExperimentState, NewExperiment};
use crate::model::{Model, Revision};

/// The experiment as it starts.
pub(crate) fn start(
    model: &Model,
    new: NewExperiment,
    id_is_taken: bool,
    moment: &Moment<'_>,
) -> Result<Experiment> {
    let refuse = |why: String| {
        Err(Error::Illegal(format!("no experiment on {} can be started: {why}", model.name)))
    };
    if let Some(rollout) = model.active_rollout() {
        return refuse(format!(
            "a rollout of version {} {}; end it first, since both decide who gets which version",
            rollout.to,
            state(rollout)
        ));
    }
    if let Some(running) = &model.experiment {
        return refuse(format!("the experiment {} is running; stop it first", running.name));
    }
    if id_is_taken {
        return refuse(format!("there is or was one with the id {}; draw another", new.id));
    }
    if new.versions.is_empty() {
        return refuse("it names no version".to_owned());
    }
    for version in &new.versions {
        require_ready(existing(model, *version)?, "take part in an experiment")?;
    }
    Ok(Experiment {
        id: new.id,
        model: model.name.clone(),
        name: new.name,
        spec: new.spec,
        versions: new.versions,
        state: ExperimentState::Running,
        epoch: 0,
        shares: None,
        revision: moment.revision,
        started_at: moment.at,
        started_by: moment.actor.to_owned(),
        stopped_at: None,
        stopped_by: None,
        outcome: None,
    })
}

/// The experiment with other shares; `None` when those are in force already.
pub(crate) fn reshare(
    before: &Experiment,
    shares: Value,
    moment: &Moment<'_>,
) -> Result<Option<Experiment>> {
    if before.state == ExperimentState::Stopped {
        return Err(Error::Illegal(format!(
            "the shares of the experiment {} cannot be changed: it has been stopped",
            before.name
        )));
    }
    if before.shares.as_ref() == Some(&shares) {
        return Ok(None);
    }
    Ok(Some(Experiment {
        shares: Some(shares),
        epoch: before.epoch.saturating_add(1),
        revision: moment.revision,
        ..before.clone()
    }))
}

/// The experiment as it stops; `None` when it has.
pub(crate) fn stop(
    before: &Experiment,
    outcome: Option<String>,
    moment: &Moment<'_>,
) -> Option<Experiment> {
    (before.state == ExperimentState::Running).then(|| Experiment {
        state: ExperimentState::Stopped,
        revision: moment.revision,
        stopped_at: Some(moment.at),
        stopped_by: Some(moment.actor.to_owned()),
        outcome,
        ..before.clone()
    })
}

/// Refuses a change that was based on another revision than the experiment's.
pub(crate) fn require_revision(of: &Experiment, expected: Option<Revision>) -> Result<()> {
    match expected {
        Some(expected) if expected != of.revision => {
            Err(Error::Conflict { model: of.model.clone(), expected, found: of.revision })
        }
        _ => Ok(()),
    }
}
