//! How often stable may answer what a version on trial fails: a rescue runs a request twice,
//! so a canary that takes half of the traffic and fails all of it must not double the load.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The share of a model's requests, over [`WINDOW`], that may be rescued.
const SHARE: f64 = 0.2;
const WINDOW: Duration = Duration::from_secs(10);
/// Rescues that are granted over a window whatever the rate: a quiet model's few requests are
/// no load.
const LEAST: usize = 20;
/// Rescues under way at once.
const MOST_AT_ONCE: usize = 64;

/// The rescues of one model.
#[derive(Debug)]
pub struct RescueBounds {
    /// When rescues were granted, of the last window.
    granted: Mutex<VecDeque<Instant>>,
    inside: AtomicUsize,
    /// Rescues per window, from the rate of requests.
    allowed: AtomicUsize,
}

impl Default for RescueBounds {
    fn default() -> Self {
        let allowed = AtomicUsize::new(LEAST);
        Self { granted: Mutex::default(), inside: AtomicUsize::new(0), allowed }
    }
}

/// A rescue under way.
#[derive(Debug)]
pub struct Rescue<'a>(&'a RescueBounds);

impl RescueBounds {
    /// A rescue, unless the bounds are reached.
    pub fn permit(&self, now: Instant) -> Option<Rescue<'_>> {
        let most = self.allowed.load(Ordering::Relaxed);
        let mut granted = self.granted.lock().unwrap_or_else(PoisonError::into_inner);
        while granted.front().is_some_and(|at| now.saturating_duration_since(*at) > WINDOW) {
            granted.pop_front();
        }
        if granted.len() >= most || self.inside.load(Ordering::Relaxed) >= MOST_AT_ONCE {
            return None;
        }
        granted.push_back(now);
        self.inside.fetch_add(1, Ordering::Relaxed);
        Some(Rescue(self))
    }

    /// Says how many requests per second the model gets.
    pub fn set_rate(&self, per_second: f64) {
        let allowed = (per_second * WINDOW.as_secs_f64() * SHARE) as usize;
        self.allowed.store(allowed.max(LEAST), Ordering::Relaxed);
    }
}

impl Drop for Rescue<'_> {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_the_rate_is_rescued_and_at_least_a_few() {
        let (bounds, now) = (RescueBounds::default(), Instant::now());
        let granted = |at| (0..1000).filter(|_| bounds.permit(at).is_some()).count();
        assert_eq!(granted(now), LEAST);
        bounds.set_rate(100.0);
        assert_eq!(granted(now), 200 - LEAST, "a fifth of 1,000 requests in 10 s");
        assert_eq!(granted(now + Duration::from_secs(11)), 200, "the window moves on");
    }

    #[test]
    fn only_so_many_are_under_way_at_once() {
        let (bounds, now) = (RescueBounds::default(), Instant::now());
        bounds.set_rate(1e6);
        let held: Vec<_> = (0..1000).map_while(|_| bounds.permit(now)).collect();
        assert_eq!(held.len(), MOST_AT_ONCE);
        drop(held);
        assert!(bounds.permit(now).is_some());
    }
}
