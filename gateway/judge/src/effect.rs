//! How large a difference is, and how long the proof of none will take: on demand, for people.

use weighbridge_config::rollout::Percent;

use crate::bets::Factors;
use crate::counts::{Observed, Pair, Tail};
use crate::decide::Situation;
use crate::judge::{Judge, is_drawn};
use crate::mixture::log_mean_exp;
use crate::state::of_outcomes;
use crate::stream::{Stream, Tally, Test};
use crate::verdict::Effect;

/// A difference is outside the interval when one of the two tests rejects it at 1/40.
const REJECTED: f64 = 40.0;
/// Differences of mean scores are within ±1.
const MOST: f64 = 0.999;
/// Where the search begins, how exact it is, and when it gives up being more exact.
const FIRST_STEP: f64 = 0.004;
const PRECISION: f64 = 1e-5;
const MOST_STEPS: usize = 30;
/// What has been seen weighs against what is usual like this many requests (estimates only).
const PRIOR_REQUESTS: f64 = 10.0;

/// What a stream has seen, by weight.
type Seen = Vec<(Percent, Pair<Tally>)>;

impl Judge {
    /// 95 % confidence sequences for the canary's mean score less stable's, in the order of the
    /// assessed streams. With [`Observed::Key`], `err` is that of first requests.
    pub fn effects(&self, tail: &Tail) -> Vec<Effect> {
        let streams = self.state.streams.iter().map(|of| of.stream);
        streams.map(|stream| self.effect(stream, tail)).collect()
    }

    fn effect(&self, stream: Stream, tail: &Tail) -> Effect {
        // All of the canary's times in one scale, and rates of requests, not of keys.
        let test = if stream == Stream::Err { Test::Promote } else { Test::Rollback };
        let at = self.state.at.iter().filter(|at| is_drawn(at.weight));
        let settled: Seen =
            at.map(|at| (at.weight, at.counts.of(stream, self.observed, test))).collect();
        let mut with_tail = settled.clone();
        if stream == Stream::Err {
            let parts = tail.parts.iter().filter(|part| is_drawn(part.weight));
            with_tail.extend(parts.map(|part| {
                (part.weight, of_outcomes(&part.counted, stream, self.observed, test))
            }));
        }
        let (centres, scores) = (stream.centres(Observed::Request), stream.scores());
        let worse = |seen: &Seen, margin| {
            capital(seen, |share| Factors::rollback(centres, scores, margin, share))
        };
        let better = |seen: &Seen, margin| {
            capital(seen, |share| Factors::promote(centres, scores, margin, share))
        };
        let difference = difference(&with_tail, scores);
        let guess = difference.unwrap_or(0.0);
        // The tail is completed in the canary's favour: it may raise the lower end only.
        let is_more = worse(&with_tail, guess) > worse(&settled, guess);
        let low = if is_more { &with_tail } else { &settled };
        Effect {
            difference,
            low: border(|margin| worse(low, margin), guess, -1.0),
            high: border(|margin| better(&settled, margin), guess, 1.0),
        }
    }

    /// Seconds until this step could be proved if both variants go on as they did; `None` if
    /// that proves nothing, or nothing is to be expected.
    pub fn eta_s(&self, now: &Situation) -> Option<u64> {
        let rest_ms = self.spec.step_min.as_millis().saturating_sub(now.at_step_ms.into());
        let mut seconds = rest_ms as f64 / 1000.0;
        for i in 0..self.state.streams.len() {
            let requests = self.requests_to_go(i)?;
            if requests > 0.0 {
                let canary = requests * self.state.weight.share();
                seconds = seconds.max(canary / now.expected_per_s);
            }
        }
        // The cast saturates; a century is as good as never.
        (seconds < 3.2e9).then(|| seconds.ceil() as u64)
    }

    /// Requests of both variants until stream `i` could be proved; zero when it is.
    fn requests_to_go(&self, i: usize) -> Option<f64> {
        if !is_drawn(self.state.weight) {
            return None;
        }
        let stream = self.state.streams[i].stream;
        let capitals = self.capitals(i, Test::Promote);
        let wanted = -self.spec.beta.ln();
        if log_mean_exp(capitals.iter().copied()) >= wanted {
            return Some(0.0);
        }
        let weight = self.weight_of(stream);
        let share = weight.share();
        let seen = self.seen(stream, Test::Promote);
        let per_request = self.per_request(stream, &seen)?;
        let scores = stream.scores();
        let usual = stream.usual();
        let stable = shares(&seen.stable, usual);
        let canary = shares(&seen.canary, &stable);
        let margin = stream.promote_margin(&self.spec, self.state.step);
        let factors = Factors::promote(stream.centres(self.observed), scores, margin, share);
        let drift = factors.drift(&Pair { canary, stable }, share);
        // The mean of the bets is at least the best one divided by their number.
        let target = wanted + (capitals.len() as f64).ln();
        let to_go = drift.iter().zip(&capitals).filter(|(drift, _)| **drift > 0.0);
        let observations = to_go.map(|(drift, log)| (target - log) / drift).reduce(f64::min)?;
        Some(observations.max(0.0) / per_request)
    }

    /// The canary's share of a stream's observations at this step.
    fn weight_of(&self, stream: Stream) -> Percent {
        let weight = self.state.weight;
        if stream.is_of_time() { self.spec.latency_weight(weight) } else { weight }
    }

    /// Observations of a stream per counted request: not all of stable's answer times may be
    /// compared, and reports of users are rarer than requests.
    fn per_request(&self, stream: Stream, seen: &Pair<Tally>) -> Option<f64> {
        if stream != Stream::Reward {
            return Some(self.state.weight.share() / self.weight_of(stream).share());
        }
        let requests = self.seen(Stream::Err, Test::Promote);
        let reports = seen.canary.n() + seen.stable.n();
        (reports > 0)
            .then(|| reports as f64 / (requests.canary.n() + requests.stable.n()).max(1) as f64)
    }
}

fn capital(seen: &Seen, factors: impl Fn(f64) -> Factors) -> f64 {
    let mut capitals: Vec<f64> = Vec::new();
    for (weight, seen) in seen {
        let factors = factors(weight.share());
        capitals.resize(factors.len(), 0.0);
        factors.add(seen, &mut capitals);
    }
    if capitals.is_empty() { 0.0 } else { log_mean_exp(capitals.into_iter()) }
}

/// The difference of mean scores, each weight for itself: over weights, a slow hour would be the
/// fault of the variant that had more of it. Weights count by how exact they are.
fn difference(seen: &Seen, scores: &[f64]) -> Option<f64> {
    let (mut sum, mut of) = (0.0, 0.0);
    for (_, Pair { canary, stable }) in seen {
        let (n, m) = (canary.n() as f64, stable.n() as f64);
        if n > 0.0 && m > 0.0 {
            let exact = n * m / (n + m);
            sum += exact * (canary.sum(scores) / n - stable.sum(scores) / m);
            of += exact;
        }
    }
    (of > 0.0).then(|| (sum / of).clamp(-MOST, MOST))
}

/// Where the evidence against a difference reaches 1/40, going from `guess` in the direction
/// `towards` (±1); `None` if it does not. The evidence grows in that direction.
fn border(log_e: impl Fn(f64) -> f64, guess: f64, towards: f64) -> Option<f64> {
    let excess = |margin: f64| log_e(margin) - REJECTED.ln();
    let mut kept = (guess, excess(guess));
    let mut step = towards * FIRST_STEP;
    while kept.1 >= 0.0 && kept.0.abs() < MOST {
        // What was observed need not be what the evidence allows.
        let at = (kept.0 - step).clamp(-MOST, MOST);
        (kept, step) = ((at, excess(at)), 2.0 * step);
    }
    step = towards * FIRST_STEP;
    let mut rejected = loop {
        let at = (kept.0 + step).clamp(-MOST, MOST);
        let found = (at, excess(at));
        if found.1 >= 0.0 {
            break found;
        }
        if at.abs() >= MOST {
            return None;
        }
        (kept, step) = (found, 2.0 * step);
    };
    // Regula falsi that halves the weight of an end that stays (Illinois).
    for _ in 0..MOST_STEPS {
        if (rejected.0 - kept.0).abs() < PRECISION {
            break;
        }
        let part = (rejected.1 / (rejected.1 - kept.1)).clamp(0.05, 0.95);
        let at = rejected.0 + part * (kept.0 - rejected.0);
        let found = (at, excess(at));
        if found.1 >= 0.0 {
            (rejected, kept.1) = (found, 0.5 * kept.1);
        } else {
            (kept, rejected.1) = (found, 0.5 * rejected.1);
        }
    }
    Some(rejected.0)
}

/// Shares of the scores, drawn towards `usual`.
fn shares(seen: &Tally, usual: &[f64]) -> Vec<f64> {
    let n = seen.n() as f64;
    let share = |(usual, n_of): (&f64, &u64)| {
        (*n_of as f64 + PRIOR_REQUESTS * usual) / (n + PRIOR_REQUESTS)
    };
    usual.iter().zip(&seen.0).map(share).collect()
}
