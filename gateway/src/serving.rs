//! From a decided version to an answer: one bounded, arrival-ordered queue per model, batches
//! that form while all workers are busy, and workers that a failing model cannot stop.
//!
//! * [`batch`]: which waiting entries share a run. Pure.
//! * [`queue`]: the bounded queue of one model.
//! * [`entry`]: one of its entries. [`not_taken`]: why it does not take one.
//! * [`compute`]: the compute slots that all models share, and who gets one next.
//! * [`fair`]: in which order tenants get the compute threads.
//! * [`drain_rate`]: how fast a queue moves. Pure.
//! * [`company`]: whether a model's requests come one at a time.
//! * [`running`]: runs on compute threads, and what happens to one that does not end.
//! * [`rescue`]: stable answers what a version on trial fails.
//! * [`fault`]: failures on purpose, for drills.
//! * [`latencies`]: how long the recent answers of a version took.
//! * [`worker`]: runs a batch, finds the bad request in it, hands rows back.
//! * [`loaded`]: a version that can answer.
//! * [`submit`]: a request goes in, an answer comes out.

pub mod batch;
pub mod company;
pub mod compute;
pub mod drain_rate;
pub mod entry;
pub mod fair;
pub mod fault;
pub mod latencies;
pub mod loaded;
pub mod not_taken;
pub mod queue;
pub mod rescue;
pub mod running;
pub mod submit;
pub mod worker;

#[cfg(test)]
pub(crate) mod testing;
