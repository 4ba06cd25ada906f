//! Makes a move of a rollout: the registry records it, the snapshot follows, and whoever wants
//! to hear of it is told.

use std::sync::Arc;

use serde_json::json;
use weighbridge_config::rollout::Transition;
use weighbridge_registry::{Actor, Model, MoveRecord, Registry, Rollout, RolloutMove};

use crate::notify::{Notification, Notifier};
use crate::now_ms;
use crate::rollout::sync::Sync;
use crate::telemetry::events;

/// Makes moves.
#[derive(Debug, Clone)]
pub struct Moves {
    registry: Arc<dyn Registry>,
    sync: Arc<Sync>,
    pub notifier: Notifier,
}

impl Moves {
    /// Moves in `registry`, published by `sync`, told by `notifier`.
    pub fn new(registry: Arc<dyn Registry>, sync: Arc<Sync>, notifier: Notifier) -> Self {
        Self { registry, sync, notifier }
    }

    /// Moves `rollout`, if it still stands at the revision that the decision was made on.
    /// `text` is the verdict for people.
    pub async fn make(
        &self,
        rollout: &Rollout,
        step: RolloutMove,
        record: MoveRecord,
        text: &str,
        actor: &Actor,
    ) -> Result<Model, weighbridge_registry::Error> {
        let transition = transition_of(&step);
        let (verdict, reason) = (record.verdict.clone(), record.reason.clone());
        let expected = Some(rollout.revision);
        let moved = self
            .registry
            .move_rollout(&rollout.model, step, expected, record, actor, now_ms())
            .await?;
        self.follow().await;
        let Some(now) = &moved.rollout else { return Ok(moved) };
        if let Some(transition) = transition {
            self.tell(now, transition, text, reason.as_deref(), verdict, actor);
        }
        Ok(moved)
    }

    /// Tells of a transition that has been recorded.
    pub fn tell(
        &self,
        rollout: &Rollout,
        transition: Transition,
        text: &str,
        reason: Option<&str>,
        verdict: Option<serde_json::Value>,
        actor: &Actor,
    ) {
        events::rollout_moved(rollout, transition, text, reason, actor);
        let body = json!({
            "event": format!("rollout.{}", transition.word()),
            "rollout": rollout.id,
            "model": rollout.model,
            "number": rollout.number,
            "attempt": rollout.attempt,
            "from": rollout.from,
            "to": rollout.to,
            "phase": rollout.phase,
            "standing": rollout.standing,
            "actor": actor.id,
            "reason": reason,
            "text": text,
            "verdict": verdict,
            "at": now_ms(),
        });
        let webhooks = rollout.spec.webhooks.clone();
        self.notifier.notify(Notification { webhooks, transition, body });
    }

    /// The change is recorded: if it cannot be read back now, the poll brings it.
    pub async fn follow(&self) {
        if let Err(error) = self.sync.refresh().await {
            events::registry_unreadable(&error);
        }
    }
}

/// What people are told of a move.
fn transition_of(step: &RolloutMove) -> Option<Transition> {
    Some(match step {
        RolloutMove::BeginSteps | RolloutMove::Advance => Transition::Advanced,
        RolloutMove::Promote | RolloutMove::PromoteNow => Transition::Promoted,
        RolloutMove::RollBack => Transition::RolledBack,
        RolloutMove::Pause => Transition::Paused,
        RolloutMove::Resume => Transition::Resumed,
        RolloutMove::AskApproval => Transition::WaitsForApproval,
        RolloutMove::Approve => Transition::Approved,
        RolloutMove::Hold { .. } => Transition::Held,
        RolloutMove::Regressed => Transition::Regressed,
        RolloutMove::End => return None,
    })
}
