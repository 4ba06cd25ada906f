//! Experiments: started, given other shares, stopped.

use serde_json::{Value, json};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, Sqlite, SqliteConnection, SqlitePool};
use weighbridge_config::ModelName;

use super::change::Change;
use super::errors::while_trying;
use super::events::NewEvent;
use super::models;
use super::row::{Columns, json_text, stored, word_text};
use crate::error::{Error, Result};
use crate::event::action;
use crate::experiment::{Experiment, NewExperiment};
use crate::model::{Model, Revision};
use crate::registry::MOST_LISTED;
use crate::transitions::experiments as rules;

/// The columns of experiments, and which of them.
macro_rules! experiments {
    ($which:literal) => {
        concat!(
            "SELECT id, model, name, spec, versions, state, epoch, shares, revision, started_at,
                    started_by, stopped_at, stopped_by, outcome
             FROM experiments ",
            $which
        )
    };
}

/// The running experiments, at most one per model.
pub(super) async fn running(
    connection: &mut SqliteConnection,
    only: Option<&ModelName>,
) -> Result<Vec<Experiment>> {
    let rows = sqlx::query(experiments!(
        "WHERE stopped_at IS NULL AND (CAST($1 AS TEXT) IS NULL OR model = $1)"
    ))
    .bind(only.map(ModelName::as_str))
    .fetch_all(connection)
    .await
    .map_err(while_trying("read the running experiments"))?;
    rows.iter().map(experiment_of).collect()
}

pub(super) async fn read<'c>(
    database: impl sqlx::Executor<'c, Database = Sqlite>,
    id: &str,
) -> Result<Experiment> {
    let row = sqlx::query(experiments!("WHERE id = $1"))
        .bind(id)
        .fetch_optional(database)
        .await
        .map_err(while_trying(format!("read the experiment {id}")))?;
    match row {
        Some(row) => experiment_of(&row),
        None => Err(Error::not_found(format!("experiment {id}"))),
    }
}

pub(super) async fn list(
    reader: &SqlitePool,
    model: &ModelName,
    limit: u32,
) -> Result<Vec<Experiment>> {
    // An unknown model is an error, one without an experiment is an empty list.
    models::read(reader, model).await?;
    let rows =
        sqlx::query(experiments!("WHERE model = $1 ORDER BY started_revision DESC LIMIT $2"))
            .bind(model.as_str())
            .bind(i64::from(limit.min(MOST_LISTED)))
            .fetch_all(reader)
            .await
            .map_err(while_trying(format!("list the experiments of {model}")))?;
    rows.iter().map(experiment_of).collect()
}

fn experiment_of(row: &SqliteRow) -> Result<Experiment> {
    let columns = Columns::of(row, "experiment", &["id"]);
    Ok(Experiment {
        id: columns.text("id")?,
        model: columns.parsed("model")?,
        name: columns.text("name")?,
        spec: columns.json("spec")?,
        versions: columns.json("versions")?,
        state: columns.word("state")?,
        epoch: columns.count("epoch")?,
        shares: columns.optional_json("shares")?,
        revision: columns.count("revision")?,
        started_at: columns.count("started_at")?,
        started_by: columns.text("started_by")?,
        stopped_at: columns.optional_count("stopped_at")?,
        stopped_by: columns.optional_text("stopped_by")?,
        outcome: columns.optional_text("outcome")?,
    })
}

pub(super) async fn start(
    mut change: Change<'_>,
    model: &ModelName,
    new: NewExperiment,
    expected: Option<Revision>,
) -> Result<Experiment> {
    let current = change.model(model, expected).await?;
    let id_is_taken = is_taken(&mut change, &new.id).await?;
    let experiment = rules::start(&current, new, id_is_taken, &change.moment())?;
    sqlx::query(
        "INSERT INTO experiments
             (id, model, name, spec, versions, state, epoch, revision, started_at, started_by,
              started_revision)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $8)",
    )
    .bind(experiment.id.as_str())
    .bind(experiment.model.as_str())
    .bind(experiment.name.as_str())
    .bind(json_text("an experiment's spec", &experiment.spec)?)
    .bind(json_text("an experiment's versions", &experiment.versions)?)
    .bind(word_text("an experiment's state", &experiment.state)?)
    .bind(stored(experiment.epoch))
    .bind(stored(experiment.revision))
    .bind(stored(experiment.started_at))
    .bind(experiment.started_by.as_str())
    .execute(change.connection())
    .await
    .map_err(while_trying(format!("start the experiment {}", experiment.name)))?;
    let mut shown = for_event(&experiment);
    shown["spec"] = experiment.spec.clone();
    commit(change, action::EXPERIMENT_STARTED, None, experiment, shown).await
}

async fn is_taken(change: &mut Change<'_>, id: &str) -> Result<bool> {
    let attempt = || while_trying(format!("look for the experiment {id}"));
    let row = sqlx::query("SELECT EXISTS (SELECT 1 FROM experiments WHERE id = $1) AS is_taken")
        .bind(id)
        .fetch_one(change.connection())
        .await
        .map_err(attempt())?;
    row.try_get("is_taken").map_err(attempt())
}

pub(super) async fn reshare(
    mut change: Change<'_>,
    id: &str,
    shares: Value,
    expected: Option<Revision>,
) -> Result<Experiment> {
    let before = read(change.connection(), id).await?;
    rules::require_revision(&before, expected)?;
    let Some(after) = rules::reshare(&before, shares, &change.moment())? else {
        return Ok(before);
    };
    update(&mut change, &after).await?;
    let shown = for_event(&after);
    commit(change, action::EXPERIMENT_RESHARED, Some(before), after, shown).await
}

pub(super) async fn stop(
    mut change: Change<'_>,
    id: &str,
    outcome: Option<String>,
    expected: Option<Revision>,
) -> Result<Experiment> {
    let before = read(change.connection(), id).await?;
    rules::require_revision(&before, expected)?;
    let Some(after) = rules::stop(&before, outcome, &change.moment()) else {
        return Ok(before);
    };
    update(&mut change, &after).await?;
    let shown = for_event(&after);
    commit(change, action::EXPERIMENT_STOPPED, Some(before), after, shown).await
}

/// Stops the running experiment of a model that is being deleted, as part of that change.
pub(super) async fn stop_for_deletion(change: &mut Change<'_>, current: &Model) -> Result<()> {
    let outcome = Some("the model was deleted".to_owned());
    let running = current.experiment.as_ref();
    match running.and_then(|running| rules::stop(running, outcome, &change.moment())) {
        Some(stopped) => update(change, &stopped).await,
        None => Ok(()),
    }
}

/// Writes what may change of an experiment.
async fn update(change: &mut Change<'_>, experiment: &Experiment) -> Result<()> {
    let shares = experiment.shares.as_ref();
    sqlx::query(
        "UPDATE experiments
         SET state = $2, epoch = $3, shares = $4, revision = $5, stopped_at = $6,
             stopped_by = $7, outcome = $8
         WHERE id = $1",
    )
    .bind(experiment.id.as_str())
    .bind(word_text("an experiment's state", &experiment.state)?)
    .bind(stored(experiment.epoch))
    .bind(shares.map(|s| json_text("shares", s)).transpose()?)
    .bind(stored(experiment.revision))
    .bind(experiment.stopped_at.map(stored))
    .bind(experiment.stopped_by.as_deref())
    .bind(experiment.outcome.as_deref())
    .execute(change.connection())
    .await
    .map_err(while_trying(format!("write the experiment {}", experiment.name)))?;
    Ok(())
}

/// Moves the model to the change's revision and commits.
async fn commit(
    mut change: Change<'_>,
    action: &'static str,
    before: Option<Experiment>,
    after: Experiment,
    shown: Value,
) -> Result<Experiment> {
    let model = change.model(&after.model, None).await?;
    change.bump(&model).await?;
    let event =
        NewEvent::of(action).about(&after.model).from(before.as_ref().map(for_event)).to(shown);
    change.commit(event).await?;
    Ok(after)
}

fn for_event(experiment: &Experiment) -> Value {
    json!({
        "experiment": experiment.id, "name": experiment.name, "versions": experiment.versions,
        "state": experiment.state, "epoch": experiment.epoch, "shares": experiment.shares,
        "outcome": experiment.outcome,
    })
}
