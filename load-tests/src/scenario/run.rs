//! One run of a story: a gateway of its own, load from the beginning to the end, a rollout in
//! between, and what was seen of both.

mod account;
mod conduct;

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, anyhow};
use serde::Serialize;

use crate::latency::Percentiles;
use crate::saturate::batches::Batches;
use crate::schedule::{Arrivals, Schedule};
use crate::steady::open_loop::OpenLoop;
use crate::stop::Stop;

use super::Plan;
use super::crowd::{Crowd, Signal};
use super::gateway::{Gateway, MODEL, Stage};
use super::story::{CANARY, Load, STABLE, Story};

pub(super) use conduct::pause;

/// At most so many requests at once.
const CONNECTIONS: usize = 256;
/// For one answer: beyond any rescue, below a hung canary's patience.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// What one run came to.
#[derive(Debug, Clone, Serialize)]
pub struct RunReport {
    pub run: usize,
    pub seed: u64,
    /// Requests per second.
    pub rate: f64,
    /// Answers per second that the gateway could give, where the rate is a share of it.
    pub saturation: Option<f64>,
    /// `promoted`, `rolled_back`, `ended`, or where the rollout stood when the run was over.
    pub outcome: String,
    /// Where the rollout was when.
    pub places: Vec<Place>,
    /// The first reason for which it was held.
    pub held: Option<String>,
    /// From the start of the rollout to its end, by the gateway's clock.
    pub seconds: Option<f64>,
    /// The same, by the verdict.
    pub verdict_seconds: Option<f64>,
    /// Requests that the coin gave to the canary until the end of the rollout, by the headers of
    /// the answers.
    pub canary_requests: u64,
    /// The same by the verdict: all, and those that count as evidence.
    pub verdict_canary_requests: Option<u64>,
    pub counted_canary_requests: Option<u64>,
    /// All requests of the run.
    pub requests: u64,
    /// Requests that were due but found no free connection.
    pub not_sent: u64,
    /// User-visible failures by kind: any status but 200, and no answer.
    pub failed: BTreeMap<String, u64>,
    /// Those of them that were asked during the outage.
    pub failed_in_outage: u64,
    /// Answers that stable gave for the canary.
    pub rescued: u64,
    /// Answers that the version in their header does not give.
    pub wrong: u64,
    /// Requests sent later than half a second after the end that the loser still got.
    pub misrouted: u64,
    /// The longest time without an answer of stable to its own requests, from the start of the
    /// rollout to the end of the load, in seconds. Says nothing after a promotion.
    pub stable_silence_s: f64,
    /// While the rollout ran; without rescued answers.
    pub stable_latency: Latencies,
    pub canary_latency: Latencies,
    /// Rows per run of a model under this load; `None` when the gateway does not tell.
    pub mean_batch: Option<f64>,
    /// What `why` prints.
    pub verdict: String,
    /// Whether replaying the stored evidence gives the same decision.
    pub replayed_same: Option<bool>,
    /// Of each kind of answer that was not as it should be the first.
    pub examples: Vec<String>,
}

/// Answer times of one version, and where they went.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Latencies {
    /// From the intended time to the answer.
    pub total: Percentiles,
    /// Waiting in the gateway, by `server-timing`.
    pub queue: Percentiles,
    /// The run that the request was in, by `server-timing`.
    pub compute: Percentiles,
}

/// Where the rollout was from some moment on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Place {
    /// Seconds since the start of the rollout, as seen from outside.
    pub at_s: f64,
    pub place: String,
}

impl RunReport {
    /// User-visible failures.
    pub fn failures(&self) -> u64 {
        self.failed.values().sum()
    }

    /// One line for whoever watches.
    pub fn line(&self) -> String {
        let seconds = self.seconds.map_or_else(|| "-".to_owned(), |s| format!("{s:.1}"));
        let of = |count: Option<u64>| count.map_or_else(|| "-".to_owned(), |n| n.to_string());
        format!(
            "{:>4}  {:<31} {seconds:>7} {:>8} {:>8} {:>8} {:>9} {:>7} {:>8} {:>6} {:>9.2} {:>9.2}",
            self.run,
            self.outcome,
            self.canary_requests,
            of(self.verdict_canary_requests),
            of(self.counted_canary_requests),
            self.requests,
            self.failures(),
            self.rescued,
            self.wrong,
            self.stable_latency.total.p50_ms,
            self.canary_latency.total.p50_ms,
        )
    }
}

/// What the columns of [`RunReport::line`] are.
pub const COLUMNS: &str = " run  outcome                         seconds   canary  verdict  counted  \
                           requests  failed  rescued  wrong stable ms canary ms";

/// Relates the gateway's clock, in Unix milliseconds, to ours.
#[derive(Debug, Clone, Copy)]
struct Clock {
    instant: Instant,
    unix: Duration,
}

impl Clock {
    fn now() -> Result<Self> {
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Ok(Self { instant: Instant::now(), unix: unix.context("the clock is before 1970")? })
    }

    fn instant_of(&self, unix_ms: u64) -> Instant {
        let then = Duration::from_millis(unix_ms);
        match then.checked_sub(self.unix) {
            Some(later) => self.instant + later,
            None => self.instant.checked_sub(self.unix - then).unwrap_or(self.instant),
        }
    }
}

/// Plays `story` once.
pub fn run(story: &Story, number: usize, seed: u64, plan: &Plan, stop: &Stop) -> Result<RunReport> {
    let gateway = Gateway::start(plan, stop)?;
    let report = played(story, number, seed, &gateway.stage, stop);
    let report = gateway.explain(report)?;
    gateway.stop()?;
    Ok(report)
}

/// What [`run`] does once there is a gateway.
pub(super) fn played(
    story: &Story,
    number: usize,
    seed: u64,
    stage: &Stage,
    stop: &Stop,
) -> Result<RunReport> {
    let admin = &stage.admin;
    let stable = admin.push(MODEL, &story.stable)?;
    admin.promote(MODEL, stable)?;
    let canary = admin.push(MODEL, &story.canary)?;

    let bodies = story.rows.map(|rows| rows.bodies(seed)).concat();
    let requests = stage.requests(&bodies);
    let (rate, saturation) = match story.load {
        Load::PerSecond(rate) => (rate, None),
        Load::OfSaturation(share) => {
            let saturation = stage.saturation(&requests[0], stop)?;
            (saturation * share, Some(saturation))
        }
    };

    let before = Batches::read(admin);
    let clock = Clock::now()?;
    let signal = Signal::default();
    let mut crowd = Crowd::new(&signal, seed, BTreeMap::from([(stable, STABLE), (canary, CANARY)]));
    let longest = story.lead + story.limit + story.after + Duration::from_secs(60);
    let load = OpenLoop {
        target: &stage.target,
        requests: &requests,
        traffic: &mut crowd,
        schedule: Schedule::new(Arrivals::Poisson, rate, longest, seed)?,
        connections: CONNECTIONS,
        timeout: ANSWER_LIMIT,
    };
    let (tally, watched) = thread::scope(|scope| {
        let load = scope.spawn(|| load.run(stop));
        let watched = conduct::conduct(story, admin, canary, &signal, stop);
        // Whatever happened: the load ends, and its thread with it.
        signal.end();
        let tally = load.join().unwrap_or_else(|_| Err(anyhow!("the load's thread panicked")));
        (tally, watched)
    });
    let (tally, watched) = (tally.context("the load failed")?, watched?);
    let mean_batch = Batches::read(admin).zip(before).and_then(|(now, then)| now.mean_since(then));
    let tally = &tally;
    let taken = account::Taken { stable, canary, clock, rate, saturation, mean_batch, tally };
    Ok(taken.account(number, seed, &crowd, &watched))
}

#[cfg(test)]
mod tests;
