//! What tenants may use in a day, UTC.
//!
//! Counted in memory and added to the registry every few seconds, so that a restart goes on
//! where the process stopped; a crash forgets what was counted since then. Nothing is written
//! while a request waits.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use weighbridge_config::settings;
use weighbridge_registry::QuotaUse;

const DAY_MS: u64 = 24 * 3600 * 1000;
/// Tenants with a quota that one day may have: some 150 MiB. More of them are not counted, which
/// is logged.
pub const MOST_TENANTS: usize = 1_000_000;

/// What one tenant has used today.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Used {
    requests: u64,
    rows: u64,
    /// The part of both that the registry has been told.
    told: (u64, u64),
}

#[derive(Debug, Default)]
struct Today {
    /// Days since 1970.
    day: u64,
    tenants: HashMap<Arc<str>, Used>,
    /// Of days that have ended, what the registry has not been told.
    left: Vec<(u64, QuotaUse)>,
    is_full: bool,
}

/// The use of quotas by all tenants.
#[derive(Debug, Default)]
pub struct Quotas(Mutex<Today>);

/// What was counted for one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Charge {
    day: u64,
    rows: u64,
}

/// A quota is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsedUp {
    /// `requests` or `rows`.
    pub unit: &'static str,
    pub limit: u64,
    pub used: u64,
    /// Of the request.
    pub more: u64,
    /// Until the next day begins.
    pub reset: Duration,
}

/// The day of a moment in Unix milliseconds.
pub fn day_of(now_ms: u64) -> u64 {
    now_ms / DAY_MS
}

impl Quotas {
    /// Counts a request of `rows` rows, if the tenant's quotas have room for both.
    pub fn charge(
        &self,
        tenant: &Arc<str>,
        tier: &settings::Tier,
        rows: u64,
        now_ms: u64,
    ) -> Result<Option<Charge>, UsedUp> {
        if tier.requests_per_day.is_none() && tier.rows_per_day.is_none() {
            return Ok(None);
        }
        let mut today = self.lock();
        today.turn(day_of(now_ms));
        let used = today.tenants.get(tenant).copied().unwrap_or_default();
        let wanted = [
            ("requests", tier.requests_per_day, used.requests, 1),
            ("rows", tier.rows_per_day, used.rows, rows),
        ];
        for (unit, limit, used, more) in wanted {
            if let Some(limit) = limit.filter(|limit| used.saturating_add(more) > *limit) {
                let reset = Duration::from_millis(DAY_MS - now_ms % DAY_MS);
                return Err(UsedUp { unit, limit, used, more, reset });
            }
        }
        let is_full = today.tenants.len() >= MOST_TENANTS;
        match today.tenants.entry(Arc::clone(tenant)) {
            Entry::Occupied(mut entry) => entry.get_mut().add(1, rows),
            Entry::Vacant(entry) if !is_full => entry.insert(Used::default()).add(1, rows),
            Entry::Vacant(_) => {
                if !std::mem::replace(&mut today.is_full, true) {
                    tracing::error!(
                        tenants = MOST_TENANTS,
                        "too many tenants have quotas today: the use of further ones is not counted"
                    );
                }
                return Ok(None);
            }
        }
        Ok(Some(Charge { day: today.day, rows }))
    }

    /// Gives back what was counted for a request that was not answered after all. What the
    /// registry has been told of stays counted, and so does what an earlier day has.
    pub fn refund(&self, tenant: &Arc<str>, charge: Charge) {
        let mut today = self.lock();
        if today.day != charge.day {
            return;
        }
        if let Some(used) = today.tenants.get_mut(tenant) {
            used.requests = used.requests.saturating_sub(1).max(used.told.0);
            used.rows = used.rows.saturating_sub(charge.rows).max(used.told.1);
        }
    }

    /// Takes in what the registry knows of a day.
    pub fn recall(&self, day: u64, known: Vec<QuotaUse>) {
        let mut today = self.lock();
        today.turn(day);
        for QuotaUse { tenant, requests, rows } in known {
            if today.tenants.len() < MOST_TENANTS {
                let used = today.tenants.entry(tenant.into()).or_default();
                used.requests += requests;
                used.rows += rows;
                used.told.0 += requests;
                used.told.1 += rows;
            }
        }
    }

    /// What the registry has not been told yet, by day; at most `most` tenants.
    pub fn untold(&self, most: usize) -> Vec<(u64, QuotaUse)> {
        let mut today = self.lock();
        let Today { day, tenants, left, .. } = &mut *today;
        let mut untold: Vec<(u64, QuotaUse)> = left.drain(..left.len().min(most)).collect();
        for (tenant, used) in tenants {
            if untold.len() >= most {
                break;
            }
            let (requests, rows) = (used.requests - used.told.0, used.rows - used.told.1);
            if (requests, rows) != (0, 0) {
                used.told = (used.requests, used.rows);
                untold.push((*day, QuotaUse { tenant: tenant.to_string(), requests, rows }));
            }
        }
        untold
    }

    /// Gives back what could not be told.
    pub fn give_back(&self, untold: Vec<(u64, QuotaUse)>) {
        self.lock().left.extend(untold);
    }

    fn lock(&self) -> MutexGuard<'_, Today> {
        // Nothing panics while it is held; a poisoned lock would still hold a whole state.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Today {
    /// Begins a new day, if it is one. A clock that goes back changes nothing.
    fn turn(&mut self, day: u64) {
        if day <= self.day {
            return;
        }
        let before = std::mem::replace(&mut self.day, day);
        self.is_full = false;
        for (tenant, used) in std::mem::take(&mut self.tenants) {
            let (requests, rows) = (used.requests - used.told.0, used.rows - used.told.1);
            if (requests, rows) != (0, 0) {
                self.left.push((before, QuotaUse { tenant: tenant.to_string(), requests, rows }));
            }
        }
    }
}

impl Used {
    fn add(&mut self, requests: u64, rows: u64) {
        self.requests = self.requests.saturating_add(requests);
        self.rows = self.rows.saturating_add(rows);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tier(requests: Option<u64>, rows: Option<u64>) -> settings::Tier {
        settings::Tier {
            requests_per_day: requests,
            rows_per_day: rows,
            ..settings::Tier::default()
        }
    }

    const NOON: u64 = 20_000 * DAY_MS + DAY_MS / 2;

    #[test]
    fn a_day_has_a_quota_of_requests_and_of_rows() {
        let (quotas, a): (_, Arc<str>) = (Quotas::default(), "a".into());
        let tier = tier(Some(3), Some(10));
        let charge = |rows| Ok(Some(Charge { day: 20_000, rows }));
        assert_eq!(quotas.charge(&a, &tier, 4, NOON), charge(4));
        let refused = quotas.charge(&a, &tier, 7, NOON).unwrap_err();
        assert_eq!((refused.unit, refused.limit, refused.used), ("rows", 10, 4));
        assert_eq!(refused.reset, Duration::from_secs(12 * 3600));
        // What is refused is not counted.
        assert_eq!(quotas.charge(&a, &tier, 6, NOON), charge(6));
        assert_eq!(quotas.charge(&a, &tier, 0, NOON), charge(0));
        assert_eq!(quotas.charge(&a, &tier, 0, NOON).unwrap_err().unit, "requests");
        assert_eq!(quotas.charge(&"b".into(), &tier, 1, NOON), charge(1));
        assert!(quotas.charge(&a, &tier, 1, NOON + DAY_MS).is_ok(), "the next day");
    }

    #[test]
    fn use_is_told_once_and_recalled() {
        let (quotas, a): (_, Arc<str>) = (Quotas::default(), "a".into());
        let tier = tier(None, Some(10));
        quotas.charge(&a, &tier, 4, NOON).unwrap();
        let taken_back = quotas.charge(&a, &tier, 6, NOON).unwrap().unwrap();
        quotas.refund(&a, taken_back);
        quotas.refund(&a, Charge { day: 19_999, rows: 4 });
        let told = quotas.untold(10);
        let used = |requests, rows| QuotaUse { tenant: "a".into(), requests, rows };
        assert_eq!(told, [(20_000, used(1, 4))]);
        assert_eq!(quotas.untold(10), []);
        // The registry was away: it is told later, after the day has ended too.
        quotas.give_back(told);
        quotas.charge(&a, &tier, 2, NOON).unwrap();
        quotas.charge(&a, &tier, 3, NOON + DAY_MS).unwrap();
        let mut told = quotas.untold(10);
        told.sort_by_key(|(day, used)| (*day, used.rows));
        assert_eq!(told, [(20_000, used(1, 2)), (20_000, used(1, 4)), (20_001, used(1, 3))]);

        let restarted = Quotas::default();
        restarted.recall(20_000, vec![used(2, 6)]);
        assert_eq!(restarted.untold(10), []);
        assert_eq!(restarted.charge(&a, &tier, 5, NOON).unwrap_err().used, 6);
        restarted.charge(&a, &tier, 4, NOON).unwrap();
        assert_eq!(restarted.untold(10), [(20_000, used(1, 4))]);
    }
}
