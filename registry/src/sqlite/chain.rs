//! The chain over the events: its last link, and the proof of all of them.

use sqlx::sqlite::SqliteRow;
use sqlx::{SqliteConnection, SqlitePool};
use weighbridge_config::Digest;

use super::errors::while_trying;
use super::row::{Columns, stored};
use crate::chain::{BrokenLink, ChainReport, EventText, origin};
use crate::error::{Error, Result};
use crate::model::Revision;

/// Events read at once.
const PAGE: i64 = 500;

/// The link of the last event, whether it is stored or not. An event without a stored link was
/// written by the release before; its link rests on the last stored one.
pub(super) async fn last_link(connection: &mut SqliteConnection) -> Result<Digest> {
    let row = sqlx::query(
        "SELECT sequence, hash FROM events WHERE hash IS NOT NULL
         ORDER BY sequence DESC LIMIT 1",
    )
    .fetch_optional(&mut *connection)
    .await
    .map_err(while_trying("read the last link of the events"))?;
    let (mut link, mut after) = match &row {
        Some(row) => {
            let columns = Columns::of(row, "event", &["sequence"]);
            (columns.parsed("hash")?, columns.count("sequence")?)
        }
        None => (origin(), 0),
    };
    loop {
        let rows = page(&mut *connection, after).await?;
        for row in &rows {
            let event = ChainedRow::of(row)?;
            link = event.text().link_after(&link)?;
            after = event.sequence;
        }
        if rows.is_empty() {
            return Ok(link);
        }
    }
}

/// Recomputes all links, in one transaction.
pub(super) async fn verify(reader: &SqlitePool) -> Result<ChainReport> {
    let mut transaction = reader.begin().await.map_err(while_trying("begin a proof"))?;
    let mut report = ChainReport {
        first: None,
        last: None,
        hash: None,
        events: 0,
        uncovered: 0,
        broken_at: None,
    };
    let (mut link, mut after) = (origin(), 0);
    loop {
        let rows = page(&mut transaction, after).await?;
        for row in &rows {
            let event = match ChainedRow::of(row) {
                Ok(event) => event,
                Err(Error::Corrupt { what, .. }) => {
                    let reason = format!("{what} was altered: it cannot be read");
                    report.broken_at = Some(BrokenLink { sequence: after + 1, reason });
                    return Ok(report);
                }
                Err(other) => return Err(other),
            };
            if event.sequence != after + 1 {
                let (from, to) = (after + 1, event.sequence - 1);
                report.broken_at = Some(missing(event.sequence, from, to));
                return Ok(report);
            }
            link = event.text().link_after(&link)?;
            report.uncovered += 1;
            match event.hash.as_deref() {
                Some(stored) if stored == link.to_string() => {
                    report.first = report.first.or(Some(event.sequence));
                    report.last = Some(event.sequence);
                    report.hash = Some(link);
                    report.events += report.uncovered;
                    report.uncovered = 0;
                }
                Some(_) => {
                    report.broken_at = Some(altered(event.sequence, report.uncovered));
                    return Ok(report);
                }
                None => {}
            }
            after = event.sequence;
        }
        if rows.is_empty() {
            break;
        }
    }
    let known = newest_revision(&mut transaction).await?;
    if known > after {
        report.broken_at = Some(missing(known, after + 1, known));
    }
    Ok(report)
}

fn missing(sequence: Revision, from: Revision, to: Revision) -> BrokenLink {
    let reason = match to - from {
        0 => format!("event {from} is missing"),
        _ => format!("the events {from} to {to} are missing"),
    };
    BrokenLink { sequence, reason }
}

/// `unproved`: how many events rest on this link, itself included.
fn altered(sequence: Revision, unproved: u64) -> BrokenLink {
    let reason = match unproved {
        0 | 1 => format!("event {sequence} or its link was altered"),
        _ => format!(
            "one of the events {} to {sequence} or a link of theirs was altered",
            sequence - (unproved - 1)
        ),
    };
    BrokenLink { sequence, reason }
}

/// The latest revision that any row names: there was an event with this sequence.
async fn newest_revision(connection: &mut SqliteConnection) -> Result<Revision> {
    let row = sqlx::query(
        "SELECT COALESCE(MAX(revision), 0) AS revision FROM (
             SELECT revision FROM models
             UNION ALL SELECT revision FROM rollouts
             UNION ALL SELECT revision FROM experiments)",
    )
    .fetch_one(connection)
    .await
    .map_err(while_trying("read the newest revision"))?;
    Columns::of(&row, "newest revision", &[]).count("revision")
}

async fn page(connection: &mut SqliteConnection, after: Revision) -> Result<Vec<SqliteRow>> {
    sqlx::query(
        "SELECT sequence, at, actor, actor_name, action, model, version, from_value, to_value,
                hash
         FROM events WHERE sequence > $1 ORDER BY sequence LIMIT $2",
    )
    .bind(stored(after))
    .bind(PAGE)
    .fetch_all(connection)
    .await
    .map_err(while_trying("read the chain of events"))
}

/// The columns that a link is computed from, read as they are: what spoils an event for
/// reading must still be found by the proof.
struct ChainedRow {
    sequence: Revision,
    at: u64,
    actor: String,
    actor_name: String,
    action: String,
    model: Option<String>,
    version: Option<u32>,
    from: Option<String>,
    to: Option<String>,
    hash: Option<String>,
}

impl ChainedRow {
    fn of(row: &SqliteRow) -> Result<Self> {
        let columns = Columns::of(row, "event", &["sequence"]);
        let version = columns.optional_count("version")?.map(u32::try_from).transpose();
        Ok(Self {
            sequence: columns.count("sequence")?,
            at: columns.count("at")?,
            actor: columns.text("actor")?,
            actor_name: columns.text("actor_name")?,
            action: columns.text("action")?,
            model: columns.optional_text("model")?,
            version: version.map_err(|e| columns.corrupt("version", e))?,
            from: columns.optional_text("from_value")?,
            to: columns.optional_text("to_value")?,
            hash: columns.optional_text("hash")?,
        })
    }

    fn text(&self) -> EventText<'_> {
        EventText {
            sequence: self.sequence,
            at: self.at,
            actor: &self.actor,
            actor_name: &self.actor_name,
            action: &self.action,
            model: self.model.as_deref(),
            version: self.version,
            from: self.from.as_deref(),
            to: self.to.as_deref(),
        }
    }
}
