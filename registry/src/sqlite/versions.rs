//! Versions: registered, checked, archived, deleted.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;
use weighbridge_config::{ModelName, Version};

use super::change::Change;
use super::errors::while_trying;
use super::events::NewEvent;
use super::models;
use super::row::{Columns, json_text, stored};
use crate::error::Result;
use crate::event::action;
use crate::model::Revision;
use crate::transitions::{self, Registration, named};
use crate::version::{CheckOutcome, NewVersion, Registered, VersionRecord, VersionState};

/// The versions of one model or of all that are not deleted, lowest number first.
pub(super) async fn live(
    connection: &mut SqliteConnection,
    only: Option<&ModelName>,
) -> Result<Vec<VersionRecord>> {
    let rows = sqlx::query(
        "SELECT model, version, digest, manifest, state, reason, report, info,
                created_at, created_by, checked_at
         FROM versions
         WHERE deleted_at IS NULL AND (CAST($1 AS TEXT) IS NULL OR model = $1)
         ORDER BY model, version",
    )
    .bind(only.map(ModelName::as_str))
    .fetch_all(connection)
    .await
    .map_err(while_trying("read versions"))?;
    rows.iter().map(record_of).collect()
}

fn record_of(row: &SqliteRow) -> Result<VersionRecord> {
    let columns = Columns::of(row, "version", &["model", "version"]);
    Ok(VersionRecord {
        model: columns.parsed("model")?,
        version: columns.version("version")?,
        digest: columns.parsed("digest")?,
        manifest: columns.json("manifest")?,
        state: state_of(&columns)?,
        report: columns.optional_json("report")?,
        info: columns.json("info")?,
        created_at: columns.count("created_at")?,
        created_by: columns.text("created_by")?,
        checked_at: columns.optional_count("checked_at")?,
    })
}

fn state_of(columns: &Columns<'_>) -> Result<VersionState> {
    let word = columns.text("state")?;
    let reason = columns.optional_text("reason")?.unwrap_or_default();
    serde_json::from_value(json!({ "state": word, "reason": reason }))
        .map_err(|e| columns.corrupt("state", e))
}

/// All numbers that the name has ever had, those of deleted versions and models included.
async fn used_numbers(
    connection: &mut SqliteConnection,
    model: &ModelName,
) -> Result<BTreeSet<Version>> {
    let rows = sqlx::query("SELECT model, version FROM versions WHERE model = $1")
        .bind(model.as_str())
        .fetch_all(connection)
        .await
        .map_err(while_trying(format!("read the numbers used by {model}")))?;
    let numbers = rows
        .iter()
        .map(|row| Columns::of(row, "version", &["model", "version"]).version("version"));
    numbers.collect()
}

pub(super) async fn register(mut change: Change<'_>, new: NewVersion) -> Result<Registered> {
    let model = models::find(change.connection(), &new.model).await?;
    let live = model.as_ref().map_or(&[][..], |m| &m.versions);
    let used = used_numbers(change.connection(), &new.model).await?;
    let (before, record) = match transitions::register(&new, live, &used)? {
        Registration::Existing(record) => {
            return Ok(Registered {
                record: record.clone(),
                is_new: false,
                needs_check: record.state == VersionState::Checking,
            });
        }
        Registration::Revived(record) => (Some(record), revive(&mut change, record, &new).await?),
        Registration::New(number) => {
            if model.is_none() {
                models::begin_life(&mut change, &new.model).await?;
            }
            (None, insert(&mut change, &new, number).await?)
        }
    };
    let event = NewEvent::of(action::VERSION_REGISTERED)
        .about(&new.model)
        .version(record.version)
        .from(before.map(for_event))
        .to(for_event(&record));
    change.commit(event).await?;
    Ok(Registered { record, is_new: before.is_none(), needs_check: true })
}

/// Writes a version that the model has not had.
async fn insert(
    change: &mut Change<'_>,
    new: &NewVersion,
    version: Version,
) -> Result<VersionRecord> {
    let record = VersionRecord {
        model: new.model.clone(),
        version,
        digest: new.manifest.digest(),
        manifest: new.manifest.clone(),
        state: VersionState::Checking,
        report: None,
        info: new.info.clone(),
        created_at: change.at,
        created_by: change.actor.id.clone(),
        checked_at: None,
    };
    sqlx::query(
        "INSERT INTO versions
             (model, version, digest, manifest, state, info, created_at, created_by)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(record.model.as_str())
    .bind(i64::from(version.get()))
    .bind(record.digest.to_string())
    .bind(json_text("a manifest", &record.manifest)?)
    .bind(record.state.word())
    .bind(json_text("a version's description", &record.info)?)
    .bind(stored(record.created_at))
    .bind(record.created_by.as_str())
    .execute(change.connection())
    .await
    .map_err(while_trying(format!("register {}", named(&new.model, version))))?;
    Ok(record)
}

/// Sends a rejected or archived version back to its check, described as in the new push.
async fn revive(
    change: &mut Change<'_>,
    record: &VersionRecord,
    new: &NewVersion,
) -> Result<VersionRecord> {
    let revived = VersionRecord {
        state: VersionState::Checking,
        report: None,
        checked_at: None,
        info: new.info.clone(),
        ..record.clone()
    };
    write(change, &revived).await?;
    Ok(revived)
}

/// Writes what may change of a version.
async fn write(change: &mut Change<'_>, record: &VersionRecord) -> Result<()> {
    let report = record.report.as_ref();
    sqlx::query(
        "UPDATE versions SET state = $1, reason = $2, report = $3, info = $4, checked_at = $5
         WHERE model = $6 AND version = $7 AND deleted_at IS NULL",
    )
    .bind(record.state.word())
    .bind(record.state.reason())
    .bind(report.map(|r| json_text("a report", r)).transpose()?)
    .bind(json_text("a version's description", &record.info)?)
    .bind(record.checked_at.map(stored))
    .bind(record.model.as_str())
    .bind(i64::from(record.version.get()))
    .execute(change.connection())
    .await
    .map_err(while_trying(format!("write {}", named(&record.model, record.version))))?;
    Ok(())
}

pub(super) async fn finish_check(
    mut change: Change<'_>,
    model: &ModelName,
    version: Version,
    outcome: CheckOutcome,
) -> Result<VersionRecord> {
    let current = change.model(model, None).await?;
    let before = transitions::existing(&current, version)?;
    let state = transitions::finish_check(before, &outcome)?;
    let (action, report) = match outcome {
        CheckOutcome::Ready { report } => (action::VERSION_READY, Some(report)),
        CheckOutcome::Rejected { report, .. } => (action::VERSION_REJECTED, report),
    };
    let after = VersionRecord { state, report, checked_at: Some(change.at), ..before.clone() };
    write(&mut change, &after).await?;
    commit_state(change, action, before, after).await
}

pub(super) async fn archive(
    mut change: Change<'_>,
    model: &ModelName,
    version: Version,
    expected: Option<Revision>,
) -> Result<VersionRecord> {
    let current = change.model(model, expected).await?;
    let before = transitions::existing(&current, version)?;
    if !transitions::archive(&current, version)? {
        return Ok(before.clone());
    }
    let after = VersionRecord { state: VersionState::Archived, ..before.clone() };
    write(&mut change, &after).await?;
    commit_state(change, action::VERSION_ARCHIVED, before, after).await
}

/// Commits the move of a version from one state to another.
async fn commit_state(
    change: Change<'_>,
    action: &'static str,
    before: &VersionRecord,
    after: VersionRecord,
) -> Result<VersionRecord> {
    let event = NewEvent::of(action)
        .about(&after.model)
        .version(after.version)
        .from(for_event(before))
        .to(for_event(&after));
    change.commit(event).await?;
    Ok(after)
}

pub(super) async fn delete(
    mut change: Change<'_>,
    model: &ModelName,
    version: Version,
    expected: Option<Revision>,
) -> Result<()> {
    let current = change.model(model, expected).await?;
    transitions::delete_version(&current, version)?;
    let before = transitions::existing(&current, version)?;
    mark_deleted(&mut change, model, Some(version)).await?;
    let event =
        NewEvent::of(action::VERSION_DELETED).about(model).version(version).from(for_event(before));
    change.commit(event).await
}

/// Marks one version of a model as deleted, or all of them.
pub(super) async fn mark_deleted(
    change: &mut Change<'_>,
    model: &ModelName,
    only: Option<Version>,
) -> Result<()> {
    let at = stored(change.at);
    sqlx::query(
        "UPDATE versions SET deleted_at = $1
         WHERE model = $2 AND deleted_at IS NULL
           AND (CAST($3 AS INTEGER) IS NULL OR version = $3)",
    )
    .bind(at)
    .bind(model.as_str())
    .bind(only.map(|v| i64::from(v.get())))
    .execute(change.connection())
    .await
    .map_err(while_trying(format!("delete versions of {model}")))?;
    Ok(())
}

fn for_event(record: &VersionRecord) -> Value {
    let mut shown = json!({ "state": record.state.word(), "digest": record.digest });
    if let Some(reason) = record.state.reason() {
        shown["reason"] = json!(reason);
    }
    shown
}
