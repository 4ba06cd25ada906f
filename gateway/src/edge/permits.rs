//! How much is in hand at once: requests, and memory for their bodies.
//!
//! Both are bounds on the whole process, whatever the number of connections and of streams on
//! them. Classes of low priority meet them earlier, and no tenant has all of what its class may
//! have: who sends slowly would otherwise keep everybody out.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use weighbridge_config::settings::{Limits, Priority};

use crate::edge::problem::{Kind, Problem};

/// The most of its class's part that one tenant has.
const OF_A_TENANT: f64 = 0.75;
/// The same for all who have not said who they are.
const OF_STRANGERS: f64 = 1.0 / 16.0;

/// What is in hand now.
#[derive(Debug, Default)]
pub struct Permits {
    requests: AtomicUsize,
    body_bytes: AtomicU64,
    tenants: Mutex<HashMap<Arc<str>, InHand>>,
}

/// What one tenant has.
#[derive(Debug, Default, PartialEq, Eq)]
struct InHand {
    requests: usize,
    bytes: u64,
}

/// A request in hand; it is let go when this is dropped.
#[derive(Debug)]
pub struct Permit {
    permits: Arc<Permits>,
    tenant: Arc<str>,
}

/// Memory for one body, given back when this is dropped.
#[derive(Debug)]
pub struct BodyMemory {
    permits: Arc<Permits>,
    tenant: Arc<str>,
    held: u64,
    limit: u64,
    /// The tenant's.
    own_limit: u64,
}

/// What a request holds until its answer is handed over. It travels among the extensions of the
/// response.
#[derive(Debug, Clone)]
pub struct Carried(#[expect(dead_code, reason = "held, never read")] Arc<Inside>);

type Inside = (Option<Arc<Permit>>, BodyMemory);

impl Carried {
    /// The place of a request, if it has one, and its memory.
    pub fn new(place: Option<Arc<Permit>>, memory: BodyMemory) -> Self {
        Self(Arc::new((place, memory)))
    }
}

impl Permits {
    /// Takes up a request, unless as many are in hand as its class or its tenant may have.
    pub fn enter(
        self: &Arc<Self>,
        limits: &Limits,
        class: Priority,
        tenant: &Arc<str>,
    ) -> Result<Permit, Problem> {
        let most = part(f64::from(limits.max_in_flight), class) as usize;
        let own_most = ((most as f64 * OF_A_TENANT) as usize).max(1);
        // Counted first: two that come at once must not both see the last place.
        let permit = Permit { permits: Arc::clone(self), tenant: Arc::clone(tenant) };
        let before = self.requests.fetch_add(1, Ordering::AcqRel);
        let own = self.of_tenant(tenant, |in_hand| {
            in_hand.requests += 1;
            in_hand.requests - 1
        });
        if own >= own_most {
            let detail = format!(
                "{own} requests of this tenant are in hand, {own_most} may (limits.max_in_flight): \
                 try again later"
            );
            return Err(Problem::new(Kind::Overloaded, detail));
        }
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
    pub fn body(
        self: &Arc<Self>,
        limits: &Limits,
        class: Priority,
        tenant: &Arc<str>,
    ) -> BodyMemory {
        // A body that is as large as it may be, and packed, must fit.
        let largest = limits.body.bytes().saturating_mul(2);
        let limit = (part(limits.body_memory.bytes() as f64, class) as u64).max(largest);
        let own_limit = ((limit as f64 * OF_A_TENANT) as u64).max(largest);
        let (permits, tenant) = (Arc::clone(self), Arc::clone(tenant));
        BodyMemory { permits, tenant, held: 0, limit, own_limit }
    }

    /// An account for what somebody sends who has not said who they are.
    pub fn body_of_stranger(self: &Arc<Self>, limits: &Limits) -> BodyMemory {
        let mut account = self.body(limits, Priority::Normal, &"".into());
        account.own_limit = (limits.body_memory.bytes() as f64 * OF_STRANGERS) as u64;
        account
    }

    fn of_tenant<T>(&self, tenant: &Arc<str>, change: impl FnOnce(&mut InHand) -> T) -> T {
        // Nothing panics while it is held; a poisoned lock would still hold whole counts.
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(in_hand) = tenants.get_mut(tenant) {
            let changed = change(in_hand);
            if *in_hand == InHand::default() {
                tenants.remove(tenant);
            }
            return changed;
        }
        change(tenants.entry(Arc::clone(tenant)).or_default())
    }
}

/// What a class may use of `limit`: all of it with the highest priority.
fn part(limit: f64, class: Priority) -> f64 {
    limit * class.share() / Priority::High.share()
}

impl BodyMemory {
    /// Takes up to `bytes` in all.
    pub fn hold(&mut self, bytes: u64) -> Result<(), Problem> {
        let more = bytes.saturating_sub(self.held);
        if more == 0 {
            return Ok(());
        }
        let (before, own) = self.add(more);
        if own > self.own_limit {
            let detail = format!(
                "the bodies in hand of this tenant take {own} bytes with this one, {} may \
                 (limits.body_memory): try again later",
                self.own_limit
            );
            return Err(Problem::new(Kind::Overloaded, detail));
        }
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

    /// Takes so many bytes more; how many were taken before, and how many this tenant has now.
    fn add(&mut self, more: u64) -> (u64, u64) {
        let before = self.permits.body_bytes.fetch_add(more, Ordering::AcqRel);
        self.held += more;
        let own = self.permits.of_tenant(&self.tenant, |in_hand| {
            in_hand.bytes += more;
            in_hand.bytes
        });
        (before, own)
    }

    /// From now on for an answer of so many bytes. It is there already, so it is not refused: the
    /// bodies that come after it are.
    pub fn turn_to(&mut self, bytes: u64) {
        self.keep(bytes);
        let more = bytes - self.held;
        if more > 0 {
            self.add(more);
        }
    }

    /// Gives back all but `bytes`.
    pub fn keep(&mut self, bytes: u64) {
        let less = self.held.saturating_sub(bytes);
        if less > 0 {
            self.permits.body_bytes.fetch_sub(less, Ordering::AcqRel);
            self.permits.of_tenant(&self.tenant, |in_hand| in_hand.bytes -= less);
            self.held -= less;
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.permits.requests.fetch_sub(1, Ordering::AcqRel);
        self.permits.of_tenant(&self.tenant, |in_hand| in_hand.requests -= 1);
    }
}

impl Drop for BodyMemory {
    fn drop(&mut self) {
        self.keep(0);
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
            for tenant in ["a", "b"] {
                while let Ok(permit) = permits.enter(&limits, class, &tenant.into()) {
                    held.push(permit);
                }
            }
            assert_eq!(held.len(), most, "{class:?}");
            assert_eq!(permits.requests(), most);
        }
        drop(held);
        assert_eq!(permits.requests(), 0);
        assert!(permits.tenants.lock().unwrap().is_empty());
    }

    #[test]
    fn a_tenant_leaves_a_quarter_to_others() {
        let permits = Arc::new(Permits::default());
        let limits = Limits { max_in_flight: 20, ..Limits::default() };
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let enter = |tenant| permits.enter(&limits, Priority::Normal, tenant);
        let held: Vec<_> = std::iter::from_fn(|| enter(&a).ok()).collect();
        assert_eq!(held.len(), 12, "three quarters of sixteen");
        assert!(enter(&a).unwrap_err().detail.contains("of this tenant"));
        assert_eq!(std::iter::from_fn(|| enter(&b).ok().map(std::mem::forget)).count(), 4);
        let sizes = (ByteSize::new(100), ByteSize::new(1600));
        let limits = Limits { body: sizes.0, body_memory: sizes.1, ..limits };
        let mut body = permits.body(&limits, Priority::High, &a);
        body.hold(1200).unwrap();
        assert_eq!(
            permits.body(&limits, Priority::High, &a).hold(1).unwrap_err().kind,
            Kind::Overloaded
        );
        permits.body(&limits, Priority::High, &b).hold(400).unwrap();
        body.keep(100);
        permits.body(&limits, Priority::High, &a).hold(1100).unwrap();
        // All who have not said who they are have a sixteenth.
        assert!(permits.body_of_stranger(&limits).hold(100).is_ok());
        assert!(permits.body_of_stranger(&limits).hold(101).is_err());
    }

    #[test]
    fn bodies_share_the_memory_and_give_it_back() {
        let permits = Arc::new(Permits::default());
        let (body, body_memory) = (ByteSize::new(500), ByteSize::new(1000));
        let limits = Limits { body, body_memory, ..Limits::default() };
        let mut first = permits.body(&limits, Priority::High, &"a".into());
        first.hold(600).unwrap();
        first.hold(500).unwrap();
        let mut second = permits.body(&limits, Priority::High, &"b".into());
        second.hold(400).unwrap();
        assert_eq!(second.hold(401).unwrap_err().kind, Kind::Overloaded);
        drop((first, second));
        assert_eq!(permits.body_bytes.load(Ordering::Relaxed), 0);
    }
}
