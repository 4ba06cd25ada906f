//! API keys.

use serde_json::{Value, json};
use sqlx::sqlite::SqliteRow;
use sqlx::{Sqlite, SqlitePool};

use super::change::Change;
use super::errors::while_trying;
use super::events::NewEvent;
use super::row::{Columns, stored, word_text};
use crate::error::{Error, Result};
use crate::event::action;
use crate::key::{Grant, KeyRecord, NewKey, Role};
use crate::model::Millis;

pub(super) async fn list<'c>(
    database: impl sqlx::Executor<'c, Database = Sqlite>,
) -> Result<Vec<KeyRecord>> {
    let rows = sqlx::query(
        "SELECT id, name, role, scopes, tenant, tier, prefix, hash, created_at, created_by,
                expires_at, revoked_at, last_used_at
         FROM api_keys ORDER BY created_at, id",
    )
    .fetch_all(database)
    .await
    .map_err(while_trying("read the keys"))?;
    rows.iter().map(key_of).collect()
}

fn key_of(row: &SqliteRow) -> Result<KeyRecord> {
    let columns = Columns::of(row, "key", &["id"]);
    let grant = match columns.optional_text("scopes")? {
        Some(scopes) => {
            Grant::Scopes(scopes.parse().map_err(|error| columns.corrupt("scopes", error))?)
        }
        None => Grant::Role(columns.word("role")?),
    };
    Ok(KeyRecord {
        id: columns.text("id")?,
        name: columns.text("name")?,
        role: role_of(&grant),
        scopes: grant.scopes(),
        tenant: columns.optional_text("tenant")?,
        tier: columns.optional_text("tier")?,
        prefix: columns.text("prefix")?,
        hash: columns.parsed("hash")?,
        created_at: columns.count("created_at")?,
        created_by: columns.text("created_by")?,
        expires_at: columns.optional_count("expires_at")?,
        revoked_at: columns.optional_count("revoked_at")?,
        last_used_at: columns.optional_count("last_used_at")?,
    })
}

fn role_of(grant: &Grant) -> Option<Role> {
    match grant {
        Grant::Role(role) => Some(*role),
        Grant::Scopes(_) => None,
    }
}

pub(super) async fn create(mut change: Change<'_>, new: NewKey) -> Result<KeyRecord> {
    let keys = list(change.connection()).await?;
    if keys.iter().any(|k| k.prefix == new.prefix || k.hash == new.hash) {
        return Err(Error::Illegal(format!(
            "the key {} cannot be created: there is or was one that begins with {}; \
             draw another secret",
            new.name, new.prefix
        )));
    }
    let record = KeyRecord {
        // Revisions are never used twice, so neither are ids.
        id: format!("key_{}", change.revision),
        name: new.name,
        role: role_of(&new.grant),
        scopes: new.grant.scopes(),
        tenant: new.tenant,
        tier: new.tier,
        prefix: new.prefix,
        hash: new.hash,
        created_at: change.at,
        created_by: change.actor.id.clone(),
        expires_at: new.expires_at,
        revoked_at: None,
        last_used_at: None,
    };
    insert(&mut change, &record).await?;
    let event = NewEvent::of(action::KEY_CREATED).to(for_event(&record));
    change.commit(event).await?;
    Ok(record)
}

async fn insert(change: &mut Change<'_>, record: &KeyRecord) -> Result<()> {
    sqlx::query(
        "INSERT INTO api_keys
             (id, name, role, scopes, tenant, tier, prefix, hash, created_at, created_by, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind(record.id.as_str())
    .bind(record.name.as_str())
    // A binary that knows no scopes goes by the role: the weakest there is.
    .bind(word_text("a key's role", &record.role.unwrap_or(Role::Metrics))?)
    .bind(record.role.is_none().then(|| record.scopes.to_string()))
    .bind(record.tenant.as_deref())
    .bind(record.tier.as_deref())
    .bind(record.prefix.as_str())
    .bind(record.hash.to_string())
    .bind(stored(record.created_at))
    .bind(record.created_by.as_str())
    .bind(record.expires_at.map(stored))
    .execute(change.connection())
    .await
    .map_err(while_trying(format!("create the key {}", record.name)))?;
    Ok(())
}

pub(super) async fn revoke(mut change: Change<'_>, id_or_prefix: &str) -> Result<KeyRecord> {
    let keys = list(change.connection()).await?;
    let found = keys.into_iter().find(|k| k.id == id_or_prefix || k.prefix == id_or_prefix);
    let Some(mut record) = found else {
        return Err(Error::not_found(format!("key {id_or_prefix}")));
    };
    if record.revoked_at.is_some() {
        return Ok(record);
    }
    let before = for_event(&record);
    record.revoked_at = Some(change.at);
    let at = stored(change.at);
    sqlx::query("UPDATE api_keys SET revoked_at = $1 WHERE id = $2")
        .bind(at)
        .bind(record.id.as_str())
        .execute(change.connection())
        .await
        .map_err(while_trying(format!("revoke the key {id_or_prefix}")))?;
    let event = NewEvent::of(action::KEY_REVOKED).from(before).to(for_event(&record));
    change.commit(event).await?;
    Ok(record)
}

pub(super) async fn touch(writer: &SqlitePool, id: &str, at: Millis) -> Result<()> {
    let touched = sqlx::query(
        "UPDATE api_keys
         SET last_used_at = CASE WHEN last_used_at > $1 THEN last_used_at ELSE $1 END
         WHERE id = $2",
    )
    .bind(stored(at))
    .bind(id)
    .execute(writer)
    .await
    .map_err(while_trying(format!("note the use of the key {id}")))?;
    match touched.rows_affected() {
        0 => Err(Error::not_found(format!("key {id}"))),
        _ => Ok(()),
    }
}

/// What an event shows of a key: never its hash.
fn for_event(record: &KeyRecord) -> Value {
    json!({
        "id": record.id, "name": record.name, "role": record.role, "scopes": record.scopes,
        "tenant": record.tenant, "tier": record.tier, "prefix": record.prefix,
        "expires_at": record.expires_at, "revoked_at": record.revoked_at,
    })
}
