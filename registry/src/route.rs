//! Where a model's traffic goes, and how it came to go there.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use weighbridge_config::split::POINTS;
use weighbridge_config::{Split, Version};

use crate::model::Millis;

/// One entry of a model's route history; the one with the highest sequence is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Route {
    /// 1, 2, 3, … per model; goes on when the model is deleted and its name comes back.
    pub sequence: u64,
    /// Which part of the key space each version owns.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<weighbridge_config::split::Segment>))]
    pub split: Split,
    pub cause: RouteCause,
    pub set_at: Millis,
    /// The id of the actor that set it.
    pub set_by: String,
    /// The sequence of the route that a rollback from this one restores.
    pub previous: Option<u64>,
}

/// What made a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum RouteCause {
    /// An operator set the weights.
    Set,
    /// A version was given all traffic.
    Promote,
    /// An earlier route was restored.
    RollBack,
    /// The first route, set by the gateway for a model it was started with.
    Initial,
    /// A rollout gave its canary the weight of a step.
    Step,
    /// A cause that only a later release knows. It is read, and never written.
    #[serde(other)]
    Other,
}

/// A wish for a new route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteChange {
    /// The weight of each version in basis points; they sum to 10,000.
    pub weights: BTreeMap<Version, u32>,
    /// [`RouteCause::Set`] or [`RouteCause::Promote`]; the other causes have calls of their own.
    pub cause: RouteCause,
}

impl RouteChange {
    /// These weights, because an operator wants them.
    pub fn set(weights: BTreeMap<Version, u32>) -> Self {
        let cause = RouteCause::Set;
        Self { weights, cause }
    }

    /// All traffic to `version`.
    pub fn promote(version: Version) -> Self {
        let weights = BTreeMap::from([(version, POINTS)]);
        let cause = RouteCause::Promote;
        Self { weights, cause }
    }
}
