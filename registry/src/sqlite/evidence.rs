//! The evidence of rollouts: one row each, written over, and no part of any event but those
//! of the moves that rest on it.

use serde_json::Value;
use sqlx::SqlitePool;
use weighbridge_config::ModelName;

use super::change::Change;
use super::errors::while_trying;
use super::row::{Columns, json_text, stored};
use crate::error::Result;
use crate::model::{Millis, Revision};
use crate::rollout::Rollout;

pub(super) async fn put(
    writer: &SqlitePool,
    model: &ModelName,
    rollout: &str,
    revision: Revision,
    evidence: &Value,
    at: Millis,
) -> Result<bool> {
    // One statement: whether the rollout still stands there is asked and answered in one.
    let put = sqlx::query(
        "INSERT INTO rollout_evidence (rollout, revision, evidence, put_at)
         SELECT id, revision, $4, $5 FROM rollouts
         WHERE id = $1 AND model = $2 AND revision = $3 AND ended_at IS NULL
         ON CONFLICT (rollout) DO UPDATE SET
             revision = excluded.revision, evidence = excluded.evidence,
             put_at = excluded.put_at",
    )
    .bind(rollout)
    .bind(model.as_str())
    .bind(stored(revision))
    .bind(json_text("evidence", evidence)?)
    .bind(stored(at))
    .execute(writer)
    .await
    .map_err(while_trying(format!("put the evidence of the rollout {rollout}")))?;
    Ok(put.rows_affected() > 0)
}

/// Replaces the evidence as part of a move.
pub(super) async fn replace(
    change: &mut Change<'_>,
    rollout: &Rollout,
    evidence: &Value,
) -> Result<()> {
    let at = stored(change.at);
    sqlx::query(
        "INSERT INTO rollout_evidence (rollout, revision, evidence, put_at)
         VALUES ($1, $2, $3, $4)
         ON CONFLICT (rollout) DO UPDATE SET
             revision = excluded.revision, evidence = excluded.evidence,
             put_at = excluded.put_at",
    )
    .bind(rollout.id.as_str())
    .bind(stored(rollout.revision))
    .bind(json_text("evidence", evidence)?)
    .bind(at)
    .execute(change.connection())
    .await
    .map_err(while_trying(format!("put the evidence of the rollout {}", rollout.id)))?;
    Ok(())
}

pub(super) async fn read(reader: &SqlitePool, rollout: &str) -> Result<Option<(Revision, Value)>> {
    let row =
        sqlx::query("SELECT rollout, revision, evidence FROM rollout_evidence WHERE rollout = $1")
            .bind(rollout)
            .fetch_optional(reader)
            .await
            .map_err(while_trying(format!("read the evidence of the rollout {rollout}")))?;
    let Some(row) = row else {
        return Ok(None);
    };
    let columns = Columns::of(&row, "evidence of the rollout", &["rollout"]);
    Ok(Some((columns.count("revision")?, columns.json("evidence")?)))
}
