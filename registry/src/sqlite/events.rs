//! Events, and the revision that follows from them.

use serde_json::Value;
use sqlx::sqlite::SqliteRow;
use sqlx::{Sqlite, SqlitePool};
use weighbridge_config::{ModelName, Version};

use super::chain;
use super::change::Change;
use super::errors::while_trying;
use super::row::{Columns, json_text, stored};
use crate::chain::EventText;
use crate::error::Result;
use crate::event::{Event, EventQuery};
use crate::model::Revision;
use crate::registry::MOST_LISTED;

/// An event without what the change knows: sequence, time and actor.
pub(super) struct NewEvent<'a> {
    pub(super) action: &'static str,
    model: Option<&'a ModelName>,
    version: Option<Version>,
    from: Option<Value>,
    to: Option<Value>,
}

impl<'a> NewEvent<'a> {
    pub(super) fn of(action: &'static str) -> Self {
        Self { action, model: None, version: None, from: None, to: None }
    }

    pub(super) fn about(mut self, model: &'a ModelName) -> Self {
        self.model = Some(model);
        self
    }

    pub(super) fn version(mut self, version: Version) -> Self {
        self.version = Some(version);
        self
    }

    pub(super) fn from(mut self, before: impl Into<Option<Value>>) -> Self {
        self.from = before.into();
        self
    }

    pub(super) fn to(mut self, after: impl Into<Option<Value>>) -> Self {
        self.to = after.into();
        self
    }
}

/// The sequence of the last event, 0 before the first.
pub(super) async fn revision<'c>(
    database: impl sqlx::Executor<'c, Database = Sqlite>,
) -> Result<Revision> {
    let row = sqlx::query("SELECT COALESCE(MAX(sequence), 0) AS revision FROM events")
        .fetch_one(database)
        .await
        .map_err(while_trying("read the revision"))?;
    Columns::of(&row, "last event", &[]).count("revision")
}

/// Appends the event of a change, inside it.
pub(super) async fn append(change: &mut Change<'_>, event: &NewEvent<'_>) -> Result<()> {
    let text = |value: &Option<Value>| {
        let text = value.as_ref().map(|v| json_text("an event", v));
        text.transpose()
    };
    let (from, to) = (text(&event.from)?, text(&event.to)?);
    let (revision, at, actor) = (change.revision, change.at, change.actor);
    let row = EventText {
        sequence: revision,
        at,
        actor: &actor.id,
        actor_name: &actor.name,
        action: event.action,
        model: event.model.map(ModelName::as_str),
        version: event.version.map(Version::get),
        from: from.as_deref(),
        to: to.as_deref(),
    };
    let before = chain::last_link(change.connection()).await?;
    let hash = row.link_after(&before)?;
    sqlx::query(
        "INSERT INTO events
             (sequence, at, actor, actor_name, action, model, version, from_value, to_value, hash)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(stored(row.sequence))
    .bind(stored(row.at))
    .bind(row.actor)
    .bind(row.actor_name)
    .bind(row.action)
    .bind(row.model)
    .bind(row.version.map(i64::from))
    .bind(row.from)
    .bind(row.to)
    .bind(hash.to_string())
    .execute(change.connection())
    .await
    .map_err(while_trying(format!("append the event {}", event.action)))?;
    Ok(())
}

pub(super) async fn list(reader: &SqlitePool, query: &EventQuery) -> Result<Vec<Event>> {
    let rows = sqlx::query(
        "SELECT sequence, at, actor, actor_name, action, model, version, from_value, to_value,
                hash
         FROM events
         WHERE (CAST($1 AS TEXT) IS NULL OR model = $1) AND sequence < $2
         ORDER BY sequence DESC LIMIT $3",
    )
    .bind(query.model.as_ref().map(ModelName::as_str))
    .bind(query.before.map_or(i64::MAX, stored))
    .bind(i64::from(query.limit.min(MOST_LISTED)))
    .fetch_all(reader)
    .await
    .map_err(while_trying("list events"))?;
    rows.iter().map(event_of).collect()
}

/// The newest events of a rollout, oldest first.
pub(super) async fn of_rollout(
    reader: &SqlitePool,
    model: &ModelName,
    rollout: &str,
) -> Result<Vec<Event>> {
    let rows = sqlx::query(
        "SELECT sequence, at, actor, actor_name, action, model, version, from_value, to_value,
                hash
         FROM events
         WHERE model = $1 AND action GLOB 'rollout.*'
           AND json_extract(to_value, '$.rollout') = $2
         ORDER BY sequence DESC LIMIT $3",
    )
    .bind(model.as_str())
    .bind(rollout)
    .bind(i64::from(MOST_LISTED))
    .fetch_all(reader)
    .await
    .map_err(while_trying(format!("list the events of the rollout {rollout}")))?;
    rows.iter().rev().map(event_of).collect()
}

fn event_of(row: &SqliteRow) -> Result<Event> {
    let columns = Columns::of(row, "event", &["sequence"]);
    let names_a_model = columns.optional_text("model")?.is_some();
    let is_linked = columns.optional_text("hash")?.is_some();
    Ok(Event {
        sequence: columns.count("sequence")?,
        at: columns.count("at")?,
        actor: columns.text("actor")?,
        actor_name: columns.text("actor_name")?,
        action: columns.text("action")?,
        model: names_a_model.then(|| columns.parsed("model")).transpose()?,
        version: columns.optional_version("version")?,
        from: columns.optional_json("from_value")?,
        to: columns.optional_json("to_value")?,
        hash: is_linked.then(|| columns.parsed("hash")).transpose()?,
    })
}
