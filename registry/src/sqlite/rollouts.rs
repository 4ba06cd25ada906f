//! Rollouts: one row each, moved together with the route and the event.

use serde_json::{Value, json};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, Sqlite, SqliteConnection, SqlitePool};
use weighbridge_config::rollout::Percent;
use weighbridge_config::{ModelName, Version};

use super::change::Change;
use super::errors::while_trying;
use super::events::{self, NewEvent};
use super::row::{Columns, json_text, stored, word_text};
use super::{evidence, freeze, models, routes};
use crate::error::{Error, Result};
use crate::event::Event;
use crate::model::{Model, Revision};
use crate::registry::MOST_LISTED;
use crate::rollout::{IfRollout, MoveRecord, NewRollout, Phase, Rollout, RolloutMove, Standing};
use crate::transitions::NextRoute;
use crate::transitions::rollouts::{self as rules, Earlier, Moved};

/// The columns of rollouts, and which of them.
macro_rules! rollouts {
    ($which:literal) => {
        concat!(
            "SELECT id, model, number, attempt, from_version, to_version, spec, phase, step,
                    outcome, standing, held_reason, approved, revision, started_at, started_by,
                    step_since, ended_at, reason, verdict, base_route, undo_until
             FROM rollouts ",
            $which
        )
    };
}

/// The latest rollout of the present life of each model: the active one where there is one,
/// since a second cannot start before it has ended.
pub(super) async fn latest(
    connection: &mut SqliteConnection,
    only: Option<&ModelName>,
) -> Result<Vec<Rollout>> {
    let rows = sqlx::query(rollouts!(
        "WHERE (CAST($1 AS TEXT) IS NULL OR model = $1)
               AND base_route > (SELECT m.routes_before FROM models m
                                 WHERE m.name = rollouts.model AND m.deleted_at IS NULL)
               AND number = (SELECT MAX(newest.number) FROM rollouts newest
                             WHERE newest.model = rollouts.model)"
    ))
    .bind(only.map(ModelName::as_str))
    .fetch_all(connection)
    .await
    .map_err(while_trying("read rollouts"))?;
    rows.iter().map(rollout_of).collect()
}

pub(super) async fn read<'c>(
    database: impl sqlx::Executor<'c, Database = Sqlite>,
    id: &str,
) -> Result<Rollout> {
    let row = sqlx::query(rollouts!("WHERE id = $1"))
        .bind(id)
        .fetch_optional(database)
        .await
        .map_err(while_trying(format!("read the rollout {id}")))?;
    match row {
        Some(row) => rollout_of(&row),
        None => Err(Error::not_found(format!("rollout {id}"))),
    }
}

pub(super) async fn list(
    reader: &SqlitePool,
    model: &ModelName,
    limit: u32,
) -> Result<Vec<Rollout>> {
    // An unknown model is an error, one without a rollout is an empty list.
    models::read(reader, model).await?;
    let rows = sqlx::query(rollouts!("WHERE model = $1 ORDER BY number DESC LIMIT $2"))
        .bind(model.as_str())
        .bind(i64::from(limit.min(MOST_LISTED)))
        .fetch_all(reader)
        .await
        .map_err(while_trying(format!("list the rollouts of {model}")))?;
    rows.iter().map(rollout_of).collect()
}

pub(super) async fn active(reader: &SqlitePool) -> Result<Vec<Rollout>> {
    let rows = sqlx::query(rollouts!("WHERE ended_at IS NULL ORDER BY model"))
        .fetch_all(reader)
        .await
        .map_err(while_trying("list the active rollouts"))?;
    rows.iter().map(rollout_of).collect()
}

pub(super) async fn events_of(reader: &SqlitePool, id: &str) -> Result<Vec<Event>> {
    let rollout = read(reader, id).await?;
    events::of_rollout(reader, &rollout.model, id).await
}

fn rollout_of(row: &SqliteRow) -> Result<Rollout> {
    let columns = Columns::of(row, "rollout", &["id"]);
    Ok(Rollout {
        id: columns.text("id")?,
        model: columns.parsed("model")?,
        number: columns.count("number")?,
        attempt: columns.small("attempt")?,
        from: columns.version("from_version")?,
        to: columns.version("to_version")?,
        spec: columns.json("spec")?,
        phase: phase_of(&columns)?,
        standing: standing_of(&columns)?,
        approved: columns.count("approved")? != 0,
        revision: columns.count("revision")?,
        started_at: columns.count("started_at")?,
        started_by: columns.text("started_by")?,
        step_since: columns.count("step_since")?,
        ended_at: columns.optional_count("ended_at")?,
        reason: columns.optional_text("reason")?,
        verdict: columns.optional_json("verdict")?,
        base_route: columns.count("base_route")?,
        undo_until: columns.optional_count("undo_until")?,
    })
}

fn phase_of(columns: &Columns<'_>) -> Result<Phase> {
    let shown = json!({
        "phase": columns.text("phase")?,
        "step": columns.optional_count("step")?,
        "outcome": columns.optional_text("outcome")?,
    });
    serde_json::from_value(shown).map_err(|e| columns.corrupt("phase", e))
}

fn standing_of(columns: &Columns<'_>) -> Result<Standing> {
    let reason = columns.optional_text("held_reason")?.unwrap_or_default();
    let shown = json!({ "standing": columns.text("standing")?, "held_reason": reason });
    serde_json::from_value(shown).map_err(|e| columns.corrupt("standing", e))
}

pub(super) async fn start(
    mut change: Change<'_>,
    model: &ModelName,
    new: NewRollout,
    expected: Option<Revision>,
) -> Result<Model> {
    let current = change.model(model, expected).await?;
    let from = rules::may_start(&current, &new)?.split.stable();
    let earlier = earlier(&mut change, model, &new, from).await?;
    let moved = rules::start(&current, new, earlier, &change.moment())?;
    insert(&mut change, &moved.rollout).await?;
    keep(change, current, moved, None).await
}

/// What the model's name has seen of rollouts.
async fn earlier(
    change: &mut Change<'_>,
    model: &ModelName,
    new: &NewRollout,
    from: Version,
) -> Result<Earlier> {
    let attempt = || while_trying(format!("read the earlier rollouts of {model}"));
    let row = sqlx::query(
        "SELECT COALESCE(MAX(number), 0) AS highest_number,
                COUNT(CASE WHEN from_version = $2 AND to_version = $3 THEN 1 END) AS attempts,
                EXISTS (SELECT 1 FROM rollouts WHERE id = $4) AS id_is_taken
         FROM rollouts WHERE model = $1",
    )
    .bind(model.as_str())
    .bind(i64::from(from.get()))
    .bind(i64::from(new.to.get()))
    .bind(new.id.as_str())
    .fetch_one(change.connection())
    .await
    .map_err(attempt())?;
    let columns = Columns::of(&row, "rollouts", &[]);
    Ok(Earlier {
        highest_number: columns.count("highest_number")?,
        attempts: columns.small("attempts")?,
        id_is_taken: row.try_get("id_is_taken").map_err(attempt())?,
    })
}

pub(super) async fn make_move(
    mut change: Change<'_>,
    model: &ModelName,
    step: &RolloutMove,
    expected: Option<Revision>,
    record: MoveRecord,
) -> Result<Model> {
    let current = change.model(model, None).await?;
    let before = rules::existing_rollout(&current)?;
    if let Some(expected) = expected.filter(|expected| *expected != before.revision) {
        let found = before.revision;
        return Err(Error::Conflict { model: model.clone(), expected, found });
    }
    let frozen = freeze::is_set(change.connection()).await?;
    match rules::make_move(&current, step, &record, frozen, &change.moment())? {
        Some(moved) => {
            update(&mut change, &moved.rollout, moved.route.is_some()).await?;
            keep(change, current, moved, record.evidence).await
        }
        None => Ok(current),
    }
}

/// Ends the active rollout, if there is one, because the route becomes `next` (or stays as it
/// is); gives the change back when there is none.
pub(super) async fn end_for_route<'a>(
    mut change: Change<'a>,
    current: &Model,
    if_rollout: IfRollout,
    next: Option<&NextRoute>,
) -> Result<std::result::Result<Model, Change<'a>>> {
    let Some(ended) = rules::end_for_route(current, if_rollout, &change.moment())? else {
        return Ok(Err(change));
    };
    let moved = Moved { route: next.cloned(), ..ended };
    update(&mut change, &moved.rollout, moved.route.is_some()).await?;
    keep(change, current.clone(), moved, None).await.map(Ok)
}

/// Ends the active rollout of a model that is being deleted, as part of that change.
pub(super) async fn end_for_deletion(change: &mut Change<'_>, current: &Model) -> Result<()> {
    match rules::end_for_route(current, IfRollout::End, &change.moment())? {
        Some(ended) => update(change, &ended.rollout, false).await,
        None => Ok(()),
    }
}

/// Completes a move whose rollout row is written: evidence, route, event.
async fn keep(
    mut change: Change<'_>,
    current: Model,
    moved: Moved,
    evidence: Option<Value>,
) -> Result<Model> {
    let Moved { rollout, route, action } = moved;
    if let Some(evidence) = &evidence {
        evidence::replace(&mut change, &rollout, evidence).await?;
    }
    if let Some(next) = &route {
        routes::insert(&mut change, &rollout.model, next).await?;
    }
    change.bump(&current).await?;
    let after = change.model(&rollout.model, None).await?;
    let mut to = for_event(&rollout, &after);
    to["evidence"] = evidence.unwrap_or(Value::Null);
    to["reason"] = json!(rollout.reason);
    if route.is_some() {
        to["route"] = json!(after.route.as_ref().map(routes::for_event));
    }
    let before = current.rollout.as_ref().filter(|before| before.id == rollout.id);
    let event = NewEvent::of(action)
        .about(&rollout.model)
        .version(rollout.to)
        .from(before.map(|before| state_for_event(before, &current)))
        .to(to);
    change.commit(event).await?;
    Ok(after)
}

async fn insert(change: &mut Change<'_>, rollout: &Rollout) -> Result<()> {
    sqlx::query(
        "INSERT INTO rollouts
             (id, model, number, attempt, from_version, to_version, spec, started_at,
              started_by, base_route, phase, standing, approved, revision, step_since, route)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, '', '', 0, 0, 0, $10)",
    )
    .bind(rollout.id.as_str())
    .bind(rollout.model.as_str())
    .bind(stored(rollout.number))
    .bind(i64::from(rollout.attempt))
    .bind(i64::from(rollout.from.get()))
    .bind(i64::from(rollout.to.get()))
    .bind(json_text("a rollout's spec", &rollout.spec)?)
    .bind(stored(rollout.started_at))
    .bind(rollout.started_by.as_str())
    .bind(stored(rollout.base_route))
    .execute(change.connection())
    .await
    .map_err(while_trying(format!("start a rollout of {}", rollout.model)))?;
    let sets_route = rollout.phase != Phase::Shadow;
    update(change, rollout, sets_route).await
}

/// Writes what moves change. A route that the move sets is named in the row before it is
/// appended: a route that is not named there ends the rollout (see the migration).
async fn update(change: &mut Change<'_>, rollout: &Rollout, sets_route: bool) -> Result<()> {
    let verdict = rollout.verdict.as_ref();
    let (step, outcome) = match rollout.phase {
        Phase::Shadow => (None, None),
        Phase::Live { step } => (Some(step), None),
        Phase::Ended { outcome } => (None, Some(outcome)),
    };
    let held_reason = match &rollout.standing {
        Standing::Held { reason } => Some(reason.as_str()),
        Standing::Running | Standing::Paused | Standing::WaitsForApproval => None,
    };
    let next_route = match sets_route {
        true => Some(routes::next_sequence(change, &rollout.model).await?),
        false => None,
    };
    sqlx::query(
        "UPDATE rollouts
         SET phase = $2, step = $3, outcome = $4, standing = $5, held_reason = $6,
             approved = $7, revision = $8, step_since = $9, ended_at = $10, reason = $11,
             verdict = $12, undo_until = $13, route = COALESCE($14, route)
         WHERE id = $1",
    )
    .bind(rollout.id.as_str())
    .bind(phase_word(rollout.phase))
    .bind(step.map(|step| stored(step as u64)))
    .bind(outcome.map(|outcome| word_text("an outcome", &outcome)).transpose()?)
    .bind(rollout.standing.word())
    .bind(held_reason)
    .bind(rollout.approved)
    .bind(stored(rollout.revision))
    .bind(stored(rollout.step_since))
    .bind(rollout.ended_at.map(stored))
    .bind(rollout.reason.as_deref())
    .bind(verdict.map(|v| json_text("a verdict", v)).transpose()?)
    .bind(rollout.undo_until.map(stored))
    .bind(next_route.map(stored))
    .execute(change.connection())
    .await
    .map_err(while_trying(format!("move the rollout {}", rollout.id)))?;
    Ok(())
}

fn phase_word(phase: Phase) -> &'static str {
    match phase {
        Phase::Shadow => "shadow",
        Phase::Live { .. } => "live",
        Phase::Ended { .. } => "ended",
    }
}

/// What the event of a move shows of the rollout after it.
fn for_event(rollout: &Rollout, model: &Model) -> Value {
    let mut shown = state_for_event(rollout, model);
    shown["rollout"] = json!(rollout.id);
    shown["number"] = json!(rollout.number);
    shown["attempt"] = json!(rollout.attempt);
    shown["from"] = json!(rollout.from);
    shown["to"] = json!(rollout.to);
    shown["verdict"] = json!(rollout.verdict);
    shown
}

/// Phase, standing and the canary's weight in percent.
fn state_for_event(rollout: &Rollout, model: &Model) -> Value {
    let mut shown = json!({ "weight": Percent::points(model.share_of(rollout.to)) });
    for part in [json!(rollout.phase), json!(rollout.standing)] {
        if let (Value::Object(shown), Value::Object(part)) = (&mut shown, part) {
            shown.extend(part);
        }
    }
    shown
}
