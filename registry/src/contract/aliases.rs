//! Aliases.

use super::fixture::*;
use crate::{EventQuery, Model, Result};

async fn point(registry: &Shared, version: u32) -> Result<Model> {
    let set = registry.set_alias(fraud(), champion(), v(version), None, ada(), NOON);
    set.await
}

pub async fn aliases_are_set_moved_and_removed(registry: Shared) {
    ready_versions(&registry, 2).await;
    let (ada, fraud, champion) = (ada(), fraud(), champion());
    let first = point(&registry, 1).await.expect("an alias");
    assert_eq!(first.aliases.get("champion"), Some(&v(1)));
    let moved = point(&registry, 2).await.expect("an alias");
    assert_eq!(moved.aliases.get("champion"), Some(&v(2)));
    assert!(moved.revision > first.revision);
    assert_eq!(point(&registry, 2).await.expect("the same alias"), moved);

    let removed = registry.remove_alias(fraud, champion, Some(moved.revision), ada, NOON);
    assert!(removed.await.expect("no alias").aliases.is_empty());
    let twice = registry.remove_alias(fraud, champion, None, ada, NOON).await;
    assert!(not_found(twice).contains("champion"));
    assert_eq!(split(&read(&registry).await), "none");
    let query = EventQuery { model: Some(fraud.clone()), before: None, limit: 3 };
    let actions = registry.events(&query).await.expect("events");
    let actions: Vec<_> = actions.into_iter().map(|e| e.action).collect();
    assert_eq!(actions, ["alias.removed", "alias.set", "alias.set"]);
}

pub async fn aliases_need_a_ready_version(registry: Shared) {
    push(&registry, "a").await;
    illegal(point(&registry, 1).await);
    not_found(point(&registry, 2).await);
    end_check(&registry, v(1), true).await;
    point(&registry, 1).await.expect("an alias");
}
