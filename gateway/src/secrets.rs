//! API keys and other secrets: how they are made and recognised. The registry keeps only the
//! SHA-256 of keys: a key is 256 random bits, so a slow hash would protect nothing.

use std::fmt::Write as _;

use weighbridge_config::Digest;
use weighbridge_registry::{Grant, NewKey};

/// What every key begins with, so that scanners find leaked ones.
const MARK: &str = "wbk_";
/// Characters of a key that are shown: the mark and eight hexadecimal digits.
const PREFIX_LENGTH: usize = MARK.len() + 8;

/// What of a key may be shown, of an id all: people revoke what has leaked by what they have.
pub fn shown(key: &str) -> String {
    let length = if key.starts_with(MARK) { PREFIX_LENGTH } else { key.len() };
    key.chars().take(length).collect()
}

/// A fresh key: the mark and 256 random bits in hexadecimal.
pub fn fresh_key() -> String {
    fresh(MARK)
}

/// A fresh secret that signs webhooks.
pub fn fresh_webhook_secret() -> String {
    fresh("wbs_")
}

fn fresh(mark: &str) -> String {
    let mut secret = mark.to_owned();
    for byte in rand::random::<[u8; 32]>() {
        // Writing to a String cannot fail.
        let _ = write!(secret, "{byte:02x}");
    }
    secret
}

/// What the registry keeps of `secret`.
pub fn record_of(secret: &str, name: &str, grant: Grant, expires_at: Option<u64>) -> NewKey {
    NewKey {
        name: name.to_owned(),
        grant,
        tenant: None,
        tier: None,
        hash: Digest::of(secret.as_bytes()),
        prefix: secret.chars().take(PREFIX_LENGTH).collect(),
        expires_at,
    }
}

#[cfg(test)]
mod tests {
    use weighbridge_registry::Role;

    use super::*;

    #[test]
    fn keys_are_long_marked_and_different() {
        let (one, two) = (fresh_key(), fresh_key());
        assert_ne!(one, two);
        assert!(one.starts_with("wbk_") && one.len() == 68);
        let record = record_of(&one, "ci", Grant::Role(Role::Predict), None);
        assert_eq!(record.prefix, one[..12]);
        assert_eq!(record.hash, Digest::of(one.as_bytes()));
        assert!(!format!("{record:?}").contains(&one));
    }
}
