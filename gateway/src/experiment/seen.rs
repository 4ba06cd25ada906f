//! Which units an experiment has exposed, and to what: so that an exposure is logged once, and
//! so that a unit keeps its variant when the weights change.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Shards, so that requests rarely wait for each other.
const SHARDS: usize = 16;
/// The most units that are remembered: about 40 MB.
const MOST_UNITS: usize = 1 << 20;

/// What is remembered of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// The variant at this place.
    Variant(u8),
    /// Anything else that is logged once: a holdout, a variant by force.
    Aside,
}

/// The units of one experiment.
#[derive(Debug)]
pub struct Seen {
    hasher: RandomState,
    shards: [Mutex<HashMap<u64, Mark>>; SHARDS],
    count: AtomicUsize,
    most: usize,
}

impl Default for Seen {
    fn default() -> Self {
        Self::with_room_for(MOST_UNITS)
    }
}

impl Seen {
    fn with_room_for(most: usize) -> Self {
        let (hasher, count) = (RandomState::new(), AtomicUsize::new(0));
        Self { hasher, shards: Default::default(), count, most }
    }

    /// What is remembered of a unit.
    pub fn get(&self, unit: &str) -> Option<Mark> {
        let hash = self.hasher.hash_one(unit);
        self.shard(hash).get(&hash).copied()
    }

    /// Remembers a unit; false when it was known, or when there is no room for more.
    pub fn insert(&self, unit: &str, mark: Mark) -> bool {
        let hash = self.hasher.hash_one(unit);
        let mut shard = self.shard(hash);
        if shard.contains_key(&hash) || self.is_full() {
            return false;
        }
        shard.insert(hash, mark);
        self.count.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// Forgets a unit, so that it is logged when it comes next.
    pub fn remove(&self, unit: &str) {
        let hash = self.hasher.hash_one(unit);
        if self.shard(hash).remove(&hash).is_some() {
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Forgets all: the registry ignores what it knows already.
    pub fn clear(&self) {
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            self.count.fetch_sub(shard.len(), Ordering::Relaxed);
            shard.clear();
        }
    }

    /// True when no unit can be remembered any more.
    pub fn is_full(&self) -> bool {
        self.count.load(Ordering::Relaxed) >= self.most
    }

    fn shard(&self, hash: u64) -> MutexGuard<'_, HashMap<u64, Mark>> {
        self.shards[hash as usize % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_new_once_until_it_is_forgotten() {
        let seen = Seen::with_room_for(2);
        assert_eq!(seen.get("alice"), None);
        assert!(seen.insert("alice", Mark::Variant(1)));
        assert!(!seen.insert("alice", Mark::Variant(0)), "the first one stays");
        assert_eq!(seen.get("alice"), Some(Mark::Variant(1)));
        seen.remove("alice");
        assert!(seen.insert("alice", Mark::Aside) && seen.insert("bob", Mark::Aside));
        assert!(seen.is_full() && !seen.insert("carol", Mark::Aside));
        seen.clear();
        assert!(!seen.is_full() && seen.insert("carol", Mark::Aside));
    }
}
