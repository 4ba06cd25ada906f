//! Whether a rollout drew this request's coin, and where it counts.

use std::sync::Arc;

use weighbridge_routing::{Decision, Key, Reason, hash_of_key};

use crate::rollout::evidence::Side;
use crate::rollout::snapshot::ServedModel;
use crate::rollout::trial::{Served, Trial, Unserved};
use crate::serving::compute::Compute;
use crate::serving::submit::Job;

/// A request that counts in a trial.
#[derive(Debug)]
pub struct Coin {
    trial: Arc<Trial>,
    side: Side,
    /// The hash of the sticky key, if one came.
    unit: Option<u64>,
}

impl Coin {
    /// The coin of a request, unless it was pinned or no rollout gives a canary traffic.
    pub fn of(model: &ServedModel, decision: &Decision, key: Key<'_>) -> Option<Self> {
        let trial = model.trial.as_ref()?;
        let unit = match key {
            Key::Sticky(key) => Some(hash_of_key(&model.route.salt, key)),
            Key::Coin(_) | Key::Missing(_) => None,
        };
        let drawn = match decision.reason {
            Reason::Split { .. } | Reason::Sticky { .. } | Reason::NoStickyKey { .. } => {
                decision.version
            }
            _ => return None,
        };
        let side = if drawn == trial.canary.version {
            Side::Canary
        } else if drawn == trial.stable.version {
            Side::Stable
        } else {
            return None;
        };
        Some(Self { trial: Arc::clone(trial), side, unit })
    }

    /// Answers the request of that id.
    pub async fn answer(
        &self,
        compute: &Arc<Compute>,
        model: &ServedModel,
        job: Job,
        request: &str,
    ) -> Result<Served, Unserved> {
        let served = self.trial.answer(compute, model, self.side, job, self.unit).await?;
        // What stable answered for the canary says nothing about the canary's answers.
        if served.rescued_from.is_none() {
            self.trial.answered(self.side, request);
        }
        Ok(served)
    }

    /// The version that the coin fell on refused the request as invalid.
    pub fn refused(&self) {
        self.trial.refused_by(self.side, self.unit);
    }
}
