//! Which units an experiment has shown what, and which requests were theirs.

use std::collections::BTreeSet;

use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Sqlite, SqliteConnection, SqlitePool};

use super::errors::while_trying;
use super::experiments;
use super::row::{Columns, stored};
use crate::error::{Error, Result};
use crate::experiment::{Exposure, Recorded, RequestUnit, UnitQuery, UnitSum};
use crate::model::Millis;
use crate::registry::{MOST_IN_BATCH, MOST_UNITS};

/// Rows of one statement: well below SQLite's limit on bound values.
const ROWS: usize = 500;

pub(super) async fn record(writer: &SqlitePool, batch: &[Exposure]) -> Result<Recorded> {
    require_bounded("exposures", batch.len())?;
    for exposure in batch {
        // Not a number is in no range.
        if !(exposure.share > 0.0 && exposure.share <= 1.0) {
            return Err(Error::Illegal(format!(
                "the exposure of unit {} cannot be recorded: its share is {}, wanted more than \
                 0 and at most 1",
                exposure.unit, exposure.share
            )));
        }
    }
    let attempt = || while_trying("record exposures");
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await.map_err(attempt())?;
    let known = known_experiments(&mut transaction).await?;
    let (rows, unknown): (Vec<_>, Vec<_>) =
        batch.iter().partition(|exposure| known.contains(&exposure.experiment));
    let mut recorded = Recorded { unknown: unknown.len() as u64, ..Recorded::default() };
    for rows in rows.chunks(ROWS) {
        let mut query = QueryBuilder::<Sqlite>::new(
            "INSERT INTO exposures (experiment, unit, variant, share, epoch, first_seen_at) ",
        );
        query.push_values(rows, |mut row, exposure| {
            row.push_bind(exposure.experiment.as_str())
                .push_bind(exposure.unit.as_str())
                .push_bind(exposure.variant.as_str())
                .push_bind(exposure.share)
                .push_bind(stored(exposure.epoch))
                .push_bind(stored(exposure.at));
        });
        query.push(" ON CONFLICT (experiment, unit) DO NOTHING");
        let done = query.build().execute(&mut *transaction).await.map_err(attempt())?;
        recorded.count(rows.len(), done.rows_affected());
    }
    transaction.commit().await.map_err(attempt())?;
    Ok(recorded)
}

pub(super) async fn record_requests(
    writer: &SqlitePool,
    batch: &[RequestUnit],
) -> Result<Recorded> {
    require_bounded("requests", batch.len())?;
    let attempt = || while_trying("record requests of experiments");
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await.map_err(attempt())?;
    let known = known_experiments(&mut transaction).await?;
    let (rows, unknown): (Vec<_>, Vec<_>) =
        batch.iter().partition(|request| known.contains(&request.experiment));
    let mut recorded = Recorded { unknown: unknown.len() as u64, ..Recorded::default() };
    for rows in rows.chunks(ROWS) {
        let mut query = QueryBuilder::<Sqlite>::new(
            "INSERT INTO request_units (request, experiment, unit, at) ",
        );
        query.push_values(rows, |mut row, request| {
            row.push_bind(request.request.as_str())
                .push_bind(request.experiment.as_str())
                .push_bind(request.unit.as_str())
                .push_bind(stored(request.at));
        });
        // A client that uses an id again must not move feedback from one unit to another.
        query.push(" ON CONFLICT (request, experiment) DO NOTHING");
        let done = query.build().execute(&mut *transaction).await.map_err(attempt())?;
        recorded.count(rows.len(), done.rows_affected());
    }
    transaction.commit().await.map_err(attempt())?;
    Ok(recorded)
}

impl Recorded {
    /// Adds a statement that was given `rows` and wrote `new` of them.
    fn count(&mut self, rows: usize, new: u64) {
        self.new += new;
        self.known += (rows as u64).saturating_sub(new);
    }
}

/// Refuses a batch that would hold up all other changes.
pub(super) fn require_bounded(what: &str, length: usize) -> Result<()> {
    if length <= MOST_IN_BATCH {
        return Ok(());
    }
    Err(Error::Illegal(format!("{length} {what} came at once: at most {MOST_IN_BATCH} are taken")))
}

async fn known_experiments(connection: &mut SqliteConnection) -> Result<BTreeSet<String>> {
    let rows = sqlx::query("SELECT id FROM experiments")
        .fetch_all(connection)
        .await
        .map_err(while_trying("read the ids of experiments"))?;
    rows.iter().map(|row| Columns::of(row, "experiment", &["id"]).text("id")).collect()
}

/// Rows that are deleted in one go: others write in between.
const FORGOTTEN_AT_ONCE: i64 = 5000;

pub(super) async fn forget_requests(writer: &SqlitePool, before: Millis) -> Result<u64> {
    let mut forgotten = 0;
    loop {
        let done = sqlx::query(
            "DELETE FROM request_units WHERE (request, experiment) IN
                (SELECT request, experiment FROM request_units WHERE at < $1 LIMIT $2)",
        )
        .bind(stored(before))
        .bind(FORGOTTEN_AT_ONCE)
        .execute(writer)
        .await
        .map_err(while_trying("forget requests of experiments"))?;
        forgotten += done.rows_affected();
        if done.rows_affected() < FORGOTTEN_AT_ONCE.unsigned_abs() {
            return Ok(forgotten);
        }
    }
}

pub(super) async fn units(reader: &SqlitePool, query: &UnitQuery) -> Result<Vec<UnitSum>> {
    // An unknown experiment is an error, one without units is an empty page.
    experiments::read(reader, &query.experiment).await?;
    let rows = sqlx::query(
        "SELECT x.experiment, x.unit, x.variant, x.share, x.epoch, x.first_seen_at,
                COUNT(f.id) AS count, COALESCE(SUM(f.value), 0.0) AS sum
         FROM (SELECT experiment, unit, variant, share, epoch, first_seen_at FROM exposures
               WHERE experiment = $1 AND (CAST($3 AS TEXT) IS NULL OR unit > $3)
               ORDER BY unit LIMIT $4) x
         LEFT JOIN feedback f
             ON f.experiment = x.experiment AND f.metric = $2 AND f.unit = x.unit
            AND (CAST($5 AS INTEGER) IS NULL OR f.at - x.first_seen_at <= $5)
         GROUP BY x.experiment, x.unit, x.variant, x.share, x.epoch, x.first_seen_at
         ORDER BY x.unit",
    )
    .bind(query.experiment.as_str())
    .bind(query.metric.as_str())
    .bind(query.after.as_deref())
    .bind(i64::from(query.limit.min(MOST_UNITS)))
    .bind(query.within.map(stored))
    .fetch_all(reader)
    .await
    .map_err(while_trying(format!("read the units of the experiment {}", query.experiment)))?;
    rows.iter().map(unit_of).collect()
}

fn unit_of(row: &SqliteRow) -> Result<UnitSum> {
    let columns = Columns::of(row, "unit", &["experiment", "unit"]);
    Ok(UnitSum {
        unit: columns.text("unit")?,
        variant: columns.text("variant")?,
        share: columns.real("share")?,
        epoch: columns.count("epoch")?,
        first_seen_at: columns.count("first_seen_at")?,
        count: columns.count("count")?,
        sum: columns.real("sum")?,
    })
}
