//! Moving traffic: from the registry's routes to the table that requests read, and from what
//! requests leave behind to the next move of a rollout.
//!
//! * [`snapshot`]: what a request reads, immutable.
//! * [`sync`]: follows the registry, loads what must be loaded, publishes snapshots.
//! * [`trial`]: a canary beside its stable version at one weight; what requests go through.
//! * [`control`]: whose answer times a canary's are compared with.
//! * [`coin`]: whether a rollout drew this request's coin.
//! * [`trials`]: those in force, kept over snapshots.
//! * [`evidence`]: the cells that requests are counted in; [`units`]: sticky keys seen.
//! * [`rewards`]: what users report back.
//! * [`harvest`]: from cells to increments for the judge (`weighbridge-judge`).
//! * [`course`]: one rollout under judgement: looks, decides, says what to do.
//! * [`controller`]: runs the courses and does what they say.
//! * [`operate`]: what people do to rollouts; [`explain`]: what they are told.
//! * [`moves`]: makes a move: registry, snapshot, log, metrics, notification.

pub mod coin;
pub mod control;
pub mod controller;
pub mod course;
pub mod evidence;
pub mod explain;
pub mod harvest;
pub mod moves;
pub mod operate;
pub mod rewards;
pub mod snapshot;
pub mod sync;
pub mod trial;
pub mod trials;
pub mod units;
