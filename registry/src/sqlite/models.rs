//! Models as a whole: put together from the tables of each noun.

use std::collections::BTreeMap;

use serde_json::json;
use sqlx::sqlite::SqliteRow;
use sqlx::{SqliteConnection, SqlitePool};
use weighbridge_config::{ModelName, ModelSettings};

use super::change::Change;
use super::errors::while_trying;
use super::events::{self, NewEvent};
use super::row::{Columns, json_text, stored};
use super::{aliases, experiments, freeze, keys, rollouts, routes, versions};
use crate::error::{Error, Result};
use crate::event::action;
use crate::model::{IfRouted, Model, Revision, Snapshot};
use crate::transitions;

pub(super) async fn snapshot(reader: &SqlitePool) -> Result<Snapshot> {
    let mut transaction = reader.begin().await.map_err(while_trying("begin a snapshot"))?;
    Ok(Snapshot {
        revision: events::revision(&mut *transaction).await?,
        frozen: freeze::is_set(&mut transaction).await?,
        models: assemble(&mut transaction, None).await?,
        keys: keys::list(&mut *transaction).await?,
    })
}

pub(super) async fn read(reader: &SqlitePool, model: &ModelName) -> Result<Model> {
    let mut transaction = reader.begin().await.map_err(while_trying(format!("read {model}")))?;
    let found = find(&mut transaction, model).await?;
    found.ok_or_else(|| Error::not_found(format!("model {model}")))
}

/// The model, unless its name is unknown or it was deleted. The connection must be inside a
/// transaction: the parts are read one after another.
pub(super) async fn find(
    connection: &mut SqliteConnection,
    model: &ModelName,
) -> Result<Option<Model>> {
    Ok(assemble(connection, Some(model)).await?.pop())
}

/// One model or all, by name.
async fn assemble(
    connection: &mut SqliteConnection,
    only: Option<&ModelName>,
) -> Result<Vec<Model>> {
    let mut models = bare_models(connection, only).await?;
    for record in versions::live(connection, only).await? {
        if let Some(model) = models.get_mut(&record.model) {
            model.versions.push(record);
        }
    }
    for (name, alias, version) in aliases::all(connection, only).await? {
        if let Some(model) = models.get_mut(&name) {
            model.aliases.insert(alias, version);
        }
    }
    for (name, route) in routes::current(connection, only).await? {
        if let Some(model) = models.get_mut(&name) {
            model.route = Some(route);
        }
    }
    for (name, route) in routes::before_current(connection, only).await? {
        if let Some(model) = models.get_mut(&name) {
            model.previous_route = Some(route);
        }
    }
    for rollout in rollouts::latest(connection, only).await? {
        if let Some(model) = models.get_mut(&rollout.model) {
            model.rollout = Some(rollout);
        }
    }
    for experiment in experiments::running(connection, only).await? {
        if let Some(model) = models.get_mut(&experiment.model) {
            model.experiment = Some(experiment);
        }
    }
    Ok(models.into_values().collect())
}

/// The models without what the other tables hold.
async fn bare_models(
    connection: &mut SqliteConnection,
    only: Option<&ModelName>,
) -> Result<BTreeMap<ModelName, Model>> {
    let rows = sqlx::query(
        "SELECT name, revision, settings, created_at FROM models
         WHERE deleted_at IS NULL AND (CAST($1 AS TEXT) IS NULL OR name = $1)",
    )
    .bind(only.map(ModelName::as_str))
    .fetch_all(connection)
    .await
    .map_err(while_trying("read models"))?;
    let models = rows.iter().map(bare_model).map(|model| {
        let model = model?;
        Ok((model.name.clone(), model))
    });
    models.collect()
}

fn bare_model(row: &SqliteRow) -> Result<Model> {
    let columns = Columns::of(row, "model", &["name"]);
    Ok(Model {
        name: columns.parsed("name")?,
        revision: columns.count("revision")?,
        settings: columns.json("settings")?,
        route: None,
        previous_route: None,
        aliases: BTreeMap::new(),
        versions: Vec::new(),
        created_at: columns.count("created_at")?,
        rollout: None,
        experiment: None,
    })
}

/// Makes the model's row, or gives the row of a deleted one a new life without a route.
pub(super) async fn begin_life(change: &mut Change<'_>, model: &ModelName) -> Result<()> {
    let settings = json_text("the settings of a new model", &ModelSettings::default())?;
    let (revision, at) = (stored(change.revision), stored(change.at));
    sqlx::query(
        "INSERT INTO models (name, revision, settings, routes_before, created_at, deleted_at)
         VALUES ($1, $2, $3,
                 (SELECT COALESCE(MAX(sequence), 0) FROM routes WHERE model = $1), $4, NULL)
         ON CONFLICT (name) DO UPDATE SET
             revision = excluded.revision, settings = excluded.settings,
             routes_before = excluded.routes_before, created_at = excluded.created_at,
             deleted_at = NULL",
    )
    .bind(model.as_str())
    .bind(revision)
    .bind(settings)
    .bind(at)
    .execute(change.connection())
    .await
    .map_err(while_trying(format!("register the model {model}")))?;
    Ok(())
}

pub(super) async fn configure(
    mut change: Change<'_>,
    model: &ModelName,
    settings: &ModelSettings,
    expected: Option<Revision>,
) -> Result<Model> {
    let current = change.model(model, expected).await?;
    if current.settings == *settings {
        return Ok(current);
    }
    sqlx::query("UPDATE models SET settings = $1 WHERE name = $2")
        .bind(json_text("the settings of a model", settings)?)
        .bind(model.as_str())
        .execute(change.connection())
        .await
        .map_err(while_trying(format!("configure {model}")))?;
    change.bump(&current).await?;
    let event = NewEvent::of(action::MODEL_CONFIGURED)
        .about(model)
        .from(json!(current.settings))
        .to(json!(settings));
    change.commit_model(event, model).await
}

pub(super) async fn delete(
    mut change: Change<'_>,
    model: &ModelName,
    if_routed: IfRouted,
    expected: Option<Revision>,
) -> Result<()> {
    let current = change.model(model, expected).await?;
    transitions::delete_model(&current, if_routed)?;
    change.bump(&current).await?;
    rollouts::end_for_deletion(&mut change, &current).await?;
    experiments::stop_for_deletion(&mut change, &current).await?;
    aliases::remove_all(&mut change, model).await?;
    versions::mark_deleted(&mut change, model, None).await?;
    let at = stored(change.at);
    sqlx::query("UPDATE models SET deleted_at = $1 WHERE name = $2")
        .bind(at)
        .bind(model.as_str())
        .execute(change.connection())
        .await
        .map_err(while_trying(format!("delete {model}")))?;
    let versions: Vec<_> = current.versions.iter().map(|r| r.version).collect();
    let rollout = current.active_rollout().map(|rollout| &rollout.id);
    let experiment = current.experiment.as_ref().map(|experiment| &experiment.id);
    let weights = current.route.as_ref().map(|route| route.split.weights());
    let before = json!({
        "versions": versions, "weights": weights,
        "aliases": current.aliases, "settings": current.settings,
        "rollout": rollout, "experiment": experiment,
    });
    let event = NewEvent::of(action::MODEL_DELETED).about(model).from(before);
    change.commit(event).await
}
