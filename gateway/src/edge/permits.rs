//! How much is in hand at once: requests, and memory for their bodies.
//!
//! Both are bounds on the whole process, whatever the number of connections and of streams on
//! them. Classes of low priority meet them earlier.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use weighbridge_config::settings::{Limits, Priority};

use crate::edge::limit::share_of;
use crate::edge::problem::{Kind, Problem};

/// What is in hand now.
#[derive(Debug, Default)]
pub struct Permits {
    requests: AtomicUsize,
    body_bytes: AtomicU64,
}

/// A request in hand; it is let go when this is dropped.
#[derive(Debug)]
pub struct Permit(Arc<Permits>);

/// Memory for one body, given back when this is dropped.
#[derive(Debug)]
pub struct BodyMemory {
    permits: Arc<Permits>,
    held: u64,
    limit: u64,
}

impl Permits {
    /// Takes up a request, unless as many are in hand as its class may have.
    pub fn enter(self: &Arc<Self>, limits: &Limits, class: Priority) -> Result<Permit, Problem> {
        let most = part(f64::from(limits.max_in_flight), class) as usize;
        // Counted first: two that come at once must not both see the last place.
        let permit = Permit(Arc::clone(self));
        let before = self.requests.fetch_add(1, Ordering::AcqRel);
        if before >= most.max(1) {
            let detail = format!(
                "{before} requests are in hand, {most} may (limits.max_in_flight): try again later"
            );
            return Err(Problem::new(Kind::Overloaded, detail));
        }
        Ok(permit)
    }

    /// Requests in hand.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::Acquire)
    }

    /// An account for a body, with nothing taken yet.
    pub fn body(self: &Arc<Self>, limits: &Limits, class: Priority) -> BodyMemory {
        // A body that is as large as it may be, and packed, must fit.
        let largest = limits.body.bytes().saturating_mul(2);
        let limit = (part(limits.body_memory.bytes() as f64, class) as u64).max(largest);
        BodyMemory { permits: Arc::clone(self), held: 0, limit }
    }
}

/// What a class may use of `limit`: all of it with the highest priority.
fn part(limit: f64, class: Priority) -> f64 {
    limit * share_of(class) / share_of(Priority::High)
}

impl BodyMemory {
    /// Takes up to `bytes` in all.
    pub fn hold(&mut self, bytes: u64) -> Result<(), Problem> {
        let more = bytes.saturating_sub(self.held);
        if more == 0 {
            return Ok(());
        }
        let before = self.permits.body_bytes.fetch_add(more, Ordering::AcqRel);
        self.held += more;
        if before + more > self.limit {
            let detail = format!(
                "the bodies in hand take {before} bytes, this one {bytes} more, {} may \
                 (limits.body_memory): try again later",
                self.limit
            );
            return Err(Problem::new(Kind::Overloaded, detail));
        }
        Ok(())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Drop for BodyMemory {
    fn drop(&mut self) {
        self.permits.body_bytes.fetch_sub(self.held, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use weighbridge_config::ByteSize;

    use super::*;

    #[test]
    fn low_priority_is_refused_first_and_high_last() {
        let permits = Arc::new(Permits::default());
        let limits = Limits { max_in_flight: 10, ..Limits::default() };
        let mut held = Vec::new();
        for (class, most) in [(Priority::Low, 4), (Priority::Normal, 8), (Priority::High, 10)] {
            while let Ok(permit) = permits.enter(&limits, class) {
                held.push(permit);
            }
            assert_eq!(held.len(), most, "{class:?}");
            assert_eq!(permits.requests(), most);
        }
        drop(held);
        assert_eq!(permits.requests(), 0);
    }

    #[test]
    fn bodies_share_the_memory_and_give_it_back() {
        let permits = Arc::new(Permits::default());
        let (body, body_memory) = (ByteSize::new(500), ByteSize::new(1000));
        let limits = Limits { body, body_memory, ..Limits::default() };
        let mut first = permits.body(&limits, Priority::High);
        first.hold(600).unwrap();
        first.hold(500).unwrap();
        let mut second = permits.body(&limits, Priority::High);
        second.hold(400).unwrap();
        assert_eq!(second.hold(401).unwrap_err().kind, Kind::Overloaded);
        drop((first, second));
        assert_eq!(permits.body_bytes.load(Ordering::Relaxed), 0);
    }
}
