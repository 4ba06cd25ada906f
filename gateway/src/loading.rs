//! From stored bytes to a version that can answer.
//!
//! * [`vet`]: the check of a pushed version, in a child process with limits: an endless
//!   optimiser, a stack overflow or a memory hog cannot be caught in this one. It runs the
//!   [`golden`] cases too.
//! * [`compatible`]: whether a version may take stable's place without its callers noticing.
//! * [`loader`]: loads what has passed, on its own few low-priority threads: a load never
//!   takes the thread of a live request.
//! * [`memory`]: how much of it loaded versions may take.

pub mod compatible;
mod golden;
pub mod loader;
pub mod memory;
pub mod report;
pub mod vet;

/// Stack of a thread that loads: graphs are walked recursively.
pub(crate) const LOAD_STACK_BYTES: usize = 32 << 20;
