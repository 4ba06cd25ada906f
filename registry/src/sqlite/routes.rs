//! Routes: an append-only history per model.

use serde_json::{Value, json};
use sqlx::sqlite::SqliteRow;
use sqlx::{SqliteConnection, SqlitePool};
use weighbridge_config::{ModelName, Version};

use super::change::Change;
use super::errors::while_trying;
use super::events::NewEvent;
use super::models;
use super::row::{Columns, json_text, stored, word_text};
use crate::error::Result;
use crate::event::action;
use crate::model::{Model, Revision};
use crate::registry::MOST_LISTED;
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
    expected: Option<Revision>,
) -> Result<Model> {
    let current = change.model(model, expected).await?;
    match transitions::set_route(&current, wish)? {
        Some(next) => append(change, current, next).await,
        None => Ok(current),
    }
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
    expected: Option<Revision>,
) -> Result<Model> {
    let current = change.model(model, expected).await?;
    let next = transitions::roll_back(&current)?;
    append(change, current, next).await
}

/// Appends the route that was decided on and commits the change.
async fn append(mut change: Change<'_>, current: Model, next: NextRoute) -> Result<Model> {
    let (at, actor) = (stored(change.at), change.actor);
    let name = &current.name;
    sqlx::query(
        "INSERT INTO routes (model, sequence, split, cause, set_at, set_by, previous)
         VALUES ($1, (SELECT COALESCE(MAX(sequence), 0) + 1 FROM routes WHERE model = $1),
                 $2, $3, $4, $5, $6)",
    )
    .bind(name.as_str())
    .bind(json_text("a split", &next.split)?)
    .bind(word_text("a route's cause", &next.cause)?)
    .bind(at)
    .bind(actor.id.as_str())
    .bind(next.previous.map(stored))
    .execute(change.connection())
    .await
    .map_err(while_trying(format!("set the route of {name}")))?;
    change.bump(&current).await?;

    let after = change.model(name, None).await?;
    let event = NewEvent::of(action_of(next.cause))
        .about(name)
        .from(current.route.as_ref().map(for_event))
        .to(after.route.as_ref().map(for_event));
    change.commit(event).await?;
    Ok(after)
}

fn action_of(cause: RouteCause) -> &'static str {
    match cause {
        RouteCause::Promote => action::ROUTE_PROMOTED,
        RouteCause::RollBack => action::ROUTE_ROLLED_BACK,
        RouteCause::Set | RouteCause::Initial | RouteCause::Other => action::ROUTE_SET,
    }
}

fn for_event(route: &Route) -> Value {
    json!({ "sequence": route.sequence, "weights": route.split.weights(), "cause": route.cause })
}
