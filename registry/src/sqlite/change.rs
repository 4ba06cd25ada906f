//! A change: a write transaction that can only be committed together with its event.

use sqlx::{Sqlite, SqliteConnection, SqlitePool, Transaction};
use weighbridge_config::ModelName;

use super::errors::while_trying;
use super::events::{self, NewEvent};
use super::models;
use super::row::stored;
use crate::error::{Error, Result};
use crate::model::{Actor, Millis, Model, Revision};
use crate::transitions;
use crate::transitions::rollouts::Moment;

/// A change under way. Dropping it undoes everything; [`Change::commit`] is the only way to
/// keep it, and that wants an event.
pub(super) struct Change<'a> {
    transaction: Transaction<'static, Sqlite>,
    /// The registry's revision once this change is committed.
    pub(super) revision: Revision,
    pub(super) actor: &'a Actor,
    pub(super) at: Millis,
}

impl<'a> Change<'a> {
    pub(super) async fn begin(writer: &SqlitePool, actor: &'a Actor, at: Millis) -> Result<Self> {
        let mut transaction =
            writer.begin_with("BEGIN IMMEDIATE").await.map_err(while_trying("begin a change"))?;
        // No other change can begin until this one ends, so the number cannot be taken.
        let revision = events::revision(&mut *transaction).await? + 1;
        Ok(Self { transaction, revision, actor, at })
    }

    /// The connection to read and write with inside the transaction.
    pub(super) fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.transaction
    }

    /// Who makes it, when, and the revision it leads to.
    pub(super) fn moment(&self) -> Moment<'a> {
        Moment { revision: self.revision, at: self.at, actor: &self.actor.id }
    }

    /// The model as it is now, provided that it stands at the expected revision.
    pub(super) async fn model(
        &mut self,
        model: &ModelName,
        expected: Option<Revision>,
    ) -> Result<Model> {
        let model = models::find(self.connection(), model)
            .await?
            .ok_or_else(|| Error::not_found(format!("model {model}")))?;
        transitions::require_revision(&model, expected)?;
        Ok(model)
    }

    /// Moves the model to this change's revision: its route, aliases, settings, rollout or
    /// experiment are changing.
    pub(super) async fn bump(&mut self, model: &Model) -> Result<()> {
        let revision = self.revision;
        let bumped = sqlx::query(
            "UPDATE models SET revision = $1
             WHERE name = $2 AND revision = $3 AND deleted_at IS NULL",
        )
        .bind(stored(revision))
        .bind(model.name.as_str())
        .bind(stored(model.revision))
        .execute(self.connection())
        .await
        .map_err(while_trying(format!("change {}", model.name)))?;
        // The transaction holds the write lock, so on SQLite one row always changes; the check
        // makes the same text a compare-and-swap on a database with weaker isolation.
        if bumped.rows_affected() == 1 {
            return Ok(());
        }
        let found = self.model(&model.name, None).await?.revision;
        Err(Error::Conflict { model: model.name.clone(), expected: model.revision, found })
    }

    /// Appends the event and commits.
    pub(super) async fn commit(mut self, event: NewEvent<'_>) -> Result<()> {
        events::append(&mut self, &event).await?;
        let attempt = format!("commit {}", event.action);
        let committed = self.transaction.commit().await;
        committed.map_err(while_trying(attempt))
    }

    /// Commits, and returns the model as the change left it.
    pub(super) async fn commit_model(
        mut self,
        event: NewEvent<'_>,
        model: &ModelName,
    ) -> Result<Model> {
        let changed = self.model(model, None).await?;
        self.commit(event).await?;
        Ok(changed)
    }
}
