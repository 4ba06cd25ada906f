//! The calls that every backend offers.

use std::fmt::Debug;

use async_trait::async_trait;
use serde_json::Value;
use weighbridge_config::{AliasName, ModelName, ModelSettings, Version};

use crate::chain::ChainReport;
use crate::error::Result;
use crate::event::{Event, EventQuery};
use crate::experiment::{
    Experiment, Exposure, FeedbackOutcome, NewExperiment, NewFeedback, Recorded, RequestUnit,
    UnitQuery, UnitSum,
};
use crate::key::{KeyRecord, NewKey, QuotaUse};
use crate::model::{Actor, IfRouted, Millis, Model, Revision, Snapshot};
use crate::operation::Operation;
use crate::rollout::{IfRollout, MoveRecord, NewRollout, Rollout, RolloutMove};
use crate::route::{Route, RouteChange};
use crate::version::{CheckOutcome, NewVersion, Registered, VersionRecord};

/// The most entries that one listing returns; a higher limit is taken as this one.
pub const MOST_LISTED: u32 = 1_000;
/// The most units that one page holds; a higher limit is taken as this one.
pub const MOST_UNITS: u32 = 10_000;
/// The most items that one call records; more are refused, since all other changes wait for it.
pub const MOST_IN_BATCH: usize = 5_000;

/// What is true, and the changes to it.
///
/// `expected` is the model's revision that the caller's change is based on (`If-Match`); a
/// model that has moved on answers [`Error::Conflict`](crate::Error::Conflict). `None` bases
/// the change on whatever is there.
///
/// A change that would alter nothing succeeds, makes no event and bumps no revision.
#[async_trait]
pub trait Registry: Send + Sync + Debug {
    /// All models and keys, as they were at one moment.
    async fn snapshot(&self) -> Result<Snapshot>;

    /// The revision alone: cheap enough to ask for once a second.
    async fn revision(&self) -> Result<Revision>;

    /// One model.
    async fn model(&self, model: &ModelName) -> Result<Model>;

    /// Registers a version, and its model when that is new, in state `checking`.
    ///
    /// Without a wanted number it takes the one after the highest that the model's name has
    /// ever had. Files that a version of the model has already are that version: a rejected or
    /// archived one goes back to `checking` with the new description, any other is returned
    /// as it is.
    async fn register_version(
        &self,
        new: NewVersion,
        actor: &Actor,
        at: Millis,
    ) -> Result<Registered>;

    /// Ends the check of a version that stands in `checking`.
    async fn finish_check(
        &self,
        model: &ModelName,
        version: Version,
        outcome: CheckOutcome,
        actor: &Actor,
        at: Millis,
    ) -> Result<VersionRecord>;

    /// Sets a model's weights, moving as few keys as possible. Versions with weight must be
    /// ready; those with weight 0 must exist.
    ///
    /// While a rollout of the model is active it is refused, or ends the rollout with
    /// [`IfRollout::End`]; a rollback from the new route then leads to the route before the
    /// rollout.
    async fn set_route(
        &self,
        model: &ModelName,
        change: RouteChange,
        if_rollout: IfRollout,
        expected: Option<Revision>,
        actor: &Actor,
        at: Millis,
    ) -> Result<Model>;

    /// Gives all traffic to `version` if the model has never had a route; otherwise changes
    /// nothing, whatever the route is.
    async fn set_initial_route(
        &self,
        model: &ModelName,
        version: Version,
        actor: &Actor,
        at: Millis,
    ) -> Result<Model>;

    /// Restores the route before the current one, walking back further with each call. The
    /// route before any of a rollout's is the one before the rollout. As for an active
    /// rollout: see [`Registry::set_route`].
    async fn roll_back(
        &self,
        model: &ModelName,
        if_rollout: IfRollout,
        expected: Option<Revision>,
        actor: &Actor,
        at: Millis,
    ) -> Result<Model>;

    /// The model's routes, newest first.
    async fn route_history(&self, model: &ModelName, limit: u32) -> Result<Vec<Route>>;

    /// Starts a rollout from the version that the route makes stable to `new.to`.
    ///
    /// The route stays as it is while the spec has a shadow stage, otherwise the canary gets
    /// the weight of the first step in the same change. Refused when the model has no route or
    /// one with a third version, when a rollout or an experiment is active, when `new.to` is
    /// not ready or stable already, and without a reason from the fourth attempt on.
    async fn start_rollout(
        &self,
        model: &ModelName,
        new: NewRollout,
        expected: Option<Revision>,
        actor: &Actor,
        at: Millis,
    ) -> Result<Model>;

    /// Moves the model's active rollout. `expected` is the *rollout's* revision. The rollout,
    /// its route, the evidence and the event are one change.
    async fn move_rollout(
        &self,
        model: &ModelName,
        step: RolloutMove,
        expected: Option<Revision>,
        record: MoveRecord,
        actor: &Actor,
        at: Millis,
    ) -> Result<Model>;

    /// Replaces the evidence of a rollout that stands at `revision`: no change of the registry.
    /// False, and nothing is written, when the rollout has ended or moved on.
    async fn put_evidence(
        &self,
        model: &ModelName,
        rollout: &str,
        revision: Revision,
        evidence: &Value,
        at: Millis,
    ) -> Result<bool>;

    /// The evidence that was put last, by [`Registry::put_evidence`] or with a move, and the
    /// revision of the rollout that it was put for (after the move): an earlier one than the
    /// rollout's when a move without evidence followed.
    async fn evidence(&self, rollout: &str) -> Result<Option<(Revision, Value)>>;

    /// One rollout, of a deleted model too.
    async fn rollout(&self, id: &str) -> Result<Rollout>;

    /// The rollouts of the model and of deleted ones of its name, newest first.
    async fn rollouts(&self, model: &ModelName, limit: u32) -> Result<Vec<Rollout>>;

    /// The active rollouts of all models, by model.
    async fn active_rollouts(&self) -> Result<Vec<Rollout>>;

    /// The events of one rollout, oldest first; of more than [`MOST_LISTED`] the newest.
    async fn rollout_events(&self, id: &str) -> Result<Vec<Event>>;

    /// Freezes all rollouts, or lets them go on.
    async fn set_frozen(
        &self,
        frozen: bool,
        reason: Option<String>,
        actor: &Actor,
        at: Millis,
    ) -> Result<()>;

    /// Starts an experiment. Refused while a rollout or another experiment of the model is
    /// active, and when one of its versions is not ready.
    async fn start_experiment(
        &self,
        model: &ModelName,
        new: NewExperiment,
        expected: Option<Revision>,
        actor: &Actor,
        at: Millis,
    ) -> Result<Experiment>;

    /// Gives a running experiment other shares and its next epoch. `expected` is the
    /// *experiment's* revision.
    async fn reshare_experiment(
        &self,
        id: &str,
        shares: Value,
        expected: Option<Revision>,
        actor: &Actor,
        at: Millis,
    ) -> Result<Experiment>;

    /// Stops an experiment; one that is stopped already stays as it is. `expected` is the
    /// *experiment's* revision.
    async fn stop_experiment(
        &self,
        id: &str,
        outcome: Option<String>,
        expected: Option<Revision>,
        actor: &Actor,
        at: Millis,
    ) -> Result<Experiment>;

    /// One experiment, of a deleted model too.
    async fn experiment(&self, id: &str) -> Result<Experiment>;

    /// The experiments of the model and of deleted ones of its name, newest first.
    async fn experiments(&self, model: &ModelName, limit: u32) -> Result<Vec<Experiment>>;

    /// Notes which units saw which variant: no change of the registry. A unit's first exposure
    /// in an experiment stays.
    async fn record_exposures(&self, batch: &[Exposure]) -> Result<Recorded>;

    /// Notes to which unit requests belonged: no change of the registry.
    async fn record_requests(&self, batch: &[RequestUnit]) -> Result<Recorded>;

    /// Drops what [`Registry::record_requests`] noted for times before this one, and tells how
    /// much that was.
    async fn forget_requests(&self, before: Millis) -> Result<u64>;

    /// Takes what was reported back, all in one transaction: no change of the registry. What
    /// became of each item stands in the item's place.
    async fn feedback(&self, batch: &[NewFeedback], at: Millis) -> Result<Vec<FeedbackOutcome>>;

    /// A page of an experiment's units, by unit.
    async fn units(&self, query: &UnitQuery) -> Result<Vec<UnitSum>>;

    /// Points an alias to a ready version.
    async fn set_alias(
        &self,
        model: &ModelName,
        alias: &AliasName,
        version: Version,
        expected: Option<Revision>,
        actor: &Actor,
        at: Millis,
    ) -> Result<Model>;

    /// Removes an alias.
    async fn remove_alias(
        &self,
        model: &ModelName,
        alias: &AliasName,
        expected: Option<Revision>,
        actor: &Actor,
        at: Millis,
    ) -> Result<Model>;

    /// Replaces the model's settings.
    async fn configure(
        &self,
        model: &ModelName,
        settings: ModelSettings,
        expected: Option<Revision>,
        actor: &Actor,
        at: Millis,
    ) -> Result<Model>;

    /// Puts away a ready or rejected version that has neither traffic nor an alias, and is in
    /// no active rollout or experiment.
    async fn archive(
        &self,
        model: &ModelName,
        version: Version,
        expected: Option<Revision>,
        actor: &Actor,
        at: Millis,
    ) -> Result<VersionRecord>;

    /// Deletes a version that has neither traffic nor an alias, and is in no active rollout or
    /// experiment. Its number stays used.
    async fn delete_version(
        &self,
        model: &ModelName,
        version: Version,
        expected: Option<Revision>,
        actor: &Actor,
        at: Millis,
    ) -> Result<()>;

    /// Deletes a model with its versions and aliases, ending its rollout and its experiment.
    /// Its events, routes, rollouts and experiments stay.
    async fn delete_model(
        &self,
        model: &ModelName,
        if_routed: IfRouted,
        expected: Option<Revision>,
        actor: &Actor,
        at: Millis,
    ) -> Result<()>;

    /// Events, newest first; those of deleted models too.
    async fn events(&self, query: &EventQuery) -> Result<Vec<Event>>;

    /// Recomputes the chain of all events and compares.
    async fn verify_events(&self) -> Result<ChainReport>;

    /// Creates a key. The prefix must be one that no key has had, so that it names the key.
    async fn create_key(&self, new: NewKey, actor: &Actor, at: Millis) -> Result<KeyRecord>;

    /// All keys, revoked and expired ones included, oldest first.
    async fn keys(&self) -> Result<Vec<KeyRecord>>;

    /// Revokes the key with this id or prefix. A key that is revoked already stays as it is.
    async fn revoke_key(&self, id_or_prefix: &str, actor: &Actor, at: Millis) -> Result<KeyRecord>;

    /// Notes that a key was used: no change of the registry, so no event and no revision.
    /// An earlier time than the one noted is ignored. It is a write all the same: not for each
    /// request.
    async fn touch_key(&self, id: &str, at: Millis) -> Result<()>;

    /// Adds to what tenants have used of their quotas on a day (days since 1970-01-01, UTC): no
    /// change of the registry. Use of days long past is dropped.
    async fn add_quota_use(&self, day: u64, used: &[QuotaUse]) -> Result<()>;

    /// What tenants have used on a day, by all replicas, as far as it was added.
    async fn quota_use(&self, day: u64) -> Result<Vec<QuotaUse>>;

    /// Writes an operation, new or as it is now: no change of the registry. The oldest finished
    /// ones beyond [`MOST_LISTED`] are dropped.
    async fn put_operation(&self, operation: &Operation) -> Result<()>;

    /// One operation.
    async fn operation(&self, id: &str) -> Result<Operation>;

    /// Operations, newest first.
    async fn operations(&self, limit: u32) -> Result<Vec<Operation>>;
}
