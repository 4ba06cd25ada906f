//! From a key or a coin to a point of the key space.

use std::hash::Hasher;

use siphasher::sip::SipHasher24;
use weighbridge_config::split::POINTS;

/// The published SipHash key (its bytes read `weighbridge.rout`). Changing it would move every
/// sticky caller of every user.
const HASH_KEY: [u8; 16] = *b"weighbridge.rout";

/// The point of a sticky key.
pub fn point_of_key(salt: &str, key: &[u8]) -> u32 {
    point_of_coin(hash_of_key(salt, key))
}

/// The hash of a sticky key. The salt's length is hashed too, so that no two pairs of salt and
/// key run together into the same bytes.
pub fn hash_of_key(salt: &str, key: &[u8]) -> u64 {
    let mut hasher = SipHasher24::new_with_key(&HASH_KEY);
    hasher.write(&(salt.len() as u64).to_le_bytes());
    hasher.write(salt.as_bytes());
    hasher.write(key);
    hasher.finish()
}

/// The point `floor(h / 2^64 × 10,000)`: dividing by 2^64 and not by the largest hash keeps
/// the point 10,000 from existing.
pub fn point_of_coin(hash: u64) -> u32 {
    ((u128::from(hash) * u128::from(POINTS)) >> 64) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed with an independent SipHash-2-4 when the first release was made.
    #[test]
    fn golden_points_never_change() {
        let thirty = "é".repeat(30);
        let golden = [
            ("fraud", "alice", 584),
            ("fraud", "bob", 7442),
            ("digits", "customer-42", 4360),
            ("fraud", "", 3136),
            ("m", thirty.as_str(), 9701),
        ];
        for (salt, key, wanted) in golden {
            assert_eq!(point(salt, key), wanted, "{salt} {key}");
        }
        assert_ne!(point("a", "bc"), point("ab", "c"));
    }

    fn point(salt: &str, key: &str) -> u32 {
        point_of_key(salt, key.as_bytes())
    }

    #[test]
    fn coins_cover_the_key_space_evenly_and_never_leave_it() {
        assert_eq!(point_of_coin(0), 0);
        assert_eq!(point_of_coin(u64::MAX), POINTS - 1);
        assert_eq!(point_of_coin(1 << 63), POINTS / 2);
    }

    #[test]
    fn keys_fall_on_points_evenly() {
        let mut deciles = [0u32; 10];
        for n in 0..100_000 {
            deciles[(point("m", &format!("user-{n}")) / 1000) as usize] += 1;
        }
        // Each decile is binomial with standard deviation 95: four of them is 380.
        assert!(deciles.iter().all(|n| n.abs_diff(10_000) < 400), "{deciles:?}");
    }
}
