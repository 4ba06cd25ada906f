//! Models as a whole, their settings, and the events of all nouns.

use serde_json::json;
use weighbridge_config::ModelSettings;

use super::fixture::*;
use crate::{EventQuery, Grant, IfRollout, IfRouted, NewKey, Role, RouteChange, action};

fn small_batches() -> ModelSettings {
    ModelSettings { max_batch_size: Some(4), ..ModelSettings::default() }
}

pub async fn missing_things_are_not_found(registry: Shared) {
    let (ada, fraud) = (ada(), fraud());
    assert!(not_found(registry.model(fraud).await).contains("fraud"));
    not_found(promote(&registry, 1).await);
    not_found(roll_back(&registry).await);
    not_found(registry.route_history(fraud, 10).await);
    not_found(registry.set_initial_route(fraud, v(1), ada, NOON).await);
    let settings = registry.configure(fraud, small_batches(), Some(3), ada, NOON);
    not_found(settings.await);
    not_found(registry.archive(fraud, v(1), None, ada, NOON).await);
    let deleted = registry.delete_model(fraud, IfRouted::Delete, None, ada, NOON);
    not_found(deleted.await);
    not_found(registry.revoke_key("wbk_none", ada, NOON).await);
    not_found(registry.touch_key("key_1", NOON).await);
    not_found(registry.operation("op-1").await);
    assert_eq!(registry.revision().await.expect("a revision"), 0);

    ready_versions(&registry, 1).await;
    assert!(not_found(promote(&registry, 2).await).contains("version 2 of fraud"));
    not_found(route(&registry, &[(1, 10_000), (2, 0)]).await);
    let alias = registry.remove_alias(fraud, champion(), None, ada, NOON);
    assert!(not_found(alias.await).contains("champion"));
    assert_eq!(snapshot(&registry).await.revision, 2);
}

pub async fn settings_are_a_compare_and_swap(registry: Shared) {
    push(&registry, "a").await;
    let (ada, fraud) = (ada(), fraud());
    let before = read(&registry).await;
    let set = registry.configure(fraud, small_batches(), Some(before.revision), ada, NOON);
    let after = set.await.expect("settings");
    assert_eq!(after.settings, small_batches());
    assert!(after.revision > before.revision);
    assert_eq!(read(&registry).await, after);

    let again = registry.configure(fraud, small_batches(), Some(after.revision), ada, NOON);
    assert_eq!(again.await.expect("the same settings"), after);
    let late = registry.configure(fraud, small_batches(), Some(before.revision), ada, NOON);
    assert_eq!(conflict(late.await), after.revision);
}

pub async fn a_lost_compare_and_swap_changes_nothing(registry: Shared) {
    ready_versions(&registry, 2).await;
    promote(&registry, 1).await.expect("a promotion");
    let before = (snapshot(&registry).await, events(&registry).await);
    let (ada, fraud, stale) = (ada(), fraud(), Some(1));
    let change = RouteChange::promote(v(2));
    conflict(registry.set_route(fraud, change, IfRollout::Refuse, stale, ada, NOON).await);
    conflict(registry.roll_back(fraud, IfRollout::Refuse, stale, ada, NOON).await);
    let champion = champion();
    conflict(registry.set_alias(fraud, champion, v(1), stale, ada, NOON).await);
    conflict(registry.remove_alias(fraud, champion, stale, ada, NOON).await);
    conflict(registry.configure(fraud, small_batches(), stale, ada, NOON).await);
    conflict(registry.archive(fraud, v(2), stale, ada, NOON).await);
    conflict(registry.delete_version(fraud, v(2), stale, ada, NOON).await);
    let delete = registry.delete_model(fraud, IfRouted::Delete, stale, ada, NOON);
    conflict(delete.await);
    assert_eq!((snapshot(&registry).await, events(&registry).await), before);
}

pub async fn events_can_be_paged(registry: Shared) {
    ready_versions(&registry, 3).await;
    let mut other = new_version("b");
    other.model = named("churn");
    let other = registry.register_version(other, ada(), NOON).await;
    assert!(other.expect("a push").is_new);

    let page = |before, limit| EventQuery { model: Some(fraud().clone()), before, limit };
    let first = registry.events(&page(None, 4)).await.expect("a page");
    let sequences: Vec<_> = first.iter().map(|e| e.sequence).collect();
    assert_eq!(sequences, [6, 5, 4, 3]);
    let second = registry.events(&page(Some(3), 4)).await.expect("a page");
    let sequences: Vec<_> = second.iter().map(|e| e.sequence).collect();
    assert_eq!(sequences, [2, 1]);
    assert!(registry.events(&page(Some(1), 4)).await.expect("a page").is_empty());
    assert!(registry.events(&page(None, 0)).await.expect("a page").is_empty());
    assert_eq!(events(&registry).await.len(), 7);
}

pub async fn each_action_leaves_its_event(registry: Shared) {
    let (ada, fraud, champion) = (ada(), fraud(), champion());
    ready_versions(&registry, 2).await;
    let third = push(&registry, "files 3").await.record.version;
    end_check(&registry, third, false).await;
    route(&registry, &[(1, 10_000)]).await.expect("a route");
    promote(&registry, 2).await.expect("a promotion");
    roll_back(&registry).await.expect("a rollback");
    let alias = registry.set_alias(fraud, champion, v(1), None, ada, NOON);
    alias.await.expect("an alias");
    let alias = registry.remove_alias(fraud, champion, None, ada, NOON);
    alias.await.expect("no alias");
    let set = registry.configure(fraud, small_batches(), None, ada, NOON);
    set.await.expect("settings");
    let archived = registry.archive(fraud, v(2), None, ada, NOON).await;
    archived.expect("an archived version");
    let deleted = registry.delete_version(fraud, third, None, ada, NOON).await;
    deleted.expect("a deleted version");
    let deleted = registry.delete_model(fraud, IfRouted::Delete, None, ada, NOON);
    deleted.await.expect("a deleted model");
    let key = NewKey {
        name: "ci".to_owned(),
        grant: Grant::Role(Role::Predict),
        tenant: None,
        tier: None,
        hash: files("secret").digest(),
        prefix: "wbk_ci".to_owned(),
        expires_at: None,
    };
    let key = registry.create_key(key, ada, NOON).await.expect("a key");
    let revoked = registry.revoke_key(&key.id, ada, NOON).await;
    revoked.expect("a revoked key");

    let mut events = events(&registry).await;
    events.reverse();
    let actions: Vec<_> = events.iter().map(|e| e.action.as_str()).collect();
    assert_eq!(
        actions,
        [
            action::VERSION_REGISTERED,
            action::VERSION_READY,
            action::VERSION_REGISTERED,
            action::VERSION_READY,
            action::VERSION_REGISTERED,
            action::VERSION_REJECTED,
            action::ROUTE_SET,
            action::ROUTE_PROMOTED,
            action::ROUTE_ROLLED_BACK,
            action::ALIAS_SET,
            action::ALIAS_REMOVED,
            action::MODEL_CONFIGURED,
            action::VERSION_ARCHIVED,
            action::VERSION_DELETED,
            action::MODEL_DELETED,
            action::KEY_CREATED,
            action::KEY_REVOKED,
        ]
    );
    let sequences: Vec<_> = events.iter().map(|e| e.sequence).collect();
    assert_eq!(sequences, (1..=17).collect::<Vec<_>>());
    assert!(
        events.iter().all(
            |e| (e.actor.as_str(), e.actor_name.as_str(), e.at) == ("key:wbk_ada", "Ada", NOON)
        )
    );
    let promoted = &events[7];
    let of = |sequence, version: &str, cause| {
        Some(json!({ "sequence": sequence, "weights": { version: 10_000 }, "cause": cause }))
    };
    assert_eq!(promoted.from, of(1, "1", "set"));
    assert_eq!(promoted.to, of(2, "2", "promote"));
    assert_eq!(
        events[5].to.as_ref().map(|to| to["reason"].clone()),
        Some(json!("golden case 2 differs"))
    );
    assert_eq!((events[10].version, events[10].to.clone()), (Some(v(1)), None));
    let shown = serde_json::to_string(&events).expect("JSON");
    assert!(!shown.contains(&key.hash.to_string()), "the hash of a key is in the audit trail");
}

pub async fn a_deleted_model_comes_back_as_a_new_one(registry: Shared) {
    ready_versions(&registry, 2).await;
    promote(&registry, 1).await.expect("a promotion");
    let first_life = promote(&registry, 2).await.expect("a promotion");
    let (ada, fraud) = (ada(), fraud());
    let delete = async || {
        let deleted = registry.delete_model(fraud, IfRouted::Delete, None, ada, NOON);
        deleted.await
    };
    delete().await.expect("a deleted model");
    not_found(delete().await);
    not_found(registry.model(fraud).await);
    assert!(snapshot(&registry).await.models.is_empty());

    // The same files as before are a new version now, and there is nothing to roll back to.
    assert_eq!(ready(&registry, "files 1").await, v(3));
    let second_life = read(&registry).await;
    assert_eq!((split(&second_life), second_life.versions.len()), ("none".to_owned(), 1));
    assert_eq!(second_life.settings, ModelSettings::default());
    assert!(second_life.revision > first_life.revision);
    illegal(roll_back(&registry).await);
    let routed = registry.set_initial_route(fraud, v(3), ada, NOON).await;
    assert_eq!(split(&routed.expect("a route")), "3=100%");
    illegal(roll_back(&registry).await);
    assert_eq!(registry.route_history(fraud, 9).await.expect("routes").len(), 1);

    let about = EventQuery { model: Some(fraud.clone()), before: None, limit: 99 };
    let kept = registry.events(&about).await.expect("events");
    assert!(kept.iter().any(|e| e.action == action::MODEL_DELETED));
    assert_eq!(kept.len(), 10);
}

pub async fn a_model_with_traffic_is_deleted_only_when_that_is_meant(registry: Shared) {
    ready_versions(&registry, 1).await;
    promote(&registry, 1).await.expect("a promotion");
    let (ada, fraud) = (ada(), fraud());
    let refused = registry.delete_model(fraud, IfRouted::Refuse, None, ada, NOON);
    assert!(illegal(refused.await).contains("1=100%"));
    let meant = registry.delete_model(fraud, IfRouted::Delete, None, ada, NOON);
    meant.await.expect("a deleted model");

    push(&registry, "b").await;
    let without_route = registry.delete_model(fraud, IfRouted::Refuse, None, ada, NOON);
    without_route.await.expect("a deleted model");
}
