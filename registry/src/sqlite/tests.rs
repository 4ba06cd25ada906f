use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use sqlx::AssertSqlSafe;
use tempfile::TempDir;
use weighbridge_config::ModelSettings;

use super::*;
use crate::contract::fixture::*;
use crate::{Error, RouteCause, VersionState};

mod chain;
mod rollouts;

mod in_memory {
    use super::*;

    async fn make() -> (Shared, ()) {
        let registry = SqliteRegistry::in_memory().await.expect("a registry");
        (Arc::new(registry), ())
    }
    crate::registry_contract!(make);
}

mod on_disk {
    use super::*;

    async fn make() -> (Shared, TempDir) {
        let folder = TempDir::new().expect("a folder");
        let registry = opened(folder.path()).await.expect("a registry");
        (Arc::new(registry), folder)
    }
    crate::registry_contract!(make);
}

async fn opened(folder: &Path) -> Result<SqliteRegistry> {
    SqliteRegistry::open(&folder.join("registry.db")).await
}

/// A registry with version 1 of fraud promoted, to spoil with SQL.
async fn promoted() -> (Arc<SqliteRegistry>, Shared) {
    let registry = Arc::new(SqliteRegistry::in_memory().await.expect("a registry"));
    let shared: Shared = registry.clone();
    ready_versions(&shared, 2).await;
    promote(&shared, 1).await.expect("a promotion");
    (registry, shared)
}

async fn sql(registry: &SqliteRegistry, text: &str) -> std::result::Result<u64, String> {
    let done = sqlx::query(AssertSqlSafe(text.to_owned())).execute(&registry.writer).await;
    done.map(|d| d.rows_affected()).map_err(|e| e.to_string())
}

#[tokio::test]
async fn reopening_gives_the_same_state() {
    let folder = TempDir::new().expect("a folder");
    let registry = Arc::new(opened(folder.path()).await.expect("a registry"));
    let shared: Shared = registry.clone();
    ready_versions(&shared, 2).await;
    promote(&shared, 1).await.expect("a promotion");
    route(&shared, &[(1, 9_500), (2, 500)]).await.expect("a route");
    let aliased = shared.set_alias(fraud(), champion(), v(1), None, ada(), NOON);
    aliased.await.expect("an alias");
    let before = (snapshot(&shared).await, events(&shared).await);
    registry.close().await;
    let left: Vec<_> = std::fs::read_dir(folder.path()).expect("the folder").collect();
    assert_eq!(left.len(), 1, "{left:?}");

    let reopened: Shared = Arc::new(opened(folder.path()).await.expect("a registry"));
    assert_eq!((snapshot(&reopened).await, events(&reopened).await), before);
    assert_eq!(split(&roll_back(&reopened).await.expect("a rollback")), "1=100%");
}

#[tokio::test]
async fn a_change_that_is_dropped_half_way_leaves_nothing() {
    let (registry, shared) = promoted().await;
    let before = (snapshot(&shared).await, events(&shared).await);
    let mut change = registry.change(ada(), NOON).await.expect("a change");
    let model = change.model(fraud(), None).await.expect("the model");
    change.bump(&model).await.expect("a bump");
    versions::mark_deleted(&mut change, fraud(), None).await.expect("deleted versions");
    drop(change);
    assert_eq!((snapshot(&shared).await, events(&shared).await), before);
}

#[tokio::test]
async fn a_change_whose_event_cannot_be_written_is_undone() {
    let (registry, shared) = promoted().await;
    let before = snapshot(&shared).await;
    let refuse = "CREATE TRIGGER no_events BEFORE INSERT ON events
                  BEGIN SELECT RAISE(ABORT, 'disk full'); END";
    sql(&registry, refuse).await.expect("a trigger");
    for answer in [promote(&shared, 2).await, roll_back(&shared).await] {
        assert!(matches!(answer, Err(Error::Unavailable { .. } | Error::Illegal(_))), "{answer:?}");
    }
    let pushed = shared.register_version(new_version("new"), ada(), NOON).await;
    assert!(matches!(pushed, Err(Error::Unavailable { .. })), "{pushed:?}");
    assert_eq!(snapshot(&shared).await, before);
}

#[tokio::test]
async fn events_and_routes_cannot_be_changed_in_sql() {
    let (registry, shared) = promoted().await;
    let before = (snapshot(&shared).await, events(&shared).await);
    for text in [
        "UPDATE events SET actor = 'nobody'",
        "UPDATE events SET sequence = sequence + 100",
        "DELETE FROM events",
        "INSERT OR REPLACE INTO events (sequence, at, actor, actor_name, action)
         VALUES (1, 0, 'nobody', '', 'none')",
        "UPDATE routes SET set_by = 'nobody'",
        "DELETE FROM routes",
        "INSERT OR REPLACE INTO routes (model, sequence, split, cause, set_at, set_by)
         VALUES ('fraud', 1, '[]', 'set', 0, 'nobody')",
    ] {
        let refused = sql(&registry, text).await.expect_err(text);
        assert!(refused.contains("append-only"), "{text}: {refused}");
    }
    assert_eq!((snapshot(&shared).await, events(&shared).await), before);
}

#[tokio::test]
async fn rows_of_a_later_release_are_read() {
    let (registry, shared) = promoted().await;
    for text in [
        "ALTER TABLE models ADD COLUMN owner TEXT",
        "ALTER TABLE versions ADD COLUMN engine TEXT NOT NULL DEFAULT 'tract'",
        r#"UPDATE models SET settings = '{"max_batch_size": 4, "pin": {"memory": true}}'"#,
        r#"UPDATE versions SET info = '{"description": "d", "licence": "MIT"}'"#,
        r#"UPDATE versions SET manifest = json_set(manifest, '$.signature', 'x',
               '$.files[0].mode', 420)"#,
        r#"INSERT INTO routes (model, sequence, split, cause, set_at, set_by, previous)
           VALUES ('fraud', 2, '[{"version": 2, "weight": 10000, "salt": 7}]',
                   'rollout_step', 5, 'system', 1)"#,
    ] {
        sql(&registry, text).await.expect(text);
    }
    let model = read(&shared).await;
    assert_eq!(model.settings.max_batch_size, Some(4));
    assert_eq!(model.versions[0].info.description.as_deref(), Some("d"));
    assert_eq!(model.versions[0].manifest, files("files 1"));
    let route = model.route.as_ref().expect("a route");
    assert_eq!((split(&model), route.cause), ("2=100%".to_owned(), RouteCause::Other));
    // And it can be written to.
    assert_eq!(ready(&shared, "files 3").await, v(3));
    assert_eq!(split(&roll_back(&shared).await.expect("a rollback")), "1=100%");
}

#[tokio::test]
async fn garbage_is_corrupt_and_named() {
    for (text, column) in [
        ("UPDATE models SET settings = '{{'", "settings of the model fraud"),
        ("UPDATE models SET revision = -1", "revision of the model fraud"),
        (
            "UPDATE versions SET manifest = '[]' WHERE version = 2",
            "manifest of the version fraud 2",
        ),
        ("UPDATE versions SET digest = 'x' WHERE version = 2", "digest of the version fraud 2"),
        ("UPDATE versions SET state = 'odd' WHERE version = 1", "state of the version fraud 1"),
        ("UPDATE versions SET version = 0 WHERE version = 2", "version of the version fraud 0"),
        ("UPDATE versions SET report = 'no JSON' WHERE version = 1", "report of the version"),
        (
            "INSERT INTO routes (model, sequence, split, cause, set_at, set_by)
             VALUES ('fraud', 2, '[]', 'set', 0, '')",
            "split of the route fraud 2",
        ),
        (
            "INSERT INTO aliases (model, alias, version) VALUES ('fraud', 'stable', 1)",
            "alias of the alias fraud stable",
        ),
    ] {
        let (registry, shared) = promoted().await;
        sql(&registry, text).await.expect(text);
        for answer in [shared.snapshot().await.map(drop), promote(&shared, 2).await.map(drop)] {
            match answer {
                Err(Error::Corrupt { what, .. }) => assert!(what.contains(column), "{what}"),
                other => panic!("{text}: {other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn garbage_in_keys_and_operations_is_corrupt() {
    let (registry, shared) = promoted().await;
    for text in [
        "INSERT INTO api_keys (id, name, role, prefix, hash, created_at, created_by)
         VALUES ('key_1', 'ci', 'emperor', 'wbk_a', 'x', 0, '')",
        "INSERT INTO operations (id, kind, state, progress, created_at, updated_at, created_by)
         VALUES ('op-1', 'push', 'odd', '', 0, 0, '')",
    ] {
        sql(&registry, text).await.expect(text);
    }
    for answer in [shared.keys().await.map(drop), shared.operation("op-1").await.map(drop)] {
        assert!(matches!(answer, Err(Error::Corrupt { .. })), "{answer:?}");
    }
}

#[tokio::test]
async fn a_file_that_is_no_database_is_corrupt() {
    let folder = TempDir::new().expect("a folder");
    let garbage = "this is not a database, whatever its name says. ".repeat(100);
    std::fs::write(folder.path().join("registry.db"), garbage).expect("a file");
    let answer = opened(folder.path()).await;
    assert!(matches!(answer, Err(Error::Corrupt { .. })), "{answer:?}");
}

#[tokio::test]
async fn a_missing_folder_is_unavailable_and_named() {
    let answer = SqliteRegistry::open(Path::new("/nonexistent/registry.db")).await;
    let Err(error @ Error::Unavailable { .. }) = answer else {
        panic!("{answer:?}");
    };
    assert!(error.to_string().contains("/nonexistent/registry.db"), "{error}");
}

#[tokio::test]
async fn later_migrations_are_ignored_until_one_says_otherwise() {
    let folder = TempDir::new().expect("a folder");
    let registry = opened(folder.path()).await.expect("a registry");
    let later = "INSERT INTO _sqlx_migrations
                     (version, description, success, checksum, execution_time)
                 VALUES (4, 'replicas', TRUE, x'00', 0)";
    sql(&registry, later).await.expect("a later migration");
    registry.close().await;
    let registry = opened(folder.path()).await.expect("a registry");

    let mark = "UPDATE schema_compatibility SET oldest_reader = 4";
    sql(&registry, mark).await.expect("a mark");
    registry.close().await;
    match opened(folder.path()).await {
        Err(Error::Illegal(sentence)) => {
            assert!(sentence.contains("later release") && sentence.contains("migration 4"));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_file_held_by_someone_else_is_busy() {
    let folder = TempDir::new().expect("a folder");
    let registry = opened(folder.path()).await.expect("a registry");
    let other = opened(folder.path()).await.expect("a second registry");
    // The lock wait of 5 s would make the test slow.
    sql(&registry, "PRAGMA busy_timeout = 10").await.expect("a short wait");
    let held = other.change(ada(), NOON).await.expect("a change");
    let answer = registry.register_version(new_version("a"), ada(), NOON).await;
    assert!(matches!(answer, Err(Error::Busy { .. })), "{answer:?}");
    // Reading goes on.
    assert_eq!(registry.revision().await.expect("a revision"), 0);
    drop(held);
}

#[tokio::test]
async fn public_values_are_readable_json() {
    let (_, shared) = promoted().await;
    let settings = ModelSettings { max_batch_size: Some(2), ..ModelSettings::default() };
    let set = shared.configure(fraud(), settings, None, ada(), NOON).await;
    let model = set.expect("settings");
    let shown = serde_json::to_value(&model).expect("JSON");
    assert_eq!(shown["versions"][0]["state"], json!("ready"));
    assert_eq!(shown["route"]["cause"], json!("promote"));
    assert_eq!(serde_json::from_value::<Model>(shown).expect("a model"), model);

    let rejected = VersionState::Rejected { reason: "slow".to_owned() };
    let shown = serde_json::to_value(&rejected).expect("JSON");
    assert_eq!(shown, json!({ "state": "rejected", "reason": "slow" }));
    let seen = snapshot(&shared).await;
    let shown = serde_json::to_string(&seen).expect("JSON");
    assert_eq!(serde_json::from_str::<Snapshot>(&shown).expect("a snapshot"), seen);
}
