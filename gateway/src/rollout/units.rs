//! Sticky keys that have been seen, by hash: where a key is the observation, only its first
//! request and its first error count.

use std::sync::atomic::{AtomicU64, Ordering};

/// Units whose error is remembered.
const FAILED_SLOTS: usize = 1 << 16;
/// Units whose first request is remembered: 2 MiB.
const SEEN_SLOTS: usize = 1 << 18;
/// Slots that are tried before a set counts as full.
const PROBES: usize = 64;

/// The units of one attempt, over all its epochs.
#[derive(Debug)]
pub struct Units {
    pub seen: HashSet,
    pub failed: HashSet,
}

impl Default for Units {
    fn default() -> Self {
        Self { seen: HashSet::new(SEEN_SLOTS), failed: HashSet::new(FAILED_SLOTS) }
    }
}

/// A lock-free set of 64-bit hashes that never grows. A unit that finds no slot is treated as
/// seen: it is left out on both sides alike.
#[derive(Debug)]
pub struct HashSet {
    /// 0 is an empty slot. The length is a power of two.
    slots: Box<[AtomicU64]>,
}

impl HashSet {
    fn new(slots: usize) -> Self {
        Self { slots: (0..slots.next_power_of_two()).map(|_| AtomicU64::new(0)).collect() }
    }

    /// True when `hash` was not there before and is now.
    pub fn insert(&self, hash: u64) -> bool {
        let wanted = hash.max(1);
        let mask = self.slots.len() - 1;
        for probe in 0..PROBES {
            let slot = &self.slots[(wanted as usize).wrapping_add(probe) & mask];
            let found = slot.compare_exchange(0, wanted, Ordering::Relaxed, Ordering::Relaxed);
            match found {
                Ok(_) => return true,
                Err(there) if there == wanted => return false,
                Err(_) => {}
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_hash_is_new_once() {
        let set = HashSet::new(1 << 12);
        let hash = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        assert!((0..1000).all(|n| set.insert(hash(n))));
        assert!((0..1000).all(|n| !set.insert(hash(n))));
    }

    #[test]
    fn a_full_set_calls_everything_seen() {
        let set = HashSet::new(8);
        assert_eq!((1..100).filter(|n| set.insert(*n)).count(), 8);
        assert!(!set.insert(1000));
    }
}
