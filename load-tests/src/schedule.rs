//! When requests are meant to be sent: an open loop's arrivals, decided before the run and
//! independent of how the server keeps up.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::random::Random;

/// How arrivals are spaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Arrivals {
    /// Every gap is 1 / rate.
    Uniform,
    /// Gaps are exponential with mean 1 / rate: what independent clients look like.
    Poisson,
}

/// The intended send times, as offsets from the start, in order.
#[derive(Debug, Clone)]
pub struct Schedule {
    arrivals: Arrivals,
    gap_seconds: f64,
    end_seconds: f64,
    next_seconds: f64,
    /// Uniform arrivals are multiplied out from this, so that no rounding error adds up.
    index: u64,
    random: Random,
}

impl Schedule {
    /// Arrivals at `rate` per second over `duration`; `seed` decides the Poisson gaps.
    pub fn new(arrivals: Arrivals, rate: f64, duration: Duration, seed: u64) -> Result<Self> {
        ensure!(
            rate.is_finite() && rate > 0.0 && rate <= 1e6,
            "the rate must be above 0 and at most 1,000,000 per second, not {rate}"
        );
        ensure!(!duration.is_zero(), "the duration must not be zero");
        let mut schedule = Self {
            arrivals,
            gap_seconds: 1.0 / rate,
            end_seconds: duration.as_secs_f64(),
            next_seconds: 0.0,
            index: 0,
            random: Random::new(seed),
        };
        if arrivals == Arrivals::Poisson {
            schedule.step();
        }
        Ok(schedule)
    }

    /// The next intended time, without consuming it.
    pub fn peek(&self) -> Option<Duration> {
        (self.next_seconds < self.end_seconds).then(|| Duration::from_secs_f64(self.next_seconds))
    }

    /// No arrival is at or after this.
    pub fn end(&self) -> Duration {
        Duration::from_secs_f64(self.end_seconds)
    }

    /// Ends the schedule before the arrival that would be next.
    pub fn cut(&mut self) {
        self.end_seconds = self.end_seconds.min(self.next_seconds);
    }

    fn step(&mut self) {
        self.index += 1;
        match self.arrivals {
            Arrivals::Uniform => self.next_seconds = self.index as f64 * self.gap_seconds,
            Arrivals::Poisson => self.next_seconds += self.random.exponential() * self.gap_seconds,
        }
    }
}

impl Iterator for Schedule {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let due = self.peek()?;
        self.step();
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(arrivals: Arrivals, rate: f64, seconds: u64, seed: u64) -> Vec<Duration> {
        Schedule::new(arrivals, rate, Duration::from_secs(seconds), seed).unwrap().collect()
    }

    #[test]
    fn uniform_arrivals_are_evenly_spaced_and_exactly_as_many_as_asked() {
        let times = times(Arrivals::Uniform, 500.0, 20, 0);
        assert_eq!(times.len(), 10_000);
        assert_eq!(times[0], Duration::ZERO);
        assert_eq!(times[1], Duration::from_millis(2));
        assert_eq!(times[9_999], Duration::from_millis(19_998));
    }

    #[test]
    fn poisson_arrivals_rise_and_keep_the_rate() {
        let times = times(Arrivals::Poisson, 1_000.0, 20, 42);
        assert!(times.windows(2).all(|pair| pair[0] <= pair[1]));
        assert!(*times.last().unwrap() < Duration::from_secs(20));
        // 20,000 expected, standard deviation 141: five of them either side.
        assert!((19_300..20_700).contains(&times.len()), "{} arrivals", times.len());
    }

    #[test]
    fn a_cut_schedule_has_no_next_arrival() {
        for seed in 0..50 {
            let length = Duration::from_secs(10);
            let mut schedule = Schedule::new(Arrivals::Poisson, 10.0, length, seed).unwrap();
            schedule.nth(3);
            let due = schedule.peek().unwrap();
            schedule.cut();
            assert_eq!((schedule.peek(), schedule.end()), (None, due), "seed {seed}");
        }
    }

    #[test]
    fn poisson_arrivals_repeat_with_the_seed_only() {
        let first = times(Arrivals::Poisson, 100.0, 2, 1);
        assert_eq!(first, times(Arrivals::Poisson, 100.0, 2, 1));
        assert_ne!(first, times(Arrivals::Poisson, 100.0, 2, 2));
    }

    #[test]
    fn impossible_rates_are_refused() {
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(
                Schedule::new(Arrivals::Uniform, rate, Duration::from_secs(1), 0).is_err(),
                "{rate}"
            );
        }
    }
}
