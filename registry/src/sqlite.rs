//! The registry in one SQLite file.
//!
//! Writing goes through one connection, so changes queue in the process instead of meeting
//! `SQLITE_BUSY`; reading has connections of its own and never waits for a change (WAL). Each
//! change begins with `BEGIN IMMEDIATE`: a transaction that read first and then wanted to
//! write would be refused at once when another process wrote in between.

mod aliases;
mod chain;
mod change;
mod errors;
mod events;
mod evidence;
mod experiments;
mod exposures;
mod feedback;
mod freeze;
mod keys;
mod models;
mod open;
mod operations;
mod quotas;
mod rollouts;
mod routes;
mod row;
mod versions;

use async_trait::async_trait;
use serde_json::Value;
use sqlx::SqlitePool;
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
use crate::registry::Registry;
use crate::rollout::{IfRollout, MoveRecord, NewRollout, Rollout, RolloutMove};
use crate::route::{Route, RouteChange};
use crate::version::{CheckOutcome, NewVersion, Registered, VersionRecord};
use change::Change;

/// A registry in a SQLite file, or in memory. Exactly one process may use a file; keeping
/// others out is the caller's duty.
#[derive(Debug)]
pub struct SqliteRegistry {
    /// One connection, for all that writes.
    writer: SqlitePool,
    /// Read-only connections; in memory the same as `writer`.
    reader: SqlitePool,
}

impl SqliteRegistry {
    async fn change<'a>(&self, actor: &'a Actor, at: Millis) -> Result<Change<'a>> {
        Change::begin(&self.writer, actor, at).await
    }
}

// One line per call: each noun's file holds the work.
#[async_trait]
impl Registry for SqliteRegistry {
    async fn snapshot(&self) -> Result<Snapshot> {
        models::snapshot(&self.reader).await
    }

    async fn revision(&self) -> Result<Revision> {
        events::revision(&self.reader).await
    }

    async fn model(&self, model: &ModelName) -> Result<Model> {
        models::read(&self.reader, model).await
    }

    async fn register_version(
        &self,
        new: NewVersion,
        actor: &Actor,
        at: Millis,
    ) -> Result<Registered> {
        versions::register(self.change(actor, at).await?, new).await
    }

    async fn finish_check(
        &self,
        model: &ModelName,
        version: Version,
        outcome: CheckOutcome,
        actor: &Actor,
        at: Millis,
    ) -> Result<VersionRecord> {
        versions::finish_check(self.change(actor, at).await?, model, version, outcome).await
    }

    async fn set_route(
        &self,
        model: &ModelName,
        change: RouteChange,
        if_rollout: IfRollout,
        expected: Option<Revision>,
        actor: &Actor,
        at: Millis,
    ) -> Result<Model> {
        let begun = self.change(actor, at).await?;
        routes::set(begun, model, &change, if_rollout, expected).await
    }

    async fn set_initial_route(
        &self,
        model: &ModelName,
        version: Version,
        actor: &Actor,
        at: Millis,
    ) -> Result<Model> {
        routes::set_initial(self.change(actor, at).await?, model, version).await
    }

    async fn roll_back(
        &self,
        model: &ModelName,
        if_rollout: IfRollout,
        expected: Option<Revision>,
        actor: &Actor,
        at: Millis,
    ) -> Result<Model> {
        routes::roll_back(self.change(actor, at).await?, model, if_rollout, expected).await
    }

    async fn route_history(&self, model: &ModelName, limit: u32) -> Result<Vec<Route>> {
        routes::history(&self.reader, model, limit).await
    }

    async fn start_rollout(
        &self,
        model: &ModelName,
        new: NewRollout,
        expected: Option<Revision>,
        actor: &Actor,
        at: Millis,
    ) -> Result<Model> {
        rollouts::start(self.change(actor, at).await?, model, new, expected).await
    }

    async fn move_rollout(
        &self,
        model: &ModelName,
        step: RolloutMove,
        expected: Option<Revision>,
        record: MoveRecord,
        actor: &Actor,
        at: Millis,
    ) -> Result<Model> {
        rollouts::make_move(self.change(actor, at).await?, model, &step, expected, record).await
    }

    async fn put_evidence(
        &self,
        model: &ModelName,
        rollout: &str,
        revision: Revision,
        evidence: &Value,
        at: Millis,
    ) -> Result<bool> {
        evidence::put(&self.writer, model, rollout, revision, evidence, at).await
    }

    async fn evidence(&self, rollout: &str) -> Result<Option<(Revision, Value)>> {
        evidence::read(&self.reader, rollout).await
    }

    async fn rollout(&self, id: &str) -> Result<Rollout> {
        rollouts::read(&self.reader, id).await
    }

    async fn rollouts(&self, model: &ModelName, limit: u32) -> Result<Vec<Rollout>> {
        rollouts::list(&self.reader, model, limit).await
    }

    async fn active_rollouts(&self) -> Result<Vec<Rollout>> {
        rollouts::active(&self.reader).await
    }

    async fn rollout_events(&self, id: &str) -> Result<Vec<Event>> {
        rollouts::events_of(&self.reader, id).await
    }

    async fn set_frozen(
        &self,
        frozen: bool,
        reason: Option<String>,
        actor: &Actor,
        at: Millis,
    ) -> Result<()> {
        freeze::set(self.change(actor, at).await?, frozen, reason).await
    }

    async fn start_experiment(
        &self,
        model: &ModelName,
        new: NewExperiment,
        expected: Option<Revision>,
        actor: &Actor,
        at: Millis,
    ) -> Result<Experiment> {
        experiments::start(self.change(actor, at).await?, model, new, expected).await
    }

    async fn reshare_experiment(
        &self,
        id: &str,
        shares: Value,
        expected: Option<Revision>,
        actor: &Actor,
        at: Millis,
    ) -> Result<Experiment> {
        experiments::reshare(self.change(actor, at).await?, id, shares, expected).await
    }

    async fn stop_experiment(
        &self,
        id: &str,
        outcome: Option<String>,
        expected: Option<Revision>,
        actor: &Actor,
        at: Millis,
    ) -> Result<Experiment> {
        experiments::stop(self.change(actor, at).await?, id, outcome, expected).await
    }

    async fn experiment(&self, id: &str) -> Result<Experiment> {
        experiments::read(&self.reader, id).await
    }

    async fn experiments(&self, model: &ModelName, limit: u32) -> Result<Vec<Experiment>> {
        experiments::list(&self.reader, model, limit).await
    }

    async fn record_exposures(&self, batch: &[Exposure]) -> Result<Recorded> {
        exposures::record(&self.writer, batch).await
    }

    async fn record_requests(&self, batch: &[RequestUnit]) -> Result<Recorded> {
        exposures::record_requests(&self.writer, batch).await
    }

    async fn forget_requests(&self, before: Millis) -> Result<u64> {
        exposures::forget_requests(&self.writer, before).await
    }

    async fn feedback(&self, batch: &[NewFeedback], at: Millis) -> Result<Vec<FeedbackOutcome>> {
        feedback::take(&self.writer, batch, at).await
    }

    async fn units(&self, query: &UnitQuery) -> Result<Vec<UnitSum>> {
        exposures::units(&self.reader, query).await
    }

    async fn set_alias(
        &self,
        model: &ModelName,
        alias: &AliasName,
        version: Version,
        expected: Option<Revision>,
        actor: &Actor,
        at: Millis,
    ) -> Result<Model> {
        let change = self.change(actor, at).await?;
        aliases::set(change, model, alias, version, expected).await
    }

    async fn remove_alias(
        &self,
        model: &ModelName,
        alias: &AliasName,
        expected: Option<Revision>,
        actor: &Actor,
        at: Millis,
    ) -> Result<Model> {
        aliases::remove(self.change(actor, at).await?, model, alias, expected).await
    }

    async fn configure(
        &self,
        model: &ModelName,
        settings: ModelSettings,
        expected: Option<Revision>,
        actor: &Actor,
        at: Millis,
    ) -> Result<Model> {
        models::configure(self.change(actor, at).await?, model, &settings, expected).await
    }

    async fn archive(
        &self,
        model: &ModelName,
        version: Version,
        expected: Option<Revision>,
        actor: &Actor,
        at: Millis,
    ) -> Result<VersionRecord> {
        versions::archive(self.change(actor, at).await?, model, version, expected).await
    }

    async fn delete_version(
        &self,
        model: &ModelName,
        version: Version,
        expected: Option<Revision>,
        actor: &Actor,
        at: Millis,
    ) -> Result<()> {
        versions::delete(self.change(actor, at).await?, model, version, expected).await
    }

    async fn delete_model(
        &self,
        model: &ModelName,
        if_routed: IfRouted,
        expected: Option<Revision>,
        actor: &Actor,
        at: Millis,
    ) -> Result<()> {
        models::delete(self.change(actor, at).await?, model, if_routed, expected).await
    }

    async fn events(&self, query: &EventQuery) -> Result<Vec<Event>> {
        events::list(&self.reader, query).await
    }

    async fn verify_events(&self) -> Result<ChainReport> {
        chain::verify(&self.reader).await
    }

    async fn create_key(&self, new: NewKey, actor: &Actor, at: Millis) -> Result<KeyRecord> {
        keys::create(self.change(actor, at).await?, new).await
    }

    async fn keys(&self) -> Result<Vec<KeyRecord>> {
        keys::list(&self.reader).await
    }

    async fn revoke_key(&self, id_or_prefix: &str, actor: &Actor, at: Millis) -> Result<KeyRecord> {
        keys::revoke(self.change(actor, at).await?, id_or_prefix).await
    }

    async fn touch_key(&self, id: &str, at: Millis) -> Result<()> {
        keys::touch(&self.writer, id, at).await
    }

    async fn add_quota_use(&self, day: u64, used: &[QuotaUse]) -> Result<()> {
        quotas::add(&self.writer, day, used).await
    }

    async fn quota_use(&self, day: u64) -> Result<Vec<QuotaUse>> {
        quotas::of_day(&self.reader, day).await
    }

    async fn put_operation(&self, operation: &Operation) -> Result<()> {
        operations::put(&self.writer, operation).await
    }

    async fn operation(&self, id: &str) -> Result<Operation> {
        operations::read(&self.reader, id).await
    }

    async fn operations(&self, limit: u32) -> Result<Vec<Operation>> {
        operations::list(&self.reader, limit).await
    }
}

#[cfg(test)]
mod tests;
