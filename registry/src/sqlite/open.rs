//! Opening the file and bringing its schema forward.

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Row, SqlStr};

use super::SqliteRegistry;
use super::errors::while_trying;
use crate::error::{Error, Result};

/// How long SQLite waits for another process to let go of the file.
const LOCK_WAIT: Duration = Duration::from_secs(5);
/// How long a call waits for a connection before it answers `Busy`.
const CONNECTION_WAIT: Duration = Duration::from_secs(10);
const READERS: u32 = 4;
/// The number of the newest migration that this binary knows.
const KNOWN_SCHEMA: i64 = 3;

impl SqliteRegistry {
    /// Opens the registry in the file at `path`, which is made if it is missing, and brings
    /// its schema forward. A file that a later release wrote is opened as well, unless that
    /// release marked it as unreadable for this one.
    pub async fn open(path: &Path) -> Result<Self> {
        let existing = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            // A change that was answered survives a power failure; changes are rare.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(LOCK_WAIT)
            .foreign_keys(true);
        let attempt = || while_trying(format!("open the registry at {}", path.display()));

        let writer = connections(1)
            .connect_with(existing.clone().create_if_missing(true))
            .await
            .map_err(attempt())?;
        migrate(&writer).await?;
        let reader =
            connections(READERS).connect_with(existing.read_only(true)).await.map_err(attempt())?;
        tracing::info!(path = %path.display(), "opened the registry");
        Ok(Self { writer, reader })
    }

    /// A registry that is gone when it is dropped.
    pub async fn in_memory() -> Result<Self> {
        let attempt = || while_trying("open a registry in memory");
        let options = SqliteConnectOptions::from_str("sqlite::memory:")
            .map_err(attempt())?
            .foreign_keys(true);
        let writer = connections(1).connect_with(options).await.map_err(attempt())?;
        migrate(&writer).await?;
        let reader = writer.clone();
        Ok(Self { writer, reader })
    }

    /// Waits for what is running and closes the file, leaving no `-wal` beside it.
    pub async fn close(&self) {
        self.reader.close().await;
        self.writer.close().await;
    }
}

/// Connections that stay open: a registry in memory lives exactly as long as its connection.
fn connections(most: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(most)
        .acquire_timeout(CONNECTION_WAIT)
        .idle_timeout(None)
        .max_lifetime(None)
}

/// All migrations that this binary knows, oldest first.
pub(super) fn migrations() -> Vec<Migration> {
    let known = [
        (1, "init", include_str!("../../migrations/0001_init.sql")),
        (2, "rollouts", include_str!("../../migrations/0002_rollouts.sql")),
        (KNOWN_SCHEMA, "tenants", include_str!("../../migrations/0003_tenants.sql")),
    ];
    let migration = |(number, name, text): (i64, &'static str, &'static str)| {
        let text = SqlStr::from_static(text);
        Migration::new(number, name.into(), MigrationType::Simple, text, false)
    };
    known.into_iter().map(migration).collect()
}

async fn migrate(writer: &SqlitePool) -> Result<()> {
    let mut migrator = Migrator::with_migrations(migrations());
    // Migrations of a later release are no reason to refuse; the mark below is.
    migrator.set_ignore_missing(true);
    migrator.run(writer).await.map_err(|error| match error {
        MigrateError::Execute(cause) | MigrateError::ExecuteMigration(cause, _) => {
            while_trying("bring the registry's schema forward")(cause)
        }
        other => Error::corrupt("the registry's list of migrations", other),
    })?;
    require_readable(writer).await
}

/// Refuses a database that a later release has marked as unreadable for this one.
async fn require_readable(writer: &SqlitePool) -> Result<()> {
    let attempt = || while_trying("read the registry's schema mark");
    let row = sqlx::query("SELECT MAX(oldest_reader) AS oldest_reader FROM schema_compatibility")
        .fetch_one(writer)
        .await
        .map_err(attempt())?;
    let oldest_reader: i64 = row.try_get("oldest_reader").map_err(attempt())?;
    if oldest_reader > KNOWN_SCHEMA {
        return Err(Error::Illegal(format!(
            "the registry was written by a later release: its schema needs a binary that knows \
             migration {oldest_reader}, this one knows {KNOWN_SCHEMA}; start that release, or \
             restore a backup made before it"
        )));
    }
    Ok(())
}
