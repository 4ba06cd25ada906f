//! A rate of each tenant on each model, in bounded memory.
//!
//! The algorithm is governor's GCRA. Its own store keeps every key that ever came; ours keeps
//! the most recent ones. A bucket that is dropped begins full again, so a tenant may gain a
//! burst when [`MOST_BUCKETS`] others have come since its last request, which by then has
//! mostly refilled the bucket anyway.

use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::nanos::Nanos;
use governor::state::direct::NotKeyed;
use governor::state::{InMemoryState, StateStore};
use governor::{Quota, RateLimiter};
use quick_cache::sync::Cache;
use weighbridge_config::settings::Rate;

/// Buckets that one rate keeps: some 20 MiB when all are taken.
pub const MOST_BUCKETS: usize = 128 * 1024;

/// The buckets of one rate, by the hash of tenant and model.
#[derive(Clone)]
struct Buckets(Arc<Cache<u64, Arc<InMemoryState>>>);

impl StateStore for Buckets {
    type Key = u64;

    fn measure_and_replace<T, F, E>(&self, key: &u64, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let fresh = || Ok::<_, std::convert::Infallible>(Arc::default());
        let Ok(bucket) = self.0.get_or_insert_with(key, fresh);
        bucket.measure_and_replace(&NotKeyed::NonKey, f)
    }
}

/// A rate, and how far each tenant has used it on each model.
pub struct Limiter {
    rate: Rate,
    buckets: Buckets,
    limiter: RateLimiter<u64, Buckets, DefaultClock, StateInformationMiddleware>,
    /// Keyed by chance, so that nobody can choose two tenants that share a bucket.
    hasher: RandomState,
}

/// How a tenant stands with a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// What may come at once.
    pub quota: u32,
    /// How long an empty bucket takes to be full.
    pub window: Duration,
    /// What may come now.
    pub remaining: u32,
    /// Until what was asked for may come, or, when it may, until the bucket is full.
    pub reset: Duration,
}

/// Whether something may come now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Allowed(Standing),
    /// Later.
    Wait(Standing),
    /// It is more than ever fits at once.
    Never {
        most: u32,
    },
}

impl Limiter {
    /// Full buckets.
    pub fn new(rate: Rate) -> Self {
        let one = |count: u32| NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN);
        let period = rate.per / rate.count.max(1);
        // The library counts nanoseconds in 64 bits: a century of them is enough.
        let most = (u64::MAX as u128 / 4 / period.as_nanos().max(1)).min(u128::from(u32::MAX));
        let most = u32::try_from(most).unwrap_or(u32::MAX).max(1);
        let rate = Rate { burst: rate.burst.min(most), ..rate };
        // A period of nothing is no rate; a nanosecond is as good as none.
        let quota = Quota::with_period(period.max(Duration::from_nanos(1)))
            .unwrap_or_else(|| Quota::per_second(one(rate.count)))
            .allow_burst(one(rate.burst));
        let buckets = Buckets(Arc::new(Cache::new(MOST_BUCKETS)));
        let limiter = RateLimiter::new(quota, buckets.clone(), DefaultClock::default());
        Self { rate, buckets, limiter, hasher: RandomState::new() }
    }

    /// The rate.
    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// Takes `count` out of the tenant's bucket for the model, if they are there.
    pub fn check(&self, tenant: &str, model: &str, count: u32) -> Outcome {
        // A request without rows is work all the same.
        let count = NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN);
        let key = self.hasher.hash_one((tenant, model));
        // Its own multiplication would overflow with millions of rows at a slow rate.
        if count.get() > self.rate.burst {
            return Outcome::Never { most: self.rate.burst };
        }
        let (quota, window) = (self.rate.burst, self.rate.per.mul_f64(self.refill()));
        match self.limiter.check_key_n(&key, count) {
            Ok(Ok(state)) => {
                let remaining = state.remaining_burst_capacity();
                let missing = f64::from(quota.saturating_sub(remaining)) / f64::from(quota.max(1));
                let reset = window.mul_f64(missing);
                Outcome::Allowed(Standing { quota, window, remaining, reset })
            }
            Ok(Err(not_until)) => {
                let reset = not_until.wait_time_from(self.limiter.clock().now());
                Outcome::Wait(Standing { quota, window, remaining: 0, reset })
            }
            Err(_) => Outcome::Never { most: quota },
        }
    }

    /// Buckets that are kept now.
    pub fn buckets(&self) -> usize {
        self.buckets.0.len()
    }

    /// How many times `per` an empty bucket takes to be full.
    fn refill(&self) -> f64 {
        f64::from(self.rate.burst) / f64::from(self.rate.count.max(1))
    }
}

impl std::fmt::Debug for Limiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Limiter({})", self.rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(rate: &str) -> Limiter {
        Limiter::new(rate.parse().unwrap())
    }

    #[test]
    fn tenants_and_models_have_buckets_of_their_own() {
        let limiter = limiter("1/h burst 2");
        let allowed = |tenant: &str, model: &str, count: u32| {
            matches!(limiter.check(tenant, model, count), Outcome::Allowed(_))
        };
        assert!(allowed("a", "m", 1) && allowed("a", "m", 1));
        assert!(!allowed("a", "m", 1));
        assert!(allowed("b", "m", 2) && allowed("a", "n", 2));
        assert!(!allowed("b", "m", 1));
        assert_eq!(limiter.check("c", "m", 3), Outcome::Never { most: 2 });
        // What never fits takes nothing.
        assert!(allowed("c", "m", 2));
    }

    #[test]
    fn the_standing_says_what_is_left_and_when_more_comes() {
        let limiter = limiter("60/m burst 10");
        let Outcome::Allowed(first) = limiter.check("a", "m", 4) else { panic!("refused") };
        assert_eq!((first.quota, first.remaining), (10, 6));
        assert_eq!(first.window, Duration::from_secs(10));
        assert_eq!(first.reset, Duration::from_secs(4));
        assert!(matches!(limiter.check("a", "m", 6), Outcome::Allowed(_)));
        let Outcome::Wait(last) = limiter.check("a", "m", 1) else { panic!("allowed") };
        let about_a_second = Duration::from_millis(500)..=Duration::from_secs(1);
        assert!(about_a_second.contains(&last.reset), "{:?}", last.reset);
    }

    #[test]
    fn keys_without_end_take_bounded_memory() {
        let limiter = limiter("1/h");
        for n in 0..3 * MOST_BUCKETS {
            limiter.check(&n.to_string(), "m", 1);
        }
        assert!(limiter.buckets() <= MOST_BUCKETS, "{}", limiter.buckets());
        // The latest is remembered.
        let last = (3 * MOST_BUCKETS - 1).to_string();
        assert!(matches!(limiter.check(&last, "m", 1), Outcome::Wait(_)));
    }
}
