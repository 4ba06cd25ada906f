//! How fast a queue moves while something waits in it, and so how long a newcomer would wait.

use std::time::{Duration, Instant};

/// After this time what was seen counts half.
const HALF_LIFE: Duration = Duration::from_millis(250);
/// Runs that have to be seen before anything is foretold.
const LEAST_SEEN: f64 = 3.0;

/// The rate of one queue, all its competitors for the compute threads included.
#[derive(Debug, Default)]
pub struct DrainRate {
    /// When rows were taken last, if some were left behind.
    since: Option<Instant>,
    rows: f64,
    seconds: f64,
    runs: f64,
}

impl DrainRate {
    /// `rows` rows were taken, and `left` are still waiting. Only the time in which somebody
    /// waited says how fast the queue can move.
    pub fn took(&mut self, rows: usize, left: usize, now: Instant) {
        if let Some(since) = self.since {
            let passed = now.saturating_duration_since(since).as_secs_f64();
            let kept = 0.5f64.powf(passed / HALF_LIFE.as_secs_f64());
            self.rows = self.rows * kept + rows as f64;
            self.seconds = self.seconds * kept + passed;
            self.runs = self.runs * kept + 1.0;
        }
        self.since = (left > 0).then_some(now);
    }

    /// How long an entry waits that has so many rows before it; none where nobody knows.
    pub fn wait(&self, ahead: usize) -> Option<Duration> {
        if ahead == 0 || self.since.is_none() || self.runs < LEAST_SEEN || self.rows <= 0.0 {
            return None;
        }
        let seconds = ahead as f64 * self.seconds / self.rows;
        Duration::try_from_secs_f64(seconds).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_follows_what_was_taken_lately() {
        let (mut rate, start) = (DrainRate::default(), Instant::now());
        assert_eq!(rate.wait(10), None, "nothing was seen");
        let mut now = start;
        for _ in 0..500 {
            now += Duration::from_millis(10);
            rate.took(4, 100, now);
        }
        let close = |wait: Option<Duration>, millis: f64| {
            let wait = wait.unwrap().as_secs_f64() * 1e3;
            assert!((wait / millis - 1.0).abs() < 0.02, "{wait} ms, wanted {millis}");
        };
        close(rate.wait(40), 100.0);
        assert_eq!(rate.wait(0), None);
        // Ten times slower: known within two seconds.
        for _ in 0..20 {
            now += Duration::from_millis(100);
            rate.took(4, 100, now);
        }
        let wait = rate.wait(40).unwrap();
        assert!(wait > Duration::from_millis(800), "{wait:?}");
        // An empty queue is another matter.
        rate.took(4, 0, now);
        assert_eq!(rate.wait(40), None);
        rate.took(4, 8, now + Duration::from_secs(3));
        assert!(rate.wait(40).is_some(), "idle time does not count");
    }
}
