//! Operators' own aliases.

use serde_json::json;
use sqlx::{SqliteConnection, sqlite::SqliteRow};
use weighbridge_config::{AliasName, ModelName, Version};

use super::change::Change;
use super::errors::while_trying;
use super::events::NewEvent;
use super::row::Columns;
use crate::error::{Error, Result};
use crate::event::action;
use crate::model::{Model, Revision};
use crate::transitions;

type Alias = (ModelName, AliasName, Version);

/// The aliases of one model or of all.
pub(super) async fn all(
    connection: &mut SqliteConnection,
    only: Option<&ModelName>,
) -> Result<Vec<Alias>> {
    let rows = sqlx::query(
        "SELECT model, alias, version FROM aliases
         WHERE CAST($1 AS TEXT) IS NULL OR model = $1",
    )
    .bind(only.map(ModelName::as_str))
    .fetch_all(connection)
    .await
    .map_err(while_trying("read aliases"))?;
    rows.iter().map(alias_of).collect()
}

fn alias_of(row: &SqliteRow) -> Result<Alias> {
    let columns = Columns::of(row, "alias", &["model", "alias"]);
    let (model, alias) = (columns.parsed("model")?, columns.parsed("alias")?);
    Ok((model, alias, columns.version("version")?))
}

pub(super) async fn set(
    mut change: Change<'_>,
    model: &ModelName,
    alias: &AliasName,
    version: Version,
    expected: Option<Revision>,
) -> Result<Model> {
    let current = change.model(model, expected).await?;
    if !transitions::set_alias(&current, alias, version)? {
        return Ok(current);
    }
    sqlx::query(
        "INSERT INTO aliases (model, alias, version) VALUES ($1, $2, $3)
         ON CONFLICT (model, alias) DO UPDATE SET version = excluded.version",
    )
    .bind(model.as_str())
    .bind(alias.as_str())
    .bind(i64::from(version.get()))
    .execute(change.connection())
    .await
    .map_err(while_trying(format!("set the alias {alias} of {model}")))?;
    change.bump(&current).await?;
    let before = current.aliases.get(alias);
    let event = NewEvent::of(action::ALIAS_SET)
        .about(model)
        .version(version)
        .from(before.map(|old| json!({ "alias": alias, "version": old })))
        .to(json!({ "alias": alias, "version": version }));
    change.commit_model(event, model).await
}

pub(super) async fn remove(
    mut change: Change<'_>,
    model: &ModelName,
    alias: &AliasName,
    expected: Option<Revision>,
) -> Result<Model> {
    let current = change.model(model, expected).await?;
    let Some(version) = current.aliases.get(alias).copied() else {
        return Err(Error::not_found(format!("alias {alias} of {model}")));
    };
    sqlx::query("DELETE FROM aliases WHERE model = $1 AND alias = $2")
        .bind(model.as_str())
        .bind(alias.as_str())
        .execute(change.connection())
        .await
        .map_err(while_trying(format!("remove the alias {alias} of {model}")))?;
    change.bump(&current).await?;
    let event = NewEvent::of(action::ALIAS_REMOVED)
        .about(model)
        .version(version)
        .from(json!({ "alias": alias, "version": version }));
    change.commit_model(event, model).await
}

/// Removes the aliases of a model that is being deleted.
pub(super) async fn remove_all(change: &mut Change<'_>, model: &ModelName) -> Result<()> {
    sqlx::query("DELETE FROM aliases WHERE model = $1")
        .bind(model.as_str())
        .execute(change.connection())
        .await
        .map_err(while_trying(format!("remove the aliases of {model}")))?;
    Ok(())
}
