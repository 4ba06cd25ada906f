//! Why a queue does not take an entry.

use std::time::{Duration, Instant};

use crate::serving::fair::Party;

/// The part of its time that a request of normal priority may take, as foretold: what is foretold
/// is not certain.
const NORMAL_MAY_TAKE: f64 = 0.8;
/// The same for any priority.
const MOST_MAY_TAKE: f64 = 0.85;

/// Why an entry was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotTaken {
    Full(QueueFull),
    /// It would wait past its deadline.
    TooLate(TooLate),
}

/// An entry would wait past its deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLate {
    /// How long it would wait, as the queue moves now.
    pub wait: Duration,
    /// How long it may.
    pub left: Duration,
}

impl TooLate {
    /// None when a run that begins after `wait` ends within what the party may take.
    pub fn of(
        wait: Duration,
        run: Duration,
        party: &Party,
        deadline: Instant,
        now: Instant,
    ) -> Option<Self> {
        let left = deadline.saturating_duration_since(now);
        let may = left.mul_f64((party.priority.share() * NORMAL_MAY_TAKE).min(MOST_MAY_TAKE));
        (wait + run.min(left / 2) > may).then_some(Self { wait, left })
    }
}

/// The queue is full: the entry was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueFull {
    /// Rows that wait.
    pub waiting: usize,
    /// Rows that may wait.
    pub limit: usize,
}
