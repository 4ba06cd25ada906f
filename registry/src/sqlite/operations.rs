//! Long admin calls.

use sqlx::SqlitePool;
use sqlx::sqlite::SqliteRow;

use super::errors::while_trying;
use super::row::{Columns, json_text, stored, word_text};
use crate::error::{Error, Result};
use crate::operation::Operation;
use crate::registry::MOST_LISTED;

pub(super) async fn put(writer: &SqlitePool, operation: &Operation) -> Result<()> {
    let attempt = || while_trying(format!("write the operation {}", operation.id));
    let result = operation.result.as_ref();
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await.map_err(attempt())?;
    sqlx::query(
        "INSERT INTO operations
             (id, kind, model, version, state, progress, result, error,
              created_at, updated_at, created_by)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
         ON CONFLICT (id) DO UPDATE SET
             kind = excluded.kind, model = excluded.model, version = excluded.version,
             state = excluded.state, progress = excluded.progress, result = excluded.result,
             error = excluded.error, updated_at = excluded.updated_at",
    )
    .bind(operation.id.as_str())
    .bind(operation.kind.as_str())
    .bind(operation.model.as_deref())
    .bind(operation.version.map(|v| i64::from(v.get())))
    .bind(word_text("an operation's state", &operation.state)?)
    .bind(operation.progress.as_str())
    .bind(result.map(|r| json_text("a result", r)).transpose()?)
    .bind(operation.error.as_deref())
    .bind(stored(operation.created_at))
    .bind(stored(operation.updated_at))
    .bind(operation.created_by.as_str())
    .execute(&mut *transaction)
    .await
    .map_err(attempt())?;
    sqlx::query(
        "DELETE FROM operations WHERE state <> 'running' AND id NOT IN
             (SELECT id FROM operations ORDER BY created_at DESC, id DESC LIMIT $1)",
    )
    .bind(i64::from(MOST_LISTED))
    .execute(&mut *transaction)
    .await
    .map_err(attempt())?;
    transaction.commit().await.map_err(attempt())
}

pub(super) async fn read(reader: &SqlitePool, id: &str) -> Result<Operation> {
    let row = sqlx::query(
        "SELECT id, kind, model, version, state, progress, result, error,
                created_at, updated_at, created_by
         FROM operations WHERE id = $1",
    )
    .bind(id)
    .fetch_optional(reader)
    .await
    .map_err(while_trying(format!("read the operation {id}")))?;
    match row {
        Some(row) => operation_of(&row),
        None => Err(Error::not_found(format!("operation {id}"))),
    }
}

pub(super) async fn list(reader: &SqlitePool, limit: u32) -> Result<Vec<Operation>> {
    let rows = sqlx::query(
        "SELECT id, kind, model, version, state, progress, result, error,
                created_at, updated_at, created_by
         FROM operations ORDER BY created_at DESC, id DESC LIMIT $1",
    )
    .bind(i64::from(limit.min(MOST_LISTED)))
    .fetch_all(reader)
    .await
    .map_err(while_trying("list operations"))?;
    rows.iter().map(operation_of).collect()
}

fn operation_of(row: &SqliteRow) -> Result<Operation> {
    let columns = Columns::of(row, "operation", &["id"]);
    Ok(Operation {
        id: columns.text("id")?,
        kind: columns.text("kind")?,
        model: columns.optional_text("model")?,
        version: columns.optional_version("version")?,
        state: columns.word("state")?,
        progress: columns.text("progress")?,
        result: columns.optional_json("result")?,
        error: columns.optional_text("error")?,
        created_at: columns.count("created_at")?,
        updated_at: columns.count("updated_at")?,
        created_by: columns.text("created_by")?,
    })
}
