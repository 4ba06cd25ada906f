//! What an A/B experiment's numbers mean: pure functions of the spec and of what is known about
//! each unit. No clock, no chance, no I/O; times and random numbers come as arguments.
//!
//! * [`outcome`]: what a metric says of a unit once its window has passed.
//! * [`effect`]: the difference between two variants, with an interval that may be looked at
//!   all the time ([`interval`]).
//! * [`mismatch`]: whether the units that are counted are split as they were drawn.
//! * [`analysis`]: all of it for one experiment, and the [`decision`] that follows.
//! * [`thompson`]: the next weights of a bandit.
//!
//! `docs/experiments.md` has the formulas and what they guarantee.

pub mod analysis;
pub mod decision;
pub mod effect;
pub mod interval;
pub mod mismatch;
pub mod outcome;
pub mod thompson;

mod gamma;
mod moments;

pub use analysis::{Analysis, Study};
pub use decision::Decision;
pub use outcome::Observation;
