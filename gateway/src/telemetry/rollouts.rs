//! Things that happen to rollouts and to versions on trial.
#![expect(clippy::disallowed_macros, reason = "the one room that records metrics")]

use metrics::{counter, gauge};
use weighbridge_config::rollout::Transition;
use weighbridge_config::{ModelName, Version};
use weighbridge_judge::StreamEvidence;
use weighbridge_registry::{Actor, Rollout};

use crate::rollout::controller::View;
use crate::telemetry::names;

/// A rollout made a move, and the registry has it.
pub fn rollout_moved(
    rollout: &Rollout,
    transition: Transition,
    text: &str,
    reason: Option<&str>,
    actor: &Actor,
) {
    let (model, word) = (rollout.model.to_string(), transition.word());
    counter!(names::ROLLOUT_MOVES, "model" => model, "transition" => word).increment(1);
    if !rollout.is_active() {
        gauge!(names::ROLLOUT_WEIGHT, "model" => rollout.model.to_string()).set(0.0);
    }
    let (model, id, from, to) = (&rollout.model, &rollout.id, rollout.from, rollout.to);
    let (actor, reason) = (&actor.id, reason.unwrap_or_default());
    tracing::info!(%model, rollout = id, %from, %to, actor, reason, verdict = text, "rollout {word}");
}

/// A rollout was looked at.
pub fn rollout_looked_at(rollout: &Rollout, view: &View) {
    let model = || rollout.model.to_string();
    gauge!(names::ROLLOUT_WEIGHT, "model" => model()).set(view.weight.share());
    for StreamEvidence { stream, log_e, log_e_required, .. } in view.verdict.streams() {
        gauge!(names::ROLLOUT_EVIDENCE, "model" => model(), "stream" => stream.word())
            .set(log_e / log_e_required);
    }
}

/// Stable answered for a canary.
pub fn rescued(model: &ModelName, canary: Version) {
    counter!(names::RESCUED, "model" => model.to_string(), "version" => canary.to_string())
        .increment(1);
}

/// A run did not end and was given up.
pub fn written_off(model: &ModelName, version: Version, why: &str) {
    counter!(names::WRITTEN_OFF, "model" => model.to_string(), "version" => version.to_string())
        .increment(1);
    tracing::error!(%model, %version, "a run {why}: its thread is given up and replaced");
}
