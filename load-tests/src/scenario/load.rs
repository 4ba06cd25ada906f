//! The load of `fairness` and `overload`, and what came of it.
//!
//! An open loop like that of the other scenarios, but one that looks at each answer no longer than
//! it must: at several times what the gateway can take, the generator's own CPU would be missing
//! in the gateway.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::http::Target;
use crate::latency::{self, Percentiles};
use crate::random::Random;
use crate::schedule::{Arrivals, Schedule};
use crate::steady::open_loop::{Answer, Ended, OpenLoop, Traffic};
use crate::stop::Stop;

use super::crowd::Timing;
use super::rows::ROWS;

/// Not counted: the start of each load, until queues are as long as they will be.
pub const SETTLE: Duration = Duration::from_millis(1500);
/// For an answer: long beyond every deadline, so that one that is overrun is seen as such.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// What was due just before the end may be sent so late.
const GRACE: Duration = Duration::from_millis(50);
/// At most so many requests at once, whatever rate and deadline.
const MOST_CONNECTIONS: usize = 4096;
/// So many kinds of refusals are shown in the server's words.
const EXAMPLES: usize = 5;

/// Requests of one or two kinds at one rate.
#[derive(Debug)]
pub struct Load<'a> {
    pub target: &'a Target,
    /// [`ROWS`] of each kind.
    pub requests: &'a [Vec<u8>],
    /// The share of the first kind.
    pub first: f64,
    pub arrivals: Arrivals,
    pub rate: f64,
    /// After [`SETTLE`].
    pub window: Duration,
    pub deadline: Duration,
    pub seed: u64,
}

/// A request that has ended.
#[derive(Debug, Clone)]
pub struct Sample {
    pub kind: usize,
    pub intended: Instant,
    pub sent: Instant,
    pub at: Instant,
    pub outcome: Outcome,
    /// The run that it was in, by `server-timing`.
    pub compute: Option<Duration>,
}

/// What came back for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Status 200.
    Accepted,
    Refused {
        status: u16,
        /// Whether it says in whole seconds when to ask again.
        retry_after: bool,
    },
    /// No answer: the kind of failure.
    Lost(&'static str),
}

impl Outcome {
    /// Whether a gateway under more load than it can take may say this.
    fn is_proper(self) -> bool {
        match self {
            Self::Accepted => true,
            Self::Refused { status, retry_after } => {
                status == 504 || (retry_after && matches!(status, 429 | 503))
            }
            Self::Lost(_) => false,
        }
    }

    fn failure(self) -> Option<String> {
        match self {
            Self::Accepted => None,
            Self::Refused { status, .. } => Some(status.to_string()),
            Self::Lost(kind) => Some(kind.to_owned()),
        }
    }
}

/// What was seen of a load.
#[derive(Debug)]
pub struct Seen {
    /// All that was sent.
    pub samples: Vec<Sample>,
    /// From here on requests count.
    pub counted_from: Instant,
    /// Requests that were due from then on.
    pub due: u64,
    pub seconds: f64,
    /// Of each kind of refusal the first, in the server's words.
    pub examples: BTreeMap<String, String>,
}

impl Load<'_> {
    /// Sends what is due when it is due; what is still unsent shortly after the
    /// end of the window is given up.
    pub fn run(self, stop: &Stop) -> Result<Seen> {
        let length = SETTLE + self.window;
        let schedule = Schedule::new(self.arrivals, self.rate, length, self.seed)?;
        let first_due = schedule.peek().context("the window is too short for the rate")?;
        let due = schedule.clone().filter(|due| *due >= SETTLE).count() as u64;
        let mut caller = Caller {
            random: Random::new(self.seed),
            first: self.first,
            until: Instant::now() + length + GRACE,
            // A load that is sent in full grows nothing while it runs.
            samples: Vec::with_capacity((self.rate * length.as_secs_f64() * 1.2) as usize),
            examples: BTreeMap::new(),
        };
        // Who waits for an answer to the end of its deadline holds a connection for so long.
        let waiting = (2.0 * self.rate * self.deadline.as_secs_f64()).ceil() as usize;
        let load = OpenLoop {
            target: self.target,
            requests: self.requests,
            traffic: &mut caller,
            schedule,
            connections: waiting.clamp(64, MOST_CONNECTIONS),
            timeout: ANSWER_LIMIT.max(2 * self.deadline),
        };
        load.run(stop)?;
        stop.check()?;
        let Caller { samples, examples, .. } = caller;
        // The first request sent is the first that was due.
        let first = samples.iter().map(|one| one.intended).min().context("nothing was sent")?;
        let counted_from = first - first_due + SETTLE;
        Ok(Seen { samples, counted_from, due, seconds: self.window.as_secs_f64(), examples })
    }
}

/// Draws who asks, and keeps what came of it.
struct Caller {
    random: Random,
    first: f64,
    until: Instant,
    samples: Vec<Sample>,
    examples: BTreeMap<String, String>,
}

impl Caller {
    fn look(&mut self, answer: &Answer<'_>) -> Outcome {
        if answer.status == 200 {
            return Outcome::Accepted;
        }
        let seconds = answer.retry_after.and_then(|text| std::str::from_utf8(text).ok());
        let retry_after = seconds.is_some_and(|text| text.parse::<u32>().is_ok());
        let outcome = Outcome::Refused { status: answer.status, retry_after };
        if self.examples.len() < EXAMPLES {
            let is_missing = !outcome.is_proper() && matches!(answer.status, 429 | 503);
            let without = if is_missing { ", no retry-after" } else { "" };
            let kind = format!("status {}{without}", answer.status);
            self.examples.entry(kind).or_insert_with(|| {
                let said = String::from_utf8_lossy(answer.body.unwrap_or_default());
                said.trim().chars().take(300).collect()
            });
        }
        outcome
    }
}

impl Traffic for Caller {
    fn next(&mut self) -> Option<usize> {
        // What is still due then waited for a connection too long: nobody asks any more.
        if Instant::now() >= self.until {
            return None;
        }
        let kind = usize::from(self.random.unit() > self.first);
        Some(kind * ROWS + (self.random.bits() % ROWS as u64) as usize)
    }

    fn ended(&mut self, request: &Ended<'_>) {
        let outcome = match &request.answer {
            Ok(answer) => self.look(answer),
            Err(kind) => Outcome::Lost(kind),
        };
        let accepted = request.answer.as_ref().ok().filter(|_| outcome == Outcome::Accepted);
        let timing = accepted.and_then(|answer| Timing::parse(answer.timing?));
        let Ended { intended, sent, at, .. } = *request;
        let compute = timing.map(|timing| timing.compute);
        self.samples.push(Sample {
            kind: request.request / ROWS,
            intended,
            sent,
            at,
            outcome,
            compute,
        });
    }
}

impl Seen {
    /// What was due in the window.
    pub fn counted(&self) -> impl Iterator<Item = &Sample> {
        self.samples.iter().filter(|one| one.intended >= self.counted_from)
    }

    /// All of it.
    pub fn account(&self, deadline: Duration) -> Account {
        Account::of(self.counted(), Some(self.due), self.seconds, deadline)
    }

    /// One kind. What was never sent belongs to no kind.
    pub fn account_of(&self, kind: usize, deadline: Duration) -> Account {
        let own = self.counted().filter(|one| one.kind == kind);
        Account::of(own, None, self.seconds, deadline)
    }

    /// What failed for whatever reason, the start included.
    pub fn failed(&self) -> u64 {
        self.samples.iter().filter(|one| one.outcome != Outcome::Accepted).count() as u64
    }
}

/// A load in figures.
#[derive(Debug, Clone, Serialize)]
pub struct Account {
    /// Requests that were due.
    pub due: u64,
    /// Those of them that no connection was free for until the end.
    pub not_sent: u64,
    /// Answers with status 200.
    pub accepted: u64,
    /// Those of them that came after the deadline, counted from the intended time.
    pub late: u64,
    /// Anything else by status, or by the kind of failure.
    pub refused: BTreeMap<String, u64>,
    /// Those of them that are neither 429 or 503 with Retry-After nor 504.
    pub improper: u64,
    /// Due per second.
    pub offered: f64,
    /// Answers with status 200 in time, per second.
    pub goodput: f64,
    /// Of answers with status 200: from the intended time, and from the sending.
    pub from_intended: Percentiles,
    pub from_sent: Percentiles,
    /// From the intended time to the sending: how late the client itself was.
    pub lag: Percentiles,
}

impl Account {
    /// `due`: how many there should be, if more than there are may be missing.
    pub fn of<'a>(
        samples: impl Iterator<Item = &'a Sample>,
        due: Option<u64>,
        seconds: f64,
        deadline: Duration,
    ) -> Self {
        let [mut from_intended, mut from_sent, mut lag] = [(); 3].map(|()| latency::histogram());
        let (mut sent, mut late, mut improper) = (0, 0, 0);
        let mut refused = BTreeMap::new();
        for one in samples {
            sent += 1;
            latency::record(&mut lag, one.sent - one.intended);
            if let Some(failure) = one.outcome.failure() {
                *refused.entry(failure).or_insert(0) += 1;
                improper += u64::from(!one.outcome.is_proper());
                continue;
            }
            let waited = one.at - one.intended;
            late += u64::from(waited > deadline);
            latency::record(&mut from_intended, waited);
            latency::record(&mut from_sent, one.at - one.sent);
        }
        let due = due.unwrap_or(sent);
        let accepted = from_intended.len();
        Self {
            due,
            not_sent: due.saturating_sub(sent),
            accepted,
            late,
            refused,
            improper,
            offered: due as f64 / seconds,
            goodput: (accepted - late) as f64 / seconds,
            from_intended: Percentiles::of(&from_intended),
            from_sent: Percentiles::of(&from_sent),
            lag: Percentiles::of(&lag),
        }
    }

    /// Requests refused or lost.
    pub fn refusals(&self) -> u64 {
        self.refused.values().sum()
    }

    /// The share of what was sent that was answered with 200; `None` of nothing.
    pub fn accepted_share(&self) -> Option<f64> {
        let sent = self.accepted + self.refusals();
        (sent > 0).then(|| self.accepted as f64 / sent as f64)
    }

    /// How many standard errors more of its requests were accepted than of the other's: chance
    /// alone seldom makes more than three of it. `None` where nothing differs or nothing was sent.
    pub fn favoured_over(&self, other: &Self) -> Option<f64> {
        let (own, others) = (self.accepted_share()?, other.accepted_share()?);
        let [own_sent, others_sent] =
            [self, other].map(|account| (account.accepted + account.refusals()) as f64);
        let all = (own * own_sent + others * others_sent) / (own_sent + others_sent);
        let error = (all * (1.0 - all) * (1.0 / own_sent + 1.0 / others_sent)).sqrt();
        (error > 0.0).then(|| (own - others) / error)
    }

    /// How many were refused in this way.
    pub fn refused_with(&self, kind: &str) -> u64 {
        self.refused.get(kind).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_millis(200);

    fn sample(start: Instant, sent_ms: u64, took_ms: u64, outcome: Outcome) -> Sample {
        let sent = start + Duration::from_millis(sent_ms);
        let at = sent + Duration::from_millis(took_ms);
        Sample { kind: 0, intended: start, sent, at, outcome, compute: None }
    }

    #[test]
    fn goodput_counts_from_the_intended_time_and_refusals_by_kind() {
        let start = Instant::now();
        let refused = |status, retry_after| Outcome::Refused { status, retry_after };
        let samples = [
            sample(start, 0, 200, Outcome::Accepted),
            // In time for the server, not for who wanted to ask at `start`.
            sample(start, 50, 160, Outcome::Accepted),
            sample(start, 0, 1, refused(503, true)),
            sample(start, 0, 1, refused(503, false)),
            sample(start, 0, 1, refused(429, true)),
            sample(start, 0, 200, refused(504, false)),
            sample(start, 0, 1, refused(500, true)),
            sample(start, 0, 1, Outcome::Lost("closed")),
        ];
        let account = Account::of(samples.iter(), Some(10), 2.0, DEADLINE);
        assert_eq!((account.due, account.not_sent, account.offered), (10, 2, 5.0));
        assert_eq!((account.accepted, account.late, account.goodput), (2, 1, 0.5));
        assert_eq!((account.refused_with("503"), account.refusals()), (2, 6));
        assert_eq!(account.improper, 3, "503 without Retry-After, 500, and no answer at all");
        assert_eq!(account.accepted_share(), Some(0.25));
        assert!((account.from_sent.max_ms / 200.0 - 1.0).abs() < 1e-2);
        assert!((account.from_intended.max_ms / 210.0 - 1.0).abs() < 1e-2);
        assert!((account.lag.max_ms / 50.0 - 1.0).abs() < 1e-2);
        assert_eq!(Account::of([].iter(), None, 2.0, DEADLINE).accepted_share(), None);
    }

    #[test]
    fn favour_is_told_from_luck() {
        let account = |accepted, refused| {
            let none = Account::of([].iter(), None, 1.0, DEADLINE);
            Account { accepted, refused: BTreeMap::from([("503".to_owned(), refused)]), ..none }
        };
        let lucky = account(329, 60).favoured_over(&account(626, 159)).unwrap();
        assert!((1.5..3.0).contains(&lucky), "{lucky}");
        let favoured = account(380, 9).favoured_over(&account(100, 685)).unwrap();
        assert!(favoured > 20.0, "{favoured}");
        assert_eq!(account(9, 0).favoured_over(&account(9, 0)), None);
        assert_eq!(account(0, 0).favoured_over(&account(9, 1)), None);
    }

    #[test]
    fn kinds_come_in_their_shares_until_the_end() {
        let mut caller = Caller {
            random: Random::new(1),
            first: 0.25,
            until: Instant::now() + Duration::from_secs(600),
            samples: Vec::new(),
            examples: BTreeMap::new(),
        };
        let drawn: Vec<usize> = (0..4000).filter_map(|_| caller.next()).collect();
        let firsts = drawn.iter().filter(|request| **request < ROWS).count();
        // 1,000 expected, standard deviation 27: five of them either side.
        assert!((863..1137).contains(&firsts), "{firsts}");
        assert!(drawn.iter().all(|request| *request < 2 * ROWS));
        caller.first = 1.0;
        assert!((0..1000).filter_map(|_| caller.next()).all(|request| request < ROWS));
        caller.until = Instant::now();
        assert_eq!(caller.next(), None);
    }
}
