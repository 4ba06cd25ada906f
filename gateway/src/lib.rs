//! What is happening: predictions, traffic split, batching, health; the server behind the
//! binary `weighbridge`.
//!
//! The way of a prediction: [`edge`] (listener, request id, metrics, authentication, limits) →
//! [`api`] (decode) → `weighbridge-routing` (which version) → [`serving`] (queue, batch,
//! worker) → `weighbridge-engine`. It reads one [`rollout::snapshot::Snapshot`] at the start and
//! uses it to the end; it awaits neither the registry nor the model store.
//!
//! The way of a change: [`api`] → [`control`] → registry → [`rollout::sync`] (loads what must
//! be loaded) → a new snapshot, swapped in whole.

pub mod api;
pub mod app;
pub mod control;
pub mod data_dir;
pub mod demo;
pub mod edge;
pub mod experiment;
pub mod gateway;
pub mod loading;
pub mod notify;
pub mod push;
pub mod rollout;
pub mod secrets;
pub mod serving;
pub mod shadow;
pub mod telemetry;

/// Now as Unix time in milliseconds: the registry takes time as an argument.
pub(crate) fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}
