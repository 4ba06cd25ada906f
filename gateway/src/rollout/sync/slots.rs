//! The versions in memory and on their way there, and the memory that they take.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use weighbridge_config::{ByteSize, Digest, ModelName, Version};
use weighbridge_registry::VersionRecord;

use super::residency::{Hold, NoRoom, Resident, make_room};
use crate::loading::report;
use crate::serving::loaded::LoadedVersion;
use crate::telemetry::events;

/// A version of a model, and what it is loaded for.
pub(super) type Key = (ModelName, Version, Use);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Use {
    /// Whoever asks for it.
    Serving,
    /// To be compared with a canary.
    Control,
}

impl Use {
    /// The word of logs.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Control => "control",
        }
    }
}

/// How far the loading of a version is.
#[derive(Debug, Clone)]
pub(super) enum Slot {
    /// The sender is dropped when the load has ended.
    Loading(watch::Receiver<()>),
    Loaded(Arc<LoadedVersion>),
    Failed {
        reason: String,
        at: Instant,
    },
}

#[derive(Debug)]
struct Entry {
    /// Tells whether the number still means the same bytes.
    digest: Digest,
    /// What it takes in memory.
    bytes: u64,
    hold: Hold,
    slot: Slot,
}

/// What may be in memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    pub bytes: u64,
    /// How long a version stays that was loaded on demand.
    pub min_stay: Duration,
}

/// All slots.
#[derive(Debug)]
pub(super) struct Slots {
    entries: HashMap<Key, Entry>,
    budget: Budget,
}

impl Slots {
    pub(super) fn new(budget: Budget) -> Self {
        Self { entries: HashMap::new(), budget }
    }

    /// How far the loading of a version is, if it has begun.
    pub(super) fn of(&self, model: &ModelName, record: &VersionRecord, of: Use) -> Option<&Slot> {
        let entry = self.entries.get(&(model.clone(), record.version, of));
        entry.filter(|e| e.digest == record.digest).map(|e| &e.slot)
    }

    /// The same for a version of whatever bytes.
    pub(super) fn get(&self, key: &Key) -> Option<&Slot> {
        self.entries.get(key).map(|e| &e.slot)
    }

    /// Drops what `keep` does not name, unless it is being loaded.
    pub(super) fn retain(&mut self, keep: &HashMap<Key, Hold>) {
        self.entries.retain(|key, entry| match keep.get(key) {
            Some(hold) => {
                entry.hold = *hold;
                true
            }
            None => matches!(entry.slot, Slot::Loading(_)),
        });
    }

    /// Makes room for a version and marks it as being loaded. `hold` is how it will be held, and
    /// `drives_out` whether others may be put away for it.
    pub(super) fn begin(
        &mut self,
        key: Key,
        record: &VersionRecord,
        (hold, drives_out): (Hold, bool),
        ended: watch::Receiver<()>,
    ) -> Result<(), NoRoom> {
        let bytes = report::memory_of(record);
        let rank = if drives_out { hold } else { Hold::Kept };
        // What is loaded anew replaces itself.
        self.entries.remove(&key);
        self.put_away_for(bytes, rank)?;
        let slot = Slot::Loading(ended);
        self.entries.insert(key, Entry { digest: record.digest, bytes, hold, slot });
        Ok(())
    }

    /// The end of a load of what may be put away once it is there, if there is such a load.
    pub(super) fn on_the_way(&self) -> Option<watch::Receiver<()>> {
        self.entries.values().find_map(|entry| match &entry.slot {
            Slot::Loading(ended) if entry.hold != Hold::Needed => Some(ended.clone()),
            _ => None,
        })
    }

    /// Puts away what has to go now that holds may have changed. What is needed stays, even when
    /// it is more than the budget.
    pub(super) fn shrink(&mut self) {
        let _ = self.put_away_for(0, Hold::Needed);
    }

    fn put_away_for(&mut self, bytes: u64, rank: Hold) -> Result<(), NoRoom> {
        let residents: Vec<Resident<Key>> =
            self.entries.iter().filter_map(|(key, entry)| self.resident(key, entry)).collect();
        for key in make_room(&residents, self.budget.bytes, bytes, rank, Instant::now())? {
            events::put_away(&key.0, key.1);
            self.entries.remove(&key);
        }
        Ok(())
    }

    fn resident(&self, key: &Key, entry: &Entry) -> Option<Resident<Key>> {
        let (last_used, stays_until) = match &entry.slot {
            Slot::Loaded(version) => {
                (version.last_used(), Some(version.loaded_at + self.budget.min_stay))
            }
            Slot::Loading(_) => (Instant::now(), None),
            Slot::Failed { .. } => return None,
        };
        let (bytes, hold) = (entry.bytes, entry.hold);
        Some(Resident { key: key.clone(), bytes, hold, last_used, stays_until })
    }

    /// A load has ended.
    pub(super) fn end(&mut self, key: Key, record: &VersionRecord, slot: Slot) {
        let old = self.entries.get(&key);
        let (bytes, hold) = old.map_or_else(
            || (report::memory_of(record), Hold::Needed),
            |entry| (entry.bytes, entry.hold),
        );
        self.entries.insert(key, Entry { digest: record.digest, bytes, hold, slot });
    }

    /// Bytes of what is loaded and being loaded.
    pub(super) fn used(&self) -> u64 {
        let in_memory = self.entries.values().filter(|e| !matches!(e.slot, Slot::Failed { .. }));
        in_memory.map(|e| e.bytes).sum()
    }

    pub(super) fn budget(&self) -> u64 {
        self.budget.bytes
    }
}

/// Why a version is not loaded, and what an operator can do.
pub(super) fn no_room(no: NoRoom) -> String {
    let size = |bytes| ByteSize::new(bytes).to_string();
    format!(
        "it takes {} of memory and {} of {} (engine.memory) cannot be put away now: give the \
         gateway more memory, archive versions, or set residency=on_demand for models that may \
         be put away while nobody asks for them",
        size(no.wanted),
        size(no.fixed),
        size(no.budget)
    )
}
