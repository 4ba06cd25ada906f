//! What a receiver verifies: that this server wrote the body, and when.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The value of `weighbridge-signature`: `t=<unix s>,v1=<hex HMAC-SHA256(secret, t.body)>`. The
/// time is signed too, so that a receiver can refuse a copy that comes late.
pub fn sign(secret: &str, unix_s: u64, body: &[u8]) -> String {
    let time = unix_s.to_string();
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else {
        unreachable!("HMAC takes keys of any length")
    };
    for part in [time.as_bytes(), b".", body] {
        mac.update(part);
    }
    format!("t={time},v1={}", hex::encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vector on the page for receivers, whose code `tests/clients` runs on it.
    #[test]
    fn signatures_are_those_of_the_page_for_receivers() {
        let signature = sign("wbs_example", 1_767_225_600, br#"{"model": "fraud"}"#);
        let wanted =
            "t=1767225600,v1=028b0134e4177a563090b74056323bdc96d12c3364a45ece5a6a4e7172959a29";
        assert_eq!(signature, wanted);
        let page = include_str!("../../../docs/webhooks.md");
        assert!(page.contains(wanted), "docs/webhooks.md shows another signature");
    }

    #[test]
    fn secret_time_and_body_all_count() {
        let signed = sign("secret", 1, b"body");
        for other in
            [sign("secreu", 1, b"body"), sign("secret", 2, b"body"), sign("secret", 1, b"")]
        {
            assert_ne!(signed.split_once("v1="), other.split_once("v1="));
        }
        assert_ne!(sign("s", 1, b"1.x"), sign("s", 11, b".x"));
    }
}
