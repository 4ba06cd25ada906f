//! Who is next when tenants compete for the compute threads: start-time fair queueing
//! (P. Goyal, H. Vin, H. Cheng, "Start-time Fair Queueing", SIGCOMM 1996), in compute time.
//!
//! Each entry gets a tag when it comes: the virtual time, or, where its flow has had more than
//! its share already, the time at which its share covers it. Entries run in the order of their
//! tags, within a model's queue and between the queues. A flow is a tenant on a model; a tenant
//! that keeps several models busy pays for each of them as many times as there are, so that its
//! share is one all the same.
//!
//! Costs are the measured time of a run per row, divided by the weight of the tenant's tier.
//! Tags do not depend on the version: within a flow, and so for each of two compared versions,
//! the order is that of arrival.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use weighbridge_config::ModelName;
use weighbridge_config::settings::Priority;

use crate::serving::drain_rate::DrainRate;

/// Flows that are looked through for idle ones when so many have come.
const TIDY_EVERY: usize = 4096;

/// How long a tenant that has come counts as there.
const COMPANY: Duration = Duration::from_secs(1);

/// A tenant as the compute threads know it.
#[derive(Debug, Clone, PartialEq)]
pub struct Party {
    pub tenant: Arc<str>,
    /// Its share, compared with those of other tenants; above 0.
    pub weight: f64,
    /// The lowest is shed first.
    pub priority: Priority,
}

impl Default for Party {
    /// Somebody like everybody else.
    fn default() -> Self {
        Self { tenant: "".into(), weight: 1.0, priority: Priority::Normal }
    }
}

/// Where an entry stands.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Place {
    /// Lower ones run first, in virtual microseconds.
    pub tag: f64,
    /// What its tenant was charged for it, in virtual microseconds.
    pub charge: f64,
    /// Its part of the time of a run, in microseconds.
    pub cost_us: f64,
}

/// An entry that has left its queue.
#[derive(Debug, Clone, Copy)]
pub struct Gone<'e> {
    pub party: &'e Party,
    pub place: Place,
    /// False for one that was dropped: its tenant gets the charge back.
    pub runs: bool,
}

/// What one tenant has been promised on one model.
#[derive(Debug, Default)]
struct Flow {
    /// Where its next entry may start, in virtual microseconds.
    finish: f64,
    waiting: usize,
}

#[derive(Debug, Default)]
struct State {
    /// The tag of the entry that was taken last, in virtual microseconds.
    now: f64,
    tenants: HashMap<Arc<str>, HashMap<ModelName, Flow>>,
    waiting: usize,
    /// What waits of each priority, in microseconds of runs.
    waiting_us: [f64; Priority::COUNT],
    /// How fast that becomes less.
    drain: DrainRate,
    since_tidy: usize,
    /// Who came last, and when that was somebody else than before.
    last: Option<Arc<str>>,
    switched: Option<Instant>,
}

/// The virtual time that all queues share.
#[derive(Debug, Default)]
pub struct Fair(Mutex<State>);

impl Fair {
    /// Whether several tenants compete at the moment, `party` among them or not.
    pub fn has_company(&self, party: &Party, now: Instant) -> bool {
        let mut state = self.lock();
        if state.last.as_ref() != Some(&party.tenant) {
            let is_first = state.last.replace(Arc::clone(&party.tenant)).is_none();
            state.switched = (!is_first).then_some(now);
        }
        state.switched.is_some_and(|at| now.saturating_duration_since(at) < COMPANY)
    }

    /// The tag that a new entry of `party` would get.
    pub fn tag(&self, party: &Party, model: &ModelName) -> f64 {
        let state = self.lock();
        let flow = state.tenants.get(&party.tenant).and_then(|flows| flows.get(model));
        flow.map_or(state.now, |flow| state.now.max(flow.finish))
    }

    /// Takes a new entry of `party` that takes `cost_us` microseconds.
    pub fn enter(&self, party: &Party, model: &ModelName, cost_us: f64) -> Place {
        let mut state = self.lock();
        state.waiting += 1;
        state.waiting_us[party.priority as usize] += cost_us;
        state.since_tidy += 1;
        if state.since_tidy >= TIDY_EVERY {
            state.tidy();
        }
        let State { now, tenants, .. } = &mut *state;
        if !tenants.contains_key(&party.tenant) {
            tenants.insert(Arc::clone(&party.tenant), HashMap::new());
        }
        let nowhere = Place { tag: *now, charge: 0.0, cost_us };
        let Some(flows) = tenants.get_mut(&party.tenant) else { return nowhere };
        let others = flows.iter().filter(|(of, flow)| *of != model && flow.waiting > 0).count();
        if !flows.contains_key(model) {
            flows.insert(model.clone(), Flow::default());
        }
        let Some(flow) = flows.get_mut(model) else { return nowhere };
        let tag = now.max(flow.finish);
        let charge = cost_us * (1 + others) as f64 / party.weight;
        flow.finish = tag + charge;
        flow.waiting += 1;
        Place { tag, charge, cost_us }
    }

    /// Entries were pushed out of the queue of `model`.
    pub fn leave<'e>(&self, model: &ModelName, gone: impl IntoIterator<Item = Gone<'e>>) {
        self.lock().leave(model, gone);
    }

    /// These entries were taken off the queue of `model`, the first of those that run with the
    /// tag `first`.
    pub fn took<'e>(
        &self,
        model: &ModelName,
        first: Option<f64>,
        gone: impl IntoIterator<Item = Gone<'e>>,
        now: Instant,
    ) {
        let mut state = self.lock();
        state.now = first.map_or(state.now, |tag| state.now.max(tag));
        let taken_us = state.leave(model, gone);
        let left_us: f64 = state.waiting_us.iter().sum();
        // Microseconds are fine enough to be counted.
        state.drain.took(taken_us as usize, left_us as usize, now);
    }

    /// How long what waits of higher priority will take, on whatever model; none where nothing
    /// does or nobody knows.
    pub fn wait_for_higher(&self, priority: Priority) -> Option<Duration> {
        if priority == Priority::High {
            return None;
        }
        let state = self.lock();
        let higher: f64 = state.waiting_us.iter().skip(priority as usize + 1).sum();
        state.drain.wait(higher as usize)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held; a poisoned lock would still hold a whole state.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Lets entries go; the microseconds of runs that they stood for. Those that do not run get
    /// their charge back, or who is refused more than others would fall behind for it.
    fn leave<'e>(&mut self, model: &ModelName, gone: impl IntoIterator<Item = Gone<'e>>) -> f64 {
        let Self { now, tenants, waiting, waiting_us, .. } = self;
        let mut left_us = 0.0;
        for Gone { party, place, runs } in gone {
            let flows = tenants.get_mut(&party.tenant);
            if let Some(flow) = flows.and_then(|flows| flows.get_mut(model)) {
                let back = if runs { 0.0 } else { place.charge };
                flow.waiting = flow.waiting.saturating_sub(1);
                flow.finish = (flow.finish - back).max(*now);
            }
            *waiting = waiting.saturating_sub(1);
            waiting_us[party.priority as usize] -= place.cost_us;
            left_us += place.cost_us;
        }
        // Nobody waits: what anybody has had is forgotten.
        if *waiting == 0 {
            *now = 0.0;
            *waiting_us = Default::default();
            tenants.clear();
        }
        left_us
    }

    /// Forgets flows that have nothing waiting and have had no more than their share.
    fn tidy(&mut self) {
        let now = self.now;
        self.tenants.retain(|_, flows| {
            flows.retain(|_, flow| flow.waiting > 0 || flow.finish > now);
            !flows.is_empty()
        });
        self.since_tidy = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn party(tenant: &str, weight: f64) -> Party {
        Party { tenant: tenant.into(), weight, ..Party::default() }
    }

    fn model(name: &str) -> ModelName {
        name.parse().unwrap()
    }

    /// An entry with this tag is run.
    fn served(fair: &Fair, model: &ModelName, tag: f64) {
        fair.took(model, Some(tag), [], Instant::now());
    }

    #[test]
    fn a_newcomer_goes_before_the_backlog_of_others() {
        let (fair, m) = (Fair::default(), model("m"));
        let flood: Vec<f64> =
            (0..10).map(|_| fair.enter(&party("a", 1.0), &m, 100.0).tag).collect();
        assert_eq!((flood[0], flood[9]), (0.0, 900.0));
        served(&fair, &m, 300.0);
        assert_eq!(fair.enter(&party("b", 1.0), &m, 100.0).tag, 300.0, "now, not the end");
        assert_eq!(fair.enter(&party("b", 1.0), &m, 100.0).tag, 400.0);
        assert_eq!(fair.enter(&party("b", 1.0), &model("n"), 100.0).tag, 300.0);
    }

    #[test]
    fn shares_follow_weights_and_cost() {
        let (fair, m) = (Fair::default(), model("m"));
        let of = |tenant: &str, weight: f64, cost: f64| {
            let tags: Vec<f64> =
                (0..100).map(|_| fair.enter(&party(tenant, weight), &m, cost).tag).collect();
            tags.iter().filter(|tag| **tag < 1_000.0).count() as f64 * cost
        };
        let (plain, triple, dear) = (of("a", 1.0, 100.0), of("b", 3.0, 100.0), of("c", 1.0, 500.0));
        assert_eq!((plain, triple, dear), (1_000.0, 3_000.0, 1_000.0));
    }

    #[test]
    fn two_models_of_one_tenant_share_its_share() {
        let fair = Fair::default();
        let (m, n) = (model("m"), model("n"));
        let mut before = 0;
        for _ in 0..100 {
            let a = party("a", 1.0);
            before += usize::from(fair.enter(&a, &m, 100.0).tag < 1_000.0);
            before += usize::from(fair.enter(&a, &n, 100.0).tag < 1_000.0);
        }
        assert!((10..=12).contains(&before), "{before}: as much as with one model");
    }

    #[test]
    fn what_was_had_is_forgotten_when_nobody_waits() {
        let (fair, m) = (Fair::default(), model("m"));
        for _ in 0..5 {
            fair.enter(&party("a", 1.0), &m, 100.0);
        }
        let a = party("a", 1.0);
        let ran = Gone { party: &a, place: Place::default(), runs: true };
        fair.leave(&m, [ran; 4]);
        assert_eq!(fair.enter(&party("a", 1.0), &m, 100.0).tag, 500.0);
        fair.leave(&m, [ran; 2]);
        assert_eq!(fair.enter(&party("a", 1.0), &m, 100.0).tag, 0.0);
    }

    #[test]
    fn what_did_not_run_costs_nothing() {
        let (fair, m) = (Fair::default(), model("m"));
        let a = party("a", 1.0);
        let places: Vec<Place> = (0..10).map(|_| fair.enter(&a, &m, 100.0)).collect();
        assert_eq!(fair.tag(&a, &m), 1_000.0);
        let dropped = |place: &Place| Gone { party: &a, place: *place, runs: false };
        fair.leave(&m, places[4..].iter().map(dropped));
        assert_eq!(fair.tag(&a, &m), 400.0);
        // Never before the present.
        served(&fair, &m, 350.0);
        fair.leave(&m, [dropped(&places[3])]);
        assert_eq!((fair.tag(&a, &m), fair.tag(&party("b", 1.0), &m)), (350.0, 350.0));
    }

    #[test]
    fn what_waits_of_higher_priority_is_known_over_all_models() {
        let (fair, m, n) = (Fair::default(), model("m"), model("n"));
        let of = |priority: Priority| Party { priority, ..party("a", 1.0) };
        let [low, normal, high] = [Priority::Low, Priority::Normal, Priority::High].map(of);
        let waits = || [&low, &normal, &high].map(|of| fair.wait_for_higher(of.priority));
        let mut now = Instant::now();
        let mut taken = |party: &Party| {
            now += Duration::from_millis(10);
            let place = fair.enter(party, &m, 5_000.0);
            fair.took(&m, Some(place.tag), [Gone { party, place, runs: true }], now);
        };
        let waiting = fair.enter(&low, &n, 20_000.0);
        (0..200).for_each(|_| taken(&low));
        assert_eq!(waits(), [None; 3], "nobody waits of a higher one");
        // Two milliseconds of the clock for one of a run.
        let normal_waits = fair.enter(&normal, &n, 30_000.0);
        fair.enter(&high, &m, 10_000.0);
        let close = |wait: Option<Duration>, millis: f64| {
            let wait = wait.unwrap().as_secs_f64() * 1e3;
            assert!((wait / millis - 1.0).abs() < 0.02, "{wait} ms, wanted {millis}");
        };
        let [for_low, for_normal, for_high] = waits();
        close(for_low, 80.0);
        close(for_normal, 20.0);
        assert_eq!(for_high, None);
        fair.leave(&n, [Gone { party: &normal, place: normal_waits, runs: false }]);
        fair.leave(&n, [Gone { party: &low, place: waiting, runs: false }]);
        close(waits()[0], 20.0);
    }

    #[test]
    fn company_is_another_tenant_within_a_second() {
        let (fair, start) = (Fair::default(), Instant::now());
        let at = |tenant: &str, millis: u64| {
            fair.has_company(&party(tenant, 1.0), start + Duration::from_millis(millis))
        };
        assert!(!at("a", 0) && !at("a", 100));
        assert!(at("b", 200) && at("b", 300) && at("b", 1_199));
        assert!(!at("b", 1_200));
        assert!(at("a", 5_000));
    }

    #[test]
    fn tenants_without_end_are_forgotten() {
        let (fair, m) = (Fair::default(), model("m"));
        fair.enter(&party("waits", 1.0), &m, 100.0);
        for n in 0..10 * TIDY_EVERY {
            let tenant = n.to_string();
            let party = party(&tenant, 1.0);
            let place = fair.enter(&party, &m, 100.0);
            fair.leave(&m, [Gone { party: &party, place, runs: true }]);
            served(&fair, &m, place.tag + 100.0);
        }
        assert!(fair.lock().tenants.len() <= TIDY_EVERY + 1);
    }
}
