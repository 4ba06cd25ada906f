//! Whether rollouts may move forward by themselves.

use serde_json::json;
use sqlx::SqliteConnection;

use super::change::Change;
use super::errors::while_trying;
use super::events::NewEvent;
use super::row::{Columns, stored};
use crate::error::Result;
use crate::event::action;

pub(super) async fn is_set(connection: &mut SqliteConnection) -> Result<bool> {
    let row = sqlx::query("SELECT frozen FROM rollout_freeze WHERE id = 1")
        .fetch_one(connection)
        .await
        .map_err(while_trying("read whether rollouts are frozen"))?;
    Ok(Columns::of(&row, "freeze", &[]).count("frozen")? != 0)
}

pub(super) async fn set(
    mut change: Change<'_>,
    frozen: bool,
    reason: Option<String>,
) -> Result<()> {
    if is_set(change.connection()).await? == frozen {
        return Ok(());
    }
    let (at, actor) = (stored(change.at), change.actor);
    sqlx::query(
        "UPDATE rollout_freeze SET frozen = $1, reason = $2, set_at = $3, set_by = $4
         WHERE id = 1",
    )
    .bind(frozen)
    .bind(reason.as_deref())
    .bind(at)
    .bind(actor.id.as_str())
    .execute(change.connection())
    .await
    .map_err(while_trying("freeze rollouts, or let them go on"))?;
    let action = if frozen { action::ROLLOUTS_FROZEN } else { action::ROLLOUTS_UNFROZEN };
    let event = NewEvent::of(action)
        .from(json!({ "frozen": !frozen }))
        .to(json!({ "frozen": frozen, "reason": reason }));
    change.commit(event).await
}
