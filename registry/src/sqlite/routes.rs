//! Routes: an append-only history per model.

use serde_json::{Value, json};
use sqlx::sqlite::SqliteRow;
use sqlx::{SqliteConnection, SqlitePool};
use weighbridge_config::{ModelName, Version};

use super::change::Change;
use super::errors::while_trying;
use super::events::NewEvent;
use super::row::{Columns, json_text, stored, word_text};
use super::{models, rollouts};
use crate::error::Result;
use crate::event::action;
use crate::model::{Model, Revision};
use crate::registry::MOST_LISTED;
use crate::rollout::IfRollout;
use crate::route::{Route, RouteCause, RouteChange};
use crate::transitions::{self, NextRoute};

/// The routes in force, of one model or of all.
pub(super) async fn current(
    connection: &mut SqliteConnection,
    only: Option<&ModelName>,
) -> Result<Vec<(ModelName, Route)>> {
    let rows = sqlx::query(
        "SELECT model, sequence, split, cause, set_at, set_by, previous FROM current_routes
         WHERE CAST($1 AS TEXT) IS NULL OR model = $1",
    )
    .bind(only.map(ModelName::as_str))
    .fetch_all(connection)
    .await
    .map_err(while_trying("read routes"))?;
    rows.iter().map(named_route).collect()
}

/// The routes that a rollback would restore.
pub(super) async fn before_current(
    connection: &mut SqliteConnection,
    only: Option<&ModelName>,
) -> Result<Vec<(ModelName, Route)>> {
    let rows = sqlx::query(
        "SELECT p.model, p.sequence, p.split, p.cause, p.set_at, p.set_by, p.previous
         FROM current_routes c
         JOIN routes p ON p.model = c.model AND p.sequence = c.previous
         WHERE CAST($1 AS TEXT) IS NULL OR c.model = $1",
    )
    .bind(only.map(ModelName::as_str))
    .fetch_all(connection)
    .await
    .map_err(while_trying("read the routes before"))?;
    rows.iter().map(named_route).collect()
}

pub(super) async fn history(
    reader: &SqlitePool,
    model: &ModelName,
    limit: u32,
) -> Result<Vec<Route>> {
    // An unknown model is an error, one without a route is an empty list.
    models::read(reader, model).await?;
    let rows = sqlx::query(
        "SELECT model, sequence, split, cause, set_at, set_by, previous FROM routes
         WHERE model = $1 AND sequence > (SELECT routes_before FROM models WHERE name = $1)
         ORDER BY sequence DESC LIMIT $2",
    )
    .bind(model.as_str())
    .bind(i64::from(limit.min(MOST_LISTED)))
    .fetch_all(reader)
    .await
    .map_err(while_trying(format!("list the routes of {model}")))?;
    rows.iter().map(route_of).collect()
}

fn named_route(row: &SqliteRow) -> Result<(ModelName, Route)> {
    let model = Columns::of(row, "route", &["model", "sequence"]).parsed("model")?;
    Ok((model, route_of(row)?))
}

fn route_of(row: &SqliteRow) -> Result<Route> {
    let columns = Columns::of(row, "route", &["model", "sequence"]);
    Ok(Route {
        sequence: columns.count("sequence")?,
        split: columns.json("split")?,
        cause: columns.word("cause")?,
        set_at: columns.count("set_at")?,
        set_by: columns.text("set_by")?,
        previous: columns.optional_count("previous")?,
    })
}

pub(super) async fn set(
    mut change: Change<'_>,
    model: &ModelName,
    wish: &RouteChange,
    if_rollout: IfRollout,
    expected: Option<Revision>,
) -> Result<Model> {
    let current = change.model(model, expected).await?;
    let next = transitions::set_route(&current, wish)?;
    finish(change, current, if_rollout, next).await
}

pub(super) async fn set_initial(
    mut change: Change<'_>,
    model: &ModelName,
    version: Version,
) -> Result<Model> {
    let current = change.model(model, None).await?;
    match transitions::initial_route(&current, version)? {
        Some(next) => append(change, current, next).await,
        None => Ok(current),
    }
}

pub(super) async fn roll_back(
    mut change: Change<'_>,
    model: &ModelName,
    if_rollout: IfRollout,
    expected: Option<Revision>,
) -> Result<Model> {
    let current = change.model(model, expected).await?;
    let next = transitions::roll_back(&current)?;
    finish(change, current, if_rollout, Some(next)).await
}

/// Sets the route that was decided on, ending an active rollout where that is meant. The event
/// is then the end of the rollout, which shows the route.
async fn finish(
    change: Change<'_>,
    current: Model,
    if_rollout: IfRollout,
    next: Option<NextRoute>,
) -> Result<Model> {
    match rollouts::end_for_route(change, &current, if_rollout, next.as_ref()).await? {
        Ok(after) => Ok(after),
        Err(change) => match next {
            Some(next) => append(change, current, next).await,
            None => Ok(current),
        },
    }
}

/// Appends the route that was decided on and commits the change.
async fn append(mut change: Change<'_>, current: Model, next: NextRoute) -> Result<Model> {
    insert(&mut change, &current.name, &next).await?;
    change.bump(&current).await?;

    let after = change.model(&current.name, None).await?;
    let event = NewEvent::of(action_of(next.cause))
        .about(&current.name)
        .from(current.route.as_ref().map(for_event))
        .to(after.route.as_ref().map(for_event));
    change.commit(event).await?;
    Ok(after)
}

/// Appends a route's row.
pub(super) async fn insert(
    change: &mut Change<'_>,
    model: &ModelName,
    next: &NextRoute,
) -> Result<()> {
    let sequence = next_sequence(change, model).await?;
    let (at, actor) = (stored(change.at), change.actor);
    sqlx::query(
        "INSERT INTO routes (model, sequence, split, cause, set_at, set_by, previous)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(model.as_str())
    .bind(stored(sequence))
    .bind(json_text("a split", &next.split)?)
    .bind(word_text("a route's cause", &next.cause)?)
    .bind(at)
    .bind(actor.id.as_str())
    .bind(next.previous.map(stored))
    .execute(change.connection())
    .await
    .map_err(while_trying(format!("set the route of {model}")))?;
    Ok(())
}

/// The sequence that the next route of the model gets.
pub(super) async fn next_sequence(change: &mut Change<'_>, model: &ModelName) -> Result<u64> {
    let row = sqlx::query(
        "SELECT COALESCE(MAX(sequence), 0) + 1 AS sequence FROM routes WHERE model = $1",
    )
    .bind(model.as_str())
    .fetch_one(change.connection())
    .await
    .map_err(while_trying(format!("number the next route of {model}")))?;
    Columns::of(&row, "last route", &[]).count("sequence")
}

fn action_of(cause: RouteCause) -> &'static str {
    match cause {
        RouteCause::Promote => action::ROUTE_PROMOTED,
        RouteCause::RollBack => action::ROUTE_ROLLED_BACK,
        RouteCause::Set | RouteCause::Initial | RouteCause::Step | RouteCause::Other => {
            action::ROUTE_SET
        }
    }
}

pub(super) fn for_event(route: &Route) -> Value {
    json!({ "sequence": route.sequence, "weights": route.split.weights(), "cause": route.cause })
}
