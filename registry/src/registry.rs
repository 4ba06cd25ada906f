//! The calls that every backend offers.

use std::fmt::Debug;

use async_trait::async_trait;
use weighbridge_config::{AliasName, ModelName, ModelSettings, Version};

use crate::error::Result;
use crate::event::{Event, EventQuery};
use crate::key::{KeyRecord, NewKey};
use crate::model::{Actor, IfRouted, Millis, Model, Revision, Snapshot};
use crate::operation::Operation;
use crate::route::{Route, RouteChange};
use crate::version::{CheckOutcome, NewVersion, Registered, VersionRecord};

/// The most entries that one listing returns; a higher limit is taken as this one.
pub const MOST_LISTED: u32 = 1_000;

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
    async fn set_route(
        &self,
        model: &ModelName,
        change: RouteChange,
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

    /// Restores the route before the current one, walking back further with each call.
    async fn roll_back(
        &self,
        model: &ModelName,
        expected: Option<Revision>,
        actor: &Actor,
        at: Millis,
    ) -> Result<Model>;

    /// The model's routes, newest first.
    async fn route_history(&self, model: &ModelName, limit: u32) -> Result<Vec<Route>>;

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

    /// Puts away a ready or rejected version that has neither traffic nor an alias.
    async fn archive(
        &self,
        model: &ModelName,
        version: Version,
        expected: Option<Revision>,
        actor: &Actor,
        at: Millis,
    ) -> Result<VersionRecord>;

    /// Deletes a version that has neither traffic nor an alias. Its number stays used.
    async fn delete_version(
        &self,
        model: &ModelName,
        version: Version,
        expected: Option<Revision>,
        actor: &Actor,
        at: Millis,
    ) -> Result<()>;

    /// Deletes a model with its versions and aliases. Its events and routes stay.
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

    /// Writes an operation, new or as it is now: no change of the registry. The oldest finished
    /// ones beyond [`MOST_LISTED`] are dropped.
    async fn put_operation(&self, operation: &Operation) -> Result<()>;

    /// One operation.
    async fn operation(&self, id: &str) -> Result<Operation>;

    /// Operations, newest first.
    async fn operations(&self, limit: u32) -> Result<Vec<Operation>>;
}
