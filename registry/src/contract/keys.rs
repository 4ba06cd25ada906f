//! API keys.

use weighbridge_config::Digest;

use super::fixture::*;
use crate::{Grant, KeyRecord, NewKey, QuotaUse, Role};

fn new_key(prefix: &str) -> NewKey {
    NewKey {
        name: "ci".to_owned(),
        grant: Grant::Role(Role::Metrics),
        tenant: None,
        tier: None,
        hash: Digest::of(prefix.as_bytes()),
        prefix: prefix.to_owned(),
        expires_at: Some(NOON + 1_000),
    }
}

async fn only_key(registry: &Shared) -> KeyRecord {
    let keys = registry.keys().await.expect("the keys");
    assert_eq!(keys, snapshot(registry).await.keys);
    keys.into_iter().next().expect("a key")
}

pub async fn keys_are_created_used_and_revoked(registry: Shared) {
    let ada = ada();
    let key = registry.create_key(new_key("wbk_ab12"), ada, NOON).await.expect("a key");
    assert_eq!((key.role, key.hash), (Some(Role::Metrics), Digest::of(b"wbk_ab12")));
    assert_eq!((key.created_by.as_str(), key.expires_at), ("key:wbk_ada", Some(NOON + 1_000)));
    assert_eq!(only_key(&registry).await, key);

    let before = registry.revision().await.expect("a revision");
    for (at, noted) in [(NOON + 9, NOON + 9), (NOON + 3, NOON + 9)] {
        registry.touch_key(&key.id, at).await.expect("a use");
        assert_eq!(only_key(&registry).await.last_used_at, Some(noted));
    }
    assert_eq!(registry.revision().await.expect("a revision"), before);

    let revoked = registry.revoke_key("wbk_ab12", ada, NOON + 20).await.expect("a key");
    assert_eq!(revoked.revoked_at, Some(NOON + 20));
    assert_eq!(only_key(&registry).await, revoked);
    let count = events(&registry).await.len();
    let twice = registry.revoke_key(&key.id, ada, NOON + 30).await.expect("a key");
    assert_eq!(twice.revoked_at, Some(NOON + 20));
    assert_eq!(events(&registry).await.len(), count);

    let shown = serde_json::to_string(&twice).expect("JSON");
    assert!(!shown.contains("hash"), "{shown}");
    let read: KeyRecord = serde_json::from_str(&shown).expect("a key");
    assert_eq!((read.id, read.hash), (key.id, Digest::from_bytes([0; 32])));
}

pub async fn prefixes_are_never_used_twice(registry: Shared) {
    let ada = ada();
    let first = registry.create_key(new_key("wbk_a"), ada, NOON).await.expect("a key");
    registry.revoke_key("wbk_a", ada, NOON).await.expect("a revoked key");
    let same_prefix = NewKey { hash: Digest::of(b"other"), ..new_key("wbk_a") };
    assert!(illegal(registry.create_key(same_prefix, ada, NOON).await).contains("wbk_a"));
    let same_secret = NewKey { hash: first.hash, ..new_key("wbk_b") };
    illegal(registry.create_key(same_secret, ada, NOON).await);
    let second = registry.create_key(new_key("wbk_c"), ada, NOON + 1).await.expect("a key");
    assert_ne!(second.id, first.id);
    let ids: Vec<_> = registry.keys().await.expect("keys").into_iter().map(|k| k.id).collect();
    assert_eq!(ids, [first.id, second.id]);
}

pub async fn keys_have_scopes_and_a_tenant(registry: Shared) {
    let new = NewKey {
        grant: Grant::Scopes("predict:fraud-* metrics".parse().expect("scopes")),
        tenant: Some("acme".to_owned()),
        tier: Some("gold".to_owned()),
        ..new_key("wbk_ab12")
    };
    let key = registry.create_key(new, ada(), NOON).await.expect("a key");
    assert_eq!((key.role, key.scopes.to_string().as_str()), (None, "metrics predict:fraud-*"));
    assert_eq!((key.tenant.as_deref(), key.tier.as_deref()), (Some("acme"), Some("gold")));
    assert_eq!(only_key(&registry).await, key);
    let shown = serde_json::to_value(&key).expect("JSON");
    assert_eq!(shown["scopes"], "metrics predict:fraud-*");
    // A role is a name for scopes.
    let admin = registry.create_key(
        NewKey { grant: Grant::Role(Role::Admin), ..new_key("wbk_cd34") },
        ada(),
        NOON + 1,
    );
    let admin = admin.await.expect("a key");
    assert_eq!((admin.role, admin.scopes), (Some(Role::Admin), weighbridge_config::Scopes::all()));
}

pub async fn the_use_of_quotas_adds_up(registry: Shared) {
    let used = |tenant: &str, requests, rows| QuotaUse { tenant: tenant.into(), requests, rows };
    let before = registry.revision().await.expect("a revision");
    // As two replicas would.
    for batch in [vec![used("a", 1, 10), used("b", 2, 20)], vec![used("a", 5, 50)]] {
        registry.add_quota_use(20_000, &batch).await.expect("a use");
    }
    registry.add_quota_use(20_001, &[used("a", 7, 7)]).await.expect("a use");
    let mut day = registry.quota_use(20_000).await.expect("the use");
    day.sort_by(|one, other| one.tenant.cmp(&other.tenant));
    assert_eq!(day, [used("a", 6, 60), used("b", 2, 20)]);
    assert_eq!(registry.quota_use(20_001).await.expect("the use"), [used("a", 7, 7)]);
    // Days long past are dropped.
    registry.add_quota_use(20_100, &[used("c", 1, 1)]).await.expect("a use");
    assert_eq!(registry.quota_use(20_000).await.expect("the use"), []);
    assert_eq!(registry.revision().await.expect("a revision"), before);
    let many = vec![used("a", 1, 1); crate::MOST_IN_BATCH + 1];
    illegal(registry.add_quota_use(20_100, &many).await);
}
