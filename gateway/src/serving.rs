//! From a decided version to an answer: one bounded, arrival-ordered queue per model, batches
//! that form while all workers are busy, and workers that a failing model cannot stop.
//!
//! * [`batch`]: which waiting entries share a run. Pure.
//! * [`queue`]: the bounded queue of one model.
//! * [`compute`]: the compute slots that all models share, and who gets one next.
//! * [`company`]: whether a model's requests come one at a time.
//! * [`worker`]: runs a batch, finds the bad request in it, hands rows back.
//! * [`loaded`]: a version that can answer.
//! * [`submit`]: a request goes in, an answer comes out.

pub mod batch;
pub mod company;
pub mod compute;
pub mod loaded;
pub mod queue;
pub mod submit;
pub mod worker;

#[cfg(test)]
pub(crate) mod testing;
