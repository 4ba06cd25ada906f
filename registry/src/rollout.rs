//! A rollout: one version of a model tried against the one that is in force, step by step.
//!
//! The registry keeps what was decided and refuses what may not follow; what to decide, and on
//! which evidence, is the gateway's business.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use weighbridge_config::rollout::Percent;
use weighbridge_config::{ModelName, RolloutSpec, Version};

use crate::model::{Millis, Revision};

/// A rollout as it stands. Once it has ended it never changes again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Rollout {
    /// Chosen by the caller, such as `ro-` and 16 hexadecimal digits.
    pub id: String,
    pub model: ModelName,
    /// 1, 2, 3, … per model; goes on when the model is deleted and its name comes back.
    pub number: u64,
    /// 1, 2, 3, … per pair of `from` and `to`.
    pub attempt: u32,
    /// The stable version, which had the most traffic when the rollout started.
    pub from: Version,
    /// The canary.
    pub to: Version,
    pub spec: RolloutSpec,
    /// In JSON `phase` is the word, and `step` or `outcome` stands beside it.
    #[serde(flatten)]
    pub phase: Phase,
    /// In JSON `standing` is the word, and `held_reason` stands beside it. Of an ended rollout:
    /// how it stood until then.
    #[serde(flatten)]
    pub standing: Standing,
    /// Somebody has approved the next weight. False again once that weight is reached.
    #[serde(default)]
    pub approved: bool,
    /// The registry's revision at the rollout's last move, so it only grows, over all rollouts.
    pub revision: Revision,
    pub started_at: Millis,
    /// The id of the actor that started it.
    pub started_by: String,
    /// When the time at the present step (or in the shadow phase) began; a resumption begins
    /// it anew.
    pub step_since: Millis,
    pub ended_at: Option<Millis>,
    /// What the author of the last move gave as the reason, if anything.
    pub reason: Option<String>,
    /// The verdict that came with the last move that had one; only the gateway knows its form.
    pub verdict: Option<Value>,
    /// The sequence of the route that was in force before the rollout: where a rollback leads
    /// from each of its routes. When that was a step which an earlier rollout had left in
    /// force, the route before that one.
    pub base_route: u64,
    /// After a promotion: until when `from` is kept loaded, so that going back is one swap.
    pub undo_until: Option<Millis>,
}

impl Rollout {
    /// Whether it still runs, waits, is paused or held.
    pub fn is_active(&self) -> bool {
        !matches!(self.phase, Phase::Ended { .. })
    }

    /// Whether it is about this version.
    pub fn concerns(&self, version: Version) -> bool {
        self.from == version || self.to == version
    }

    /// The weight that the next move forward gives the canary: that of the first step, of the
    /// next one, or all traffic. `None` once the rollout has ended.
    pub fn next_weight(&self) -> Option<Percent> {
        match self.phase {
            Phase::Shadow => self.spec.steps.first().copied(),
            Phase::Live { step } => Some(self.spec.weight_after(step)),
            Phase::Ended { .. } => None,
        }
    }

    /// Whether it stands at its last step, after which the promotion follows.
    pub fn is_at_last_step(&self) -> bool {
        matches!(self.phase, Phase::Live { step } if step + 1 >= self.spec.steps.len())
    }

    /// Whether the next weight is one that somebody has to approve first, and nobody has.
    pub fn lacks_approval(&self) -> bool {
        let wanted = self.next_weight().is_some_and(|weight| self.spec.wants_approval(weight));
        wanted && !self.approved
    }
}

/// How far a rollout has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = RolloutPhase))]
pub enum Phase {
    /// The canary sees copies of requests; the route is still the one of before.
    Shadow,
    /// The canary has the weight `spec.steps[step]`.
    Live {
        step: usize,
    },
    Ended {
        outcome: RolloutOutcome,
    },
}

/// How a rollout ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum RolloutOutcome {
    /// The canary has all traffic.
    Promoted,
    /// The canary has none.
    RolledBack,
    /// Somebody set the route themselves, or deleted the model.
    Ended,
}

/// Whether a rollout may move forward by itself. The guards watch in every standing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "standing", rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = RolloutStanding))]
pub enum Standing {
    Running,
    /// Somebody paused it.
    Paused,
    /// The next weight is one that somebody has to approve.
    WaitsForApproval,
    /// The evidence stopped it until somebody decides.
    Held {
        #[serde(rename = "held_reason")]
        reason: String,
    },
}

impl Standing {
    /// The standing in one word, as in JSON.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::WaitsForApproval => "waits_for_approval",
            Self::Held { .. } => "held",
        }
    }
}

/// A rollout to start.
#[derive(Debug, Clone, PartialEq)]
pub struct NewRollout {
    /// An id that no rollout has had.
    pub id: String,
    /// The canary; what is stable follows from the route.
    pub to: Version,
    pub spec: RolloutSpec,
    /// Why; required from the fourth attempt with the same two versions on.
    pub reason: Option<String>,
}

/// A move of a rollout. The first three are what the evidence allows; they are refused unless
/// the rollout runs, its next weight is approved where the spec wants that, and rollouts are
/// not frozen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RolloutMove {
    /// From the shadow phase to the first step.
    BeginSteps,
    /// To the next step.
    Advance,
    /// From the last step to all traffic.
    Promote,
    /// To all traffic at once, from wherever the rollout stands: somebody's decision.
    PromoteNow,
    /// The canary loses its traffic, from wherever the rollout stands.
    RollBack,
    Pause,
    /// Out of a pause or a hold.
    Resume,
    AskApproval,
    /// Approves the next weight; the rollout runs on and reaches it when the evidence allows.
    Approve,
    Hold {
        reason: String,
    },
    /// A regression was proved and the spec wants to be told only.
    Regressed,
    /// Ends it where it stands; the caller sets the route next. `set_route` with
    /// [`IfRollout::End`] does both in one change.
    End,
}

impl RolloutMove {
    /// The move as sentences name it: "rollout 3 of fraud cannot …".
    pub fn word(&self) -> &'static str {
        match self {
            Self::BeginSteps => "begin its steps",
            Self::Advance => "advance",
            Self::Promote => "be promoted by its evidence",
            Self::PromoteNow => "be promoted",
            Self::RollBack => "be rolled back",
            Self::Pause => "be paused",
            Self::Resume => "be resumed",
            Self::AskApproval => "ask for approval",
            Self::Approve => "be approved",
            Self::Hold { .. } => "be held",
            Self::Regressed => "be marked as regressed",
            Self::End => "be ended",
        }
    }
}

/// What is written down with a move: on what it rests.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MoveRecord {
    /// The numbers of the decision, for people and for its event.
    pub verdict: Option<Value>,
    /// The evidence that the decision was made on: replaces the evidence row, in the same
    /// transaction, and stands in the event.
    pub evidence: Option<Value>,
    /// Why, in the words of whoever moves it.
    pub reason: Option<String>,
}

/// What a change of a model's route does when a rollout of it is active.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IfRollout {
    /// Refuse: the usual case.
    Refuse,
    /// End the rollout in the same change.
    End,
}
