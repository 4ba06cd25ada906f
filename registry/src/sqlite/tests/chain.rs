//! Tampering is found, and events of the release before are covered.

use sqlx::migrate::Migrator;
use sqlx::sqlite::SqliteConnectOptions;

use super::*;
use crate::sqlite::open::migrations;

const TRIGGERS: [&str; 3] = [
    "DROP TRIGGER events_are_not_changed",
    "DROP TRIGGER events_are_not_deleted",
    "DROP TRIGGER events_are_appended",
];

/// A registry with six events, whose triggers somebody has dropped.
async fn unprotected() -> (Arc<SqliteRegistry>, Shared) {
    let (registry, shared) = promoted().await;
    roll_to_six(&shared).await;
    for text in TRIGGERS {
        sql(&registry, text).await.expect(text);
    }
    (registry, shared)
}

async fn roll_to_six(shared: &Shared) {
    let aliased = shared.set_alias(fraud(), champion(), v(1), None, ada(), NOON);
    aliased.await.expect("an alias");
    assert_eq!(shared.revision().await.expect("a revision"), 6);
}

/// An event as the release before appends it.
const FOREIGN_EVENT: &str = "INSERT INTO events
     (sequence, at, actor, actor_name, action, model, version, from_value, to_value)
     VALUES ((SELECT COALESCE(MAX(sequence), 0) + 1 FROM events), 5, 'key:wbk_old', 'Old',
             'alias.set', 'fraud', 1, NULL, '{}')";

#[tokio::test]
async fn tampering_is_found_and_named() {
    for (text, sequence, reason) in [
        ("UPDATE events SET actor = 'nobody' WHERE sequence = 3", 3, "event 3 or its link"),
        ("UPDATE events SET actor_name = 'Eve' WHERE sequence = 3", 3, "event 3 or its link"),
        ("UPDATE events SET at = at + 1 WHERE sequence = 1", 1, "event 1 or its link"),
        ("UPDATE events SET action = 'none' WHERE sequence = 6", 6, "event 6 or its link"),
        ("UPDATE events SET model = 'churn' WHERE sequence = 2", 2, "event 2 or its link"),
        ("UPDATE events SET model = NULL WHERE sequence = 2", 2, "event 2 or its link"),
        ("UPDATE events SET version = 9 WHERE sequence = 2", 2, "event 2 or its link"),
        ("UPDATE events SET from_value = NULL WHERE sequence = 2", 2, "event 2 or its link"),
        // The same JSON in another spelling is another text.
        ("UPDATE events SET to_value = to_value || ' ' WHERE sequence = 4", 4, "event 4 or its"),
        (
            "UPDATE events SET from_value = to_value, to_value = from_value WHERE sequence = 4",
            4,
            "event 4",
        ),
        ("UPDATE events SET hash = 'none' WHERE sequence = 5", 5, "event 5 or its link"),
        (
            "UPDATE events SET hash = (SELECT hash FROM events WHERE sequence = 1) WHERE sequence = 6",
            6,
            "event 6",
        ),
        // What has no link of its own is covered by the next one.
        ("UPDATE events SET hash = NULL, actor = 'nobody' WHERE sequence = 3", 4, "events 3 to 4"),
        ("UPDATE events SET hash = NULL, at = 1 WHERE sequence IN (3, 4)", 5, "events 3 to 5"),
        ("DELETE FROM events WHERE sequence = 3", 4, "event 3 is missing"),
        ("DELETE FROM events WHERE sequence IN (2, 3)", 4, "events 2 to 3 are missing"),
        ("DELETE FROM events WHERE sequence = 1", 2, "event 1 is missing"),
        // A model shows that there was more.
        ("DELETE FROM events WHERE sequence >= 5", 6, "events 5 to 6 are missing"),
        (
            "UPDATE events SET sequence = CASE sequence WHEN 2 THEN 103 ELSE 102 END WHERE sequence IN (2, 3)",
            4,
            "missing",
        ),
        // Neither can what cannot be read hide.
        ("UPDATE events SET at = -1 WHERE sequence = 3", 3, "at of the event 3"),
        ("UPDATE events SET version = -1 WHERE sequence = 3", 3, "version of the event 3"),
    ] {
        let (registry, shared) = unprotected().await;
        let whole = shared.verify_events().await.expect("a report");
        assert_eq!((whole.events, whole.broken_at), (6, None));
        assert!(sql(&registry, text).await.expect(text) > 0, "{text}");
        let report = shared.verify_events().await.expect("a report");
        let broken = report.broken_at.unwrap_or_else(|| panic!("{text} was not found"));
        assert_eq!(broken.sequence, sequence, "{text}: {broken:?}");
        assert!(broken.reason.contains(reason), "{text}: {broken:?}");
        assert!(report.events < 6 || text.contains("102"), "{text}");
    }
}

#[tokio::test]
async fn events_of_the_release_before_are_covered_by_the_next_link() {
    let (registry, shared) = promoted().await;
    sql(&registry, FOREIGN_EVENT).await.expect("an event");
    sql(&registry, FOREIGN_EVENT).await.expect("an event");
    let report = shared.verify_events().await.expect("a report");
    assert_eq!((report.last, report.events, report.uncovered), (Some(5), 5, 2));
    assert_eq!(report.broken_at, None);

    promote(&shared, 2).await.expect("a promotion");
    let report = shared.verify_events().await.expect("a report");
    assert_eq!((report.last, report.events, report.uncovered), (Some(8), 8, 0));
    let hashes: Vec<_> = events(&shared).await.iter().map(|e| e.hash.is_some()).collect();
    assert_eq!(hashes[..4], [true, false, false, true]);

    sql(&registry, TRIGGERS[0]).await.expect("no trigger");
    let tamper = "UPDATE events SET actor = 'nobody' WHERE sequence = 6";
    sql(&registry, tamper).await.expect("tampering");
    let broken = shared.verify_events().await.expect("a report").broken_at.expect("a break");
    assert_eq!(broken.sequence, 8);
    assert!(broken.reason.contains("events 6 to 8"), "{broken:?}");
}

/// More of them than one page holds, in a file that the release before has written.
#[tokio::test]
async fn a_file_of_the_release_before_is_brought_forward() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("registry.db");
    let options = SqliteConnectOptions::new().filename(&path).create_if_missing(true);
    let old = SqlitePool::connect_with(options).await.expect("a file");
    let first = migrations().into_iter().take(1).collect();
    Migrator::with_migrations(first).run(&old).await.expect("its schema");
    let split = r#"[{"version":1,"weight":10000}]"#;
    let (model, version, route) = (
        "INSERT INTO models (name, revision, settings, routes_before, created_at)
         VALUES ('fraud', 3, '{}', 0, 1)",
        "INSERT INTO versions (model, version, digest, manifest, state, info, created_at,
             created_by) SELECT 'fraud', 1, digest, manifest, 'ready', '{}', 1, 'key:wbk_old'
         FROM (SELECT $1 AS digest, $2 AS manifest)",
        "INSERT INTO routes (model, sequence, split, cause, set_at, set_by)
         VALUES ('fraud', 1, $1, 'initial', 1, 'system')",
    );
    let manifest = files("files 1");
    let shown = serde_json::to_string(&manifest).expect("JSON");
    sqlx::query(model).execute(&old).await.expect("a model");
    let insert = sqlx::query(version).bind(manifest.digest().to_string()).bind(shown);
    insert.execute(&old).await.expect("a version");
    sqlx::query(route).bind(split).execute(&old).await.expect("a route");
    for _ in 0..1_234 {
        sqlx::query(FOREIGN_EVENT).execute(&old).await.expect("an event");
    }
    old.close().await;

    let registry = Arc::new(opened(folder.path()).await.expect("a registry"));
    let shared: Shared = registry.clone();
    let report = shared.verify_events().await.expect("a report");
    assert_eq!((report.first, report.events, report.uncovered), (None, 0, 1_234));
    let model = read(&shared).await;
    assert_eq!((model.rollout, model.experiment), (None, None));
    assert!(!snapshot(&shared).await.frozen);
    assert_eq!(ready(&shared, "files 2").await, v(2));
    start(&shared, 2, steps(&[5])).await.expect("a rollout");
    let report = shared.verify_events().await.expect("a report");
    assert_eq!((report.first, report.last, report.events), (Some(1_235), Some(1_237), 1_237));
    assert_eq!(report.broken_at, None);
}
