//! How much compute copies may take: a share of the compute slots, over all shadows, of which
//! each shadow is sure of an equal part. Pure: time is an argument.
//!
//! Costs are paid at the door, before a copy is made, at what a run is expected to take, and
//! settled when the run has ended; the thread that runs waits while what it really used is ahead
//! of the clock. So the share holds whatever the expectation was worth, and what does not fit is
//! shed before it costs anything.
//!
//! There is no lock: a request must not wait for a low-priority thread that was put aside while
//! it held one.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Nanoseconds: of a clock that started at 0, or of compute.
pub type Nanos = i64;

/// Time without copies that may be made up for, in nanoseconds: longer bursts of low-priority
/// work would show in the caches of the live versions.
const BURST: Nanos = 200_000_000;

/// Time that has been paid for; it may run ahead of the clock by the cost of one run, and not
/// further behind it than [`BURST`].
#[derive(Debug)]
struct Pace(AtomicI64);

impl Default for Pace {
    fn default() -> Self {
        Self(AtomicI64::new(Nanos::MIN))
    }
}

impl Pace {
    /// Pays if `least` or more credit is there.
    fn pay(&self, now: Nanos, cost: Nanos, least: Nanos) -> bool {
        let pay = |paid: Nanos| {
            let from = paid.max(now - BURST);
            (now - from >= least).then(|| from.saturating_add(cost))
        };
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, pay).is_ok()
    }

    /// Adds what a payment was too low by, or takes back what it was too high by.
    fn correct(&self, by: Nanos) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    /// How far what was paid for is ahead of the clock.
    fn ahead(&self, now: Nanos) -> Nanos {
        self.0.load(Ordering::Relaxed).saturating_sub(now)
    }
}

/// The budget of all shadows.
#[derive(Debug)]
pub struct Budget {
    /// Compute per time, at most 1: there is one thread.
    rate: f64,
    door: Pace,
    ran: Pace,
    seats: Arc<AtomicUsize>,
}

/// One shadow's part of the budget.
#[derive(Debug, Default)]
pub struct Seat {
    own: Pace,
    taken: OnceLock<Arc<AtomicUsize>>,
    is_left: AtomicBool,
}

/// What was paid for a run, in nanoseconds of the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Charge {
    door: Nanos,
    /// 0 when the run takes what others leave.
    own: Nanos,
}

impl Budget {
    /// `percent` of the time of `slots` compute slots.
    pub fn new(percent: u32, slots: usize) -> Self {
        let rate = (f64::from(percent) / 100.0 * slots as f64).clamp(1e-3, 1.0);
        Self { rate, door: Pace::default(), ran: Pace::default(), seats: Arc::default() }
    }

    /// Pays for a run that is expected to take `compute`, unless the budget is used up. Each
    /// shadow has its part, whatever the others have taken; one that has had it may take what
    /// the others leave, down to half of the burst.
    pub fn pay(&self, seat: &Seat, now: Nanos, compute: Nanos) -> Option<Charge> {
        let seats = seat.take(&self.seats);
        let door = self.time_of(compute);
        let own = door.saturating_mul(seats);
        if seat.own.pay(now, own, 0) {
            self.door.pay(now, door, Nanos::MIN);
            return Some(Charge { door, own });
        }
        self.door.pay(now, door, BURST / 2).then_some(Charge { door, own: 0 })
    }

    /// Replaces what was paid for a run by what it took; 0 when there was none.
    pub fn settle(&self, seat: &Seat, paid: Charge, compute: Nanos) {
        let door = self.time_of(compute);
        self.door.correct(door - paid.door);
        if paid.own > 0 {
            let seats = seat.take(&self.seats);
            seat.own.correct(door.saturating_mul(seats) - paid.own);
        }
    }

    /// Notes what the thread has used.
    pub fn ran(&self, now: Nanos, compute: Nanos) {
        self.ran.pay(now, self.time_of(compute), Nanos::MIN);
    }

    /// How long the thread must wait before its next run.
    pub fn wait(&self, now: Nanos) -> Option<Duration> {
        u64::try_from(self.ran.ahead(now)).ok().filter(|ns| *ns > 0).map(Duration::from_nanos)
    }

    /// The time in which the budget allows that much compute.
    fn time_of(&self, compute: Nanos) -> Nanos {
        // Floats saturate: a cost beyond all bounds stays one.
        (compute as f64 / self.rate).min(1e17) as Nanos
    }
}

impl Seat {
    /// The number of shadows that share the budget, this one included from its first copy on.
    fn take(&self, seats: &Arc<AtomicUsize>) -> Nanos {
        let seats = self.taken.get_or_init(|| {
            seats.fetch_add(1, Ordering::Relaxed);
            Arc::clone(seats)
        });
        seats.load(Ordering::Relaxed).max(1) as Nanos
    }

    /// Leaves the others its part.
    pub fn leave(&self) {
        if let Some(seats) = self.taken.get()
            && !self.is_left.swap(true, Ordering::Relaxed)
        {
            seats.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Nanos = 1_000_000;
    const SECOND: Nanos = 1000 * MS;

    /// Offers runs of `cost` every `every` to each seat; the compute that each was granted.
    fn granted(
        budget: &Budget,
        seats: &[&Seat],
        every: Nanos,
        cost: &[Nanos],
        time: Nanos,
    ) -> Vec<Nanos> {
        let mut granted = vec![0; seats.len()];
        for now in (SECOND..SECOND + time).step_by(every as usize) {
            for (place, seat) in seats.iter().enumerate() {
                if budget.pay(seat, now, cost[place]).is_some() {
                    granted[place] += cost[place];
                }
            }
        }
        granted
    }

    #[test]
    fn a_share_of_the_slots_is_granted_and_no_more() {
        for (percent, slots, rate) in [(20, 2, 0.4), (10, 1, 0.1), (100, 1, 1.0), (50, 8, 1.0)] {
            let budget = Budget::new(percent, slots);
            let took = granted(&budget, &[&Seat::default()], MS / 10, &[5 * MS], 20 * SECOND)[0];
            let wanted = rate * 20.0 * SECOND as f64;
            let most = wanted + rate * BURST as f64 + 5.0 * MS as f64;
            assert!((wanted * 0.99..=most).contains(&(took as f64)), "{percent} {slots}: {took}");
        }
    }

    #[test]
    fn what_was_not_used_may_be_made_up_for_only_a_little() {
        let budget = Budget::new(100, 1);
        let seat = Seat::default();
        assert!(budget.pay(&seat, SECOND, MS).is_some());
        let later = 3600 * SECOND;
        let at_once = (0..10_000).filter(|_| budget.pay(&seat, later, MS).is_some()).count();
        assert_eq!(at_once as Nanos, BURST / MS + 1);
    }

    #[test]
    fn a_run_that_took_longer_than_expected_is_paid_for_by_those_that_follow() {
        let (budget, seat) = (Budget::new(50, 1), Seat::default());
        let paid = budget.pay(&seat, SECOND, MS).unwrap();
        budget.settle(&seat, paid, 500 * MS);
        // 500 ms of compute are 1 s at 50 %, less the burst.
        assert!(budget.pay(&seat, SECOND + 790 * MS, MS).is_none());
        let paid = budget.pay(&seat, SECOND + 810 * MS, MS).unwrap();
        budget.settle(&seat, paid, 0);
        assert!(budget.pay(&seat, SECOND + 810 * MS, MS).is_some());
    }

    #[test]
    fn an_expensive_shadow_leaves_the_others_their_part() {
        let budget = Budget::new(50, 1);
        let (dear, cheap) = (Seat::default(), Seat::default());
        let took = granted(&budget, &[&dear, &cheap], MS, &[100 * MS, MS / 5], 60 * SECOND);
        // What the cheap one asks for is 20 %, under its half of 50 %.
        let share = |ns: Nanos| ns as f64 / (60.0 * SECOND as f64);
        assert!(share(took[0] + took[1]) < 0.51, "{took:?}");
        assert!(share(took[1]) > 0.15, "{took:?}");
        assert!(share(took[0]) > 0.25, "what is left is not wasted: {took:?}");
    }

    #[test]
    fn a_seat_that_is_left_counts_no_longer() {
        let budget = Budget::new(50, 1);
        let (one, other) = (Seat::default(), Seat::default());
        assert_eq!((one.take(&budget.seats), other.take(&budget.seats)), (1, 2));
        other.leave();
        drop(other);
        assert_eq!(one.take(&budget.seats), 1);
    }

    #[test]
    fn the_thread_waits_while_it_is_ahead_of_the_clock() {
        let budget = Budget::new(25, 1);
        budget.ran(SECOND, 100 * MS);
        // 100 ms of compute are 400 ms at 25 %, less the burst.
        assert_eq!(budget.wait(SECOND), Some(Duration::from_millis(200)));
        assert_eq!(budget.wait(SECOND + 200 * MS), None);
    }

    proptest! {
        #[test]
        fn no_pattern_of_costs_gets_more_than_the_share(
            percent in 1u32..=100,
            asks in proptest::collection::vec((0i64..50 * MS, 0i64..100 * MS, 0usize..3), 1..300),
        ) {
            let budget = Budget::new(percent, 1);
            let seats = [Seat::default(), Seat::default(), Seat::default()];
            let (mut now, mut took, mut largest) = (SECOND, 0, 0);
            for (pause, cost, seat) in asks {
                now += pause;
                if let Some(paid) = budget.pay(&seats[seat], now, cost / 2) {
                    // Twice as long as expected.
                    budget.settle(&seats[seat], paid, cost);
                    took += cost;
                    largest = largest.max(cost);
                }
            }
            let rate = f64::from(percent) / 100.0;
            // Each of the three may be a run over its part, and brings a burst of its part; and what
            // they leave may be overrun by one as well.
            let most = rate * (now - SECOND + 2 * BURST) as f64 + 4.0 * largest as f64;
            prop_assert!(took as f64 <= most + 1000.0, "{took} of {most}");
        }

        #[test]
        fn what_runs_is_held_to_the_share_whatever_was_paid_at_the_door(
            percent in 1u32..=100,
            costs in proptest::collection::vec(0i64..200 * MS, 1..100),
        ) {
            let budget = Budget::new(percent, 1);
            let (mut now, mut took) = (SECOND, 0);
            for cost in costs {
                while let Some(pause) = budget.wait(now) {
                    now += Nanos::try_from(pause.as_nanos()).unwrap();
                }
                let rate = f64::from(percent) / 100.0;
                let most = rate * (now - SECOND + BURST) as f64 + 1000.0;
                prop_assert!(took as f64 <= most, "{took} of {most} before a run");
                took += cost;
                now += cost;
                budget.ran(now, cost);
            }
        }
    }
}
