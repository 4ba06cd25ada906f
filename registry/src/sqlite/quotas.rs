//! What tenants have used of their daily quotas.

use sqlx::{QueryBuilder, Sqlite, SqlitePool};

use super::errors::while_trying;
use super::row::{Columns, stored};
use crate::error::{Error, Result};
use crate::key::QuotaUse;
use crate::registry::MOST_IN_BATCH;

/// Rows of one statement: well below SQLite's limit on bound values.
const ROWS: usize = 500;
/// Days that are kept: today, and those that a clock somewhat behind still counts on.
const DAYS_KEPT: u64 = 7;

pub(super) async fn add(writer: &SqlitePool, day: u64, used: &[QuotaUse]) -> Result<()> {
    if used.len() > MOST_IN_BATCH {
        return Err(Error::Illegal(format!(
            "the use of {} tenants cannot be recorded at once, wanted at most {MOST_IN_BATCH}",
            used.len()
        )));
    }
    let attempt = || while_trying("record the use of quotas");
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await.map_err(attempt())?;
    for rows in used.chunks(ROWS) {
        let mut query =
            QueryBuilder::<Sqlite>::new("INSERT INTO quota_use (day, tenant, requests, \"rows\") ");
        query.push_values(rows, |mut row, used| {
            row.push_bind(stored(day))
                .push_bind(used.tenant.as_str())
                .push_bind(stored(used.requests))
                .push_bind(stored(used.rows));
        });
        query.push(
            " ON CONFLICT (day, tenant) DO UPDATE
               SET requests = requests + excluded.requests, \"rows\" = \"rows\" + excluded.\"rows\"",
        );
        query.build().execute(&mut *transaction).await.map_err(attempt())?;
    }
    sqlx::query("DELETE FROM quota_use WHERE day < $1")
        .bind(stored(day.saturating_sub(DAYS_KEPT)))
        .execute(&mut *transaction)
        .await
        .map_err(attempt())?;
    transaction.commit().await.map_err(attempt())
}

pub(super) async fn of_day(reader: &SqlitePool, day: u64) -> Result<Vec<QuotaUse>> {
    let rows = sqlx::query("SELECT day, tenant, requests, \"rows\" FROM quota_use WHERE day = $1")
        .bind(stored(day))
        .fetch_all(reader)
        .await
        .map_err(while_trying("read the use of quotas"))?;
    let used = rows.iter().map(|row| {
        let columns = Columns::of(row, "quota", &["day", "tenant"]);
        Ok(QuotaUse {
            tenant: columns.text("tenant")?,
            requests: columns.count("requests")?,
            rows: columns.count("rows")?,
        })
    });
    used.collect()
}
