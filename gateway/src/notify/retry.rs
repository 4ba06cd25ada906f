//! Trying again, for a while: which answers deserve another attempt is the caller's business,
//! when it comes is decided here.

use std::fmt;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

/// When attempts are made.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// The most attempts.
    pub attempts: u32,
    /// The longest wait after the first attempt; each later one is three times as long.
    pub first_wait: Duration,
    /// The time since the first attempt after which no other one begins.
    pub longest: Duration,
    /// The longest that one attempt may take.
    pub attempt: Duration,
    /// How much longer an attempt in flight may take once the process stops.
    pub at_stop: Duration,
}

impl Pace {
    /// Six attempts within about five minutes: a receiver may restart meanwhile, and whoever is
    /// told later than that has looked by himself.
    pub const USUAL: Self = Self {
        attempts: 6,
        first_wait: Duration::from_secs(2),
        longest: Duration::from_secs(300),
        attempt: Duration::from_secs(10),
        at_stop: Duration::from_secs(3),
    };

    /// How long to wait after so many failed attempts. `chance` is from 0 to 1: receivers that
    /// come back are not asked by everyone at once.
    fn wait(&self, failed: u32, chance: f64) -> Duration {
        let longest = self.first_wait * 3_u32.saturating_pow(failed.saturating_sub(1));
        longest.mul_f64(0.5 + chance / 2.0)
    }
}

/// How one attempt went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attempt {
    Delivered,
    /// Another attempt may do better, though not before `not_before`.
    Failed {
        reason: String,
        not_before: Duration,
    },
    /// No other attempt would do better.
    Refused {
        outcome: Outcome,
        reason: String,
    },
}

/// How a delivery ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Delivered,
    /// The receiver does not want it.
    Refused,
    /// Its address may not be asked.
    Forbidden,
    /// All attempts failed.
    GaveUp,
    /// The process stopped first.
    Abandoned,
}

impl Outcome {
    /// The word of metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Refused => "refused",
            Self::Forbidden => "forbidden",
            Self::GaveUp => "gave-up",
            Self::Abandoned => "abandoned",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The end of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    pub outcome: Outcome,
    /// How many attempts were begun.
    pub attempts: u32,
    /// What the last one failed with; empty when it did not.
    pub reason: String,
}

/// Makes attempts until one ends the matter, the pace says stop, or the process stops. Each one
/// holds a permit of `slots`.
pub async fn retry<F, Attempted>(
    pace: &Pace,
    slots: &Semaphore,
    stop: &CancellationToken,
    mut make: F,
) -> Ending
where
    F: FnMut() -> Attempted,
    Attempted: Future<Output = Attempt>,
{
    let began = Instant::now();
    for attempts in 1.. {
        let end = |outcome, reason| Ending { outcome, attempts, reason };
        let attempt = async {
            // Never closed. Waiting for the permit is no part of the attempt.
            let _permit = slots.acquire().await;
            timeout(pace.attempt, make()).await
        };
        let attempt = tokio::select! {
            attempt = attempt => attempt,
            () = stopped(stop, pace.at_stop) => {
                return end(Outcome::Abandoned, "no answer before the stop".to_owned());
            }
        };
        let (reason, not_before) = match attempt {
            Ok(Attempt::Delivered) => return end(Outcome::Delivered, String::new()),
            Ok(Attempt::Refused { outcome, reason }) => return end(outcome, reason),
            Ok(Attempt::Failed { reason, not_before }) => (reason, not_before),
            Err(_) => {
                let limit = humantime::format_duration(pace.attempt);
                (format!("no answer within {limit}"), Duration::ZERO)
            }
        };
        let wait = pace.wait(attempts, rand::random()).max(not_before);
        if attempts >= pace.attempts || began.elapsed() + wait > pace.longest {
            return end(Outcome::GaveUp, reason);
        }
        tokio::select! {
            () = sleep(wait) => {}
            () = stop.cancelled() => return end(Outcome::Abandoned, reason),
        }
    }
    unreachable!("attempts are bounded")
}

/// Resolves `grace` after the process has been told to stop.
async fn stopped(stop: &CancellationToken, grace: Duration) {
    stop.cancelled().await;
    sleep(grace).await;
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use proptest::prelude::*;

    use super::*;

    fn failed(seconds: u64) -> Attempt {
        let not_before = Duration::from_secs(seconds);
        Attempt::Failed { reason: "500".to_owned(), not_before }
    }

    /// Makes the attempts of `script`, the last one again and again, and notes when each began.
    async fn run(script: &[Attempt], stop: &CancellationToken) -> (Ending, Vec<f64>) {
        let (began, times) = (Instant::now(), RefCell::new(Vec::new()));
        let ending = retry(&Pace::USUAL, &Semaphore::new(1), stop, || {
            let mut times = times.borrow_mut();
            let nth = times.len().min(script.len() - 1);
            times.push(began.elapsed().as_secs_f64());
            std::future::ready(script[nth].clone())
        })
        .await;
        (ending, times.into_inner())
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_back_off_and_end_within_five_minutes() {
        let (ending, times) = run(&[failed(0)], &CancellationToken::new()).await;
        assert_eq!((ending.outcome, ending.attempts), (Outcome::GaveUp, 6));
        assert_eq!(ending.reason, "500");
        assert_eq!(times.len(), 6);
        for (failed, pair) in times.windows(2).enumerate() {
            let longest = 2.0 * 3_f64.powi(i32::try_from(failed).unwrap());
            let wait = pair[1] - pair[0];
            assert!((longest * 0.49..=longest * 1.01).contains(&wait), "{failed}: {wait}");
        }
        assert!(times[5] <= 243.0, "{times:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_attempt_that_delivers_is_the_last() {
        let script = [failed(0), failed(0), Attempt::Delivered, failed(0)];
        let (ending, times) = run(&script, &CancellationToken::new()).await;
        let wanted = Ending { outcome: Outcome::Delivered, attempts: 3, reason: String::new() };
        assert_eq!((ending, times.len()), (wanted, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_refused_is_not_tried_again() {
        let refused = Attempt::Refused { outcome: Outcome::Forbidden, reason: "no".to_owned() };
        let (ending, times) = run(&[refused, failed(0)], &CancellationToken::new()).await;
        assert_eq!((ending.outcome, ending.reason.as_str()), (Outcome::Forbidden, "no"));
        assert_eq!(times.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_receiver_says_when_to_come_back_but_not_later_than_the_bound() {
        let script = [failed(40), failed(200), Attempt::Delivered];
        let (ending, times) = run(&script, &CancellationToken::new()).await;
        assert_eq!(ending.outcome, Outcome::Delivered);
        assert!((40.0..41.0).contains(&times[1]) && (240.0..241.0).contains(&times[2]));

        let (ending, times) = run(&[failed(301)], &CancellationToken::new()).await;
        assert_eq!((ending.outcome, times.len()), (Outcome::GaveUp, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_without_an_end_is_cut_off() {
        let began = Instant::now();
        let (slots, stop) = (Semaphore::new(1), CancellationToken::new());
        let ending = retry(&Pace::USUAL, &slots, &stop, std::future::pending).await;
        assert_eq!((ending.outcome, ending.attempts), (Outcome::GaveUp, 6));
        assert_eq!(ending.reason, "no answer within 10s");
        assert!(began.elapsed() <= Duration::from_secs(310));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_ends_a_wait_at_once_and_an_attempt_after_a_grace() {
        let (stop, script, began) = (CancellationToken::new(), [failed(100)], Instant::now());
        let stopping = async {
            sleep(Duration::from_millis(500)).await;
            stop.cancel();
        };
        let ((ending, times), ()) = tokio::join!(run(&script, &stop), stopping);
        assert_eq!((ending.outcome, times.len()), (Outcome::Abandoned, 1));
        assert_eq!(began.elapsed(), Duration::from_millis(500));

        let ending = retry(&Pace::USUAL, &Semaphore::new(1), &stop, std::future::pending).await;
        assert_eq!(ending.outcome, Outcome::Abandoned);
        assert!(began.elapsed() < Duration::from_secs(4));

        let (ending, _) = run(&[Attempt::Delivered], &stop).await;
        assert_eq!(ending.outcome, Outcome::Delivered, "what is quick is told even then");
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_for_the_slot_is_no_part_of_the_attempt() {
        let (slots, stop, began) = (Semaphore::new(1), CancellationToken::new(), Instant::now());
        let hold = async {
            let _permit = slots.acquire().await;
            sleep(Duration::from_secs(60)).await;
        };
        let delivered = || std::future::ready(Attempt::Delivered);
        let ((), ending) = tokio::join!(hold, retry(&Pace::USUAL, &slots, &stop, delivered));
        assert_eq!((ending.outcome, ending.attempts), (Outcome::Delivered, 1));
        assert_eq!(began.elapsed(), Duration::from_secs(60));
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_attempts_are_under_way_than_there_are_slots() {
        let (slots, stop, began) = (Semaphore::new(2), CancellationToken::new(), Instant::now());
        let (under_way, most) = (Cell::new(0), Cell::new(0));
        let delivery = || {
            retry(&Pace::USUAL, &slots, &stop, async || {
                under_way.set(under_way.get() + 1);
                most.set(most.get().max(under_way.get()));
                sleep(Duration::from_secs(1)).await;
                under_way.set(under_way.get() - 1);
                Attempt::Delivered
            })
        };
        let deliveries = (0..5).map(|_| delivery());
        let endings = futures_util::future::join_all(deliveries).await;
        assert!(endings.iter().all(|ending| ending.outcome == Outcome::Delivered), "{endings:?}");
        assert_eq!((most.get(), began.elapsed()), (2, Duration::from_secs(3)));
    }

    proptest! {
        #[test]
        fn waits_grow_and_stay_bounded(failed in 1..40_u32, chance in 0.0..1.0_f64) {
            let wait = Pace::USUAL.wait(failed, chance);
            prop_assert!(wait <= Pace::USUAL.wait(failed + 2, chance));
            prop_assert!(wait >= Duration::from_secs(1));
        }
    }
}
