//! API keys.

use weighbridge_config::Digest;

use super::fixture::*;
use crate::{KeyRecord, NewKey, Role};

fn new_key(prefix: &str) -> NewKey {
    NewKey {
        name: "ci".to_owned(),
        role: Role::Metrics,
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
    assert_eq!((key.role, key.hash), (Role::Metrics, Digest::of(b"wbk_ab12")));
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
