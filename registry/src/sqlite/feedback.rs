//! What is reported back about requests and units.

use sqlx::{SqliteConnection, SqlitePool};

use super::errors::while_trying;
use super::exposures::require_bounded;
use super::row::{Columns, stored};
use crate::error::Result;
use crate::experiment::{FeedbackAbout, FeedbackOutcome, NewFeedback};
use crate::model::Millis;

pub(super) async fn take(
    writer: &SqlitePool,
    batch: &[NewFeedback],
    at: Millis,
) -> Result<Vec<FeedbackOutcome>> {
    require_bounded("pieces of feedback", batch.len())?;
    let attempt = || while_trying("take feedback");
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await.map_err(attempt())?;
    let mut outcomes = Vec::with_capacity(batch.len());
    for item in batch {
        outcomes.push(take_one(&mut transaction, item, at).await?);
    }
    transaction.commit().await.map_err(attempt())?;
    Ok(outcomes)
}

async fn take_one(
    connection: &mut SqliteConnection,
    item: &NewFeedback,
    taken_at: Millis,
) -> Result<FeedbackOutcome> {
    if !item.value.is_finite() {
        return Ok(FeedbackOutcome::NotFinite);
    }
    let target = match &item.about {
        FeedbackAbout::Request(request) => of_request(connection, item, request).await?,
        FeedbackAbout::Unit(unit) => of_unit(connection, item, unit).await?,
    };
    let target = match target {
        Ok(target) => target,
        Err(outcome) => return Ok(outcome),
    };
    if let Some(key) = &item.idempotency_key
        && let Some(earlier) = with_key(connection, &target.experiment, key).await?
    {
        let is_same = earlier == (target.unit, item.metric.clone(), item.value);
        return Ok(if is_same { FeedbackOutcome::Repeated } else { FeedbackOutcome::KeyReused });
    }
    sqlx::query(
        "INSERT INTO feedback (experiment, unit, metric, value, at, taken_at, idempotency_key)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(target.experiment.as_str())
    .bind(target.unit.as_str())
    .bind(item.metric.as_str())
    .bind(item.value)
    .bind(stored(target.at))
    .bind(stored(taken_at))
    .bind(item.idempotency_key.as_deref())
    .execute(connection)
    .await
    .map_err(while_trying("take feedback"))?;
    Ok(FeedbackOutcome::Recorded { experiment: target.experiment })
}

/// What feedback is about, or why it counts for nothing.
type Found = std::result::Result<Target, FeedbackOutcome>;

/// What a piece of feedback counts for.
struct Target {
    experiment: String,
    unit: String,
    at: Millis,
}

async fn of_request(
    connection: &mut SqliteConnection,
    item: &NewFeedback,
    request: &str,
) -> Result<Found> {
    let row = sqlx::query(
        "SELECT r.experiment, r.unit, x.first_seen_at
         FROM request_units r
         JOIN experiments e ON e.id = r.experiment
         LEFT JOIN exposures x ON x.experiment = r.experiment AND x.unit = r.unit
         WHERE r.request = $1 AND e.model = $2
         ORDER BY e.started_revision DESC LIMIT 1",
    )
    .bind(request)
    .bind(item.model.as_str())
    .fetch_optional(connection)
    .await
    .map_err(while_trying("look up the request of feedback"))?;
    let Some(row) = row else {
        return Ok(Err(FeedbackOutcome::UnknownRequest));
    };
    let columns = Columns::of(&row, "request", &["experiment", "unit"]);
    let (experiment, unit) = (columns.text("experiment")?, columns.text("unit")?);
    let Some(first_seen_at) = columns.optional_count("first_seen_at")? else {
        return Ok(Err(FeedbackOutcome::UnknownUnit));
    };
    // It tells of an answer that the unit got once it was exposed: an earlier time is the
    // doing of another clock.
    Ok(Ok(Target { experiment, unit, at: item.at.max(first_seen_at) }))
}

async fn of_unit(
    connection: &mut SqliteConnection,
    item: &NewFeedback,
    unit: &str,
) -> Result<Found> {
    let row = sqlx::query(
        "SELECT x.experiment, x.unit, x.first_seen_at
         FROM experiments e
         JOIN exposures x ON x.experiment = e.id AND x.unit = $1
         WHERE e.model = $2
         ORDER BY (x.first_seen_at <= $3) DESC, e.started_revision DESC LIMIT 1",
    )
    .bind(unit)
    .bind(item.model.as_str())
    .bind(stored(item.at))
    .fetch_optional(connection)
    .await
    .map_err(while_trying("look up the unit of feedback"))?;
    let Some(row) = row else {
        return Ok(Err(FeedbackOutcome::UnknownUnit));
    };
    let columns = Columns::of(&row, "exposure", &["experiment", "unit"]);
    if columns.count("first_seen_at")? > item.at {
        return Ok(Err(FeedbackOutcome::BeforeExposure));
    }
    let experiment = columns.text("experiment")?;
    Ok(Ok(Target { experiment, unit: unit.to_owned(), at: item.at }))
}

/// The unit, metric and value that came before under this key.
async fn with_key(
    connection: &mut SqliteConnection,
    experiment: &str,
    key: &str,
) -> Result<Option<(String, String, f64)>> {
    let row = sqlx::query(
        "SELECT id, unit, metric, value FROM feedback
         WHERE experiment = $1 AND idempotency_key = $2",
    )
    .bind(experiment)
    .bind(key)
    .fetch_optional(connection)
    .await
    .map_err(while_trying("look up the key of feedback"))?;
    let Some(row) = row else {
        return Ok(None);
    };
    let columns = Columns::of(&row, "feedback", &["id"]);
    Ok(Some((columns.text("unit")?, columns.text("metric")?, columns.real("value")?)))
}
