//! What is counted and what is logged. The only room that names metrics.

pub mod events;
pub mod experiments;
pub mod logging;
pub mod names;
mod rollouts;
pub mod shadow;
pub mod tally;
