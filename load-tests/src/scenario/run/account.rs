//! From what was seen to the report of a run.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::admin::canary_requests;
use crate::latency::{self, Percentiles};
use crate::scenario::crowd::{Crowd, Outcome, Seen};
use crate::steady::open_loop::Tally;

use super::conduct::Watched;
use super::{Clock, Latencies, RunReport};

/// Requests on their way when the route changed still go where they were sent; later ones do not.
const SWITCH: Duration = Duration::from_millis(500);

/// What was fixed or measured before the rollout, and the load's own tally.
pub(super) struct Taken<'a> {
    pub stable: u64,
    pub canary: u64,
    pub clock: Clock,
    pub rate: f64,
    pub saturation: Option<f64>,
    pub mean_batch: Option<f64>,
    pub tally: &'a Tally,
}

impl Taken<'_> {
    pub(super) fn account(
        &self,
        run: usize,
        seed: u64,
        crowd: &Crowd<'_>,
        watched: &Watched,
    ) -> RunReport {
        let view = &watched.view;
        let seen = &crowd.seen;
        let started = self.clock.instant_of(view.started_at);
        let last = seen.iter().map(|one| one.at).max().unwrap_or(started);
        let ended = view.ended_at.map(|at| self.clock.instant_of(at));
        // The end is told in whole milliseconds, cut: what was sent within the last one counts.
        let over = ended.map_or(last, |ended| ended + Duration::from_millis(1));
        let during = || seen.iter().filter(move |one| one.sent >= started && one.sent <= over);

        let verdict = view.verdict.as_ref().or_else(|| view.latest_verdict());
        let counts = verdict.and_then(canary_requests);
        let outcome = view.outcome.clone().unwrap_or_else(|| view.place());
        let loser = if outcome == "promoted" { self.stable } else { self.canary };
        let late = ended.map(|ended| ended + SWITCH);
        let misrouted = seen
            .iter()
            .filter(|one| late.is_some_and(|late| one.sent > late) && one.was_for(loser));

        let mut failed = BTreeMap::new();
        for kind in seen.iter().filter_map(Seen::failure) {
            *failed.entry(kind.into_owned()).or_insert(0) += 1;
        }
        let rescued = |one: &&Seen| one.source().is_some_and(|s| s.rescued_from.is_some());
        let wrong = |one: &&Seen| matches!(one.outcome, Outcome::Wrong(_));
        let seconds = |ms: u64| ms as f64 / 1e3;
        let (text, replayed) = match &watched.why {
            Ok(why) => (why.text.clone(), why.replayed["same"].as_bool()),
            Err(error) => (format!("no verdict: {error:#}"), None),
        };
        RunReport {
            run,
            seed,
            rate: self.rate,
            saturation: self.saturation,
            outcome,
            places: watched.places.clone(),
            held: watched.held.clone(),
            seconds: view.ended_at.map(|at| seconds(at.saturating_sub(view.started_at))),
            verdict_seconds: verdict.and_then(|v| v["about"]["elapsed_ms"].as_u64()).map(seconds),
            canary_requests: count(during().filter(|one| one.was_for(self.canary))),
            verdict_canary_requests: counts.map(|(total, _)| total),
            counted_canary_requests: counts.map(|(_, counted)| counted),
            requests: seen.len() as u64,
            not_sent: self.tally.not_sent,
            failed,
            failed_in_outage: count(
                seen.iter().filter(|one| one.mood > 0 && one.failure().is_some()),
            ),
            rescued: count(seen.iter().filter(rescued)),
            wrong: count(seen.iter().filter(wrong)),
            misrouted: count(misrouted),
            stable_silence_s: self.silence(started, last, seen).as_secs_f64(),
            stable_latency: latencies(during(), self.stable),
            canary_latency: latencies(during(), self.canary),
            mean_batch: self.mean_batch,
            verdict: text,
            replayed_same: replayed,
            examples: crowd.examples.iter().map(|(why, said)| format!("{why}: {said}")).collect(),
        }
    }

    /// The longest time between two answers of stable to its own requests, from `from` to `to`.
    fn silence(&self, from: Instant, to: Instant, seen: &[Seen]) -> Duration {
        let mut times: Vec<Instant> = seen
            .iter()
            .filter(|one| own(one, self.stable) && one.at >= from && one.at <= to)
            .map(|one| one.at)
            .collect();
        times.sort();
        times.insert(0, from);
        times.push(to);
        let gaps = times.windows(2).map(|pair| pair[1].saturating_duration_since(pair[0]));
        gaps.max().unwrap_or_default()
    }
}

/// Whether `version` answered a request that was meant for it.
fn own(one: &Seen, version: u64) -> bool {
    one.source().is_some_and(|s| s.version == version && s.rescued_from.is_none())
}

fn latencies<'a>(seen: impl Iterator<Item = &'a Seen>, version: u64) -> Latencies {
    let [mut total, mut queue, mut compute] = [(); 3].map(|()| latency::histogram());
    for one in seen.filter(|one| own(one, version)) {
        latency::record(&mut total, one.latency());
        if let Some(timing) = one.timing {
            latency::record(&mut queue, timing.queue);
            latency::record(&mut compute, timing.compute);
        }
    }
    let [total, queue, compute] = [total, queue, compute].map(|times| Percentiles::of(&times));
    Latencies { total, queue, compute }
}

fn count<T>(items: impl Iterator<Item = T>) -> u64 {
    items.count() as u64
}
