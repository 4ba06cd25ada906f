//! Moving traffic: from the registry's routes to the table that requests read.
//!
//! * [`snapshot`]: what a request reads, immutable.
//! * [`sync`]: follows the registry, loads what must be loaded, publishes snapshots.

pub mod snapshot;
pub mod sync;
