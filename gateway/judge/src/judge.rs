//! The evidence of one attempt and its tests.

use weighbridge_config::rollout::{Percent, RolloutSpec};

use crate::assessment::{Assessment, Floor, GuardEvidence, Scores, StreamEvidence};
use crate::bets::Factors;
use crate::counts::{Latencies, Observed, Outcomes, Pair, Rewards, Tail};
use crate::decide::{Decision, Situation, decide};
use crate::guard::{Absolute, GuardState};
use crate::mixture::{Mixture, Starts, log_mean_exp};
use crate::split;
use crate::state::{AtWeight, Counts, MarginsChanged, State, StreamState, margins_of, of_outcomes};
use crate::stream::{Stream, Tally, Test};

/// Judges one attempt of a rollout: counts in, evidence out. No clock, no chance, no I/O.
#[derive(Debug, Clone)]
pub struct Judge {
    pub(crate) spec: RolloutSpec,
    pub(crate) observed: Observed,
    pub(crate) state: State,
    absolute: Absolute,
    /// Derived from spec and step, for every weight at which something was counted.
    tables: Vec<Tables>,
}

/// The guard compares requests, of keys their first ones: what it has to find fails at once.
const GUARD: Observed = Observed::Request;

/// The factors of all streams at one weight.
#[derive(Debug, Clone)]
struct Tables {
    weight: Percent,
    /// In the order of [`Stream::judged`].
    streams: Vec<(Factors, Factors)>,
    /// Of the guard's comparison.
    guard: Factors,
}

impl Judge {
    /// A new attempt, without evidence, at the first step.
    pub fn new(spec: &RolloutSpec, observed: Observed) -> Self {
        let streams = Stream::judged(spec).into_iter().map(|stream| {
            let bets = bets(stream, observed);
            StreamState { stream, mixture: Mixture::new(bets), sup_log_e: f64::NEG_INFINITY }
        });
        let state = State {
            margins: margins_of(spec, observed),
            step: 0,
            weight: spec.steps.first().copied().unwrap_or(Percent::whole(100)),
            at: Vec::new(),
            starts: Starts::every(window_ms(spec)),
            streams: streams.collect(),
            guard: GuardState::new(bets(Stream::Err, GUARD)),
        };
        Self::with(spec, observed, state)
    }

    /// The attempt that `state` is of.
    ///
    /// # Errors
    /// The evidence was gathered under other margins: its numbers mean something else, and a new
    /// attempt has to start.
    pub fn restore(
        spec: &RolloutSpec,
        observed: Observed,
        state: State,
    ) -> Result<Self, MarginsChanged> {
        let wanted = margins_of(spec, observed);
        let judged = Stream::judged(spec);
        let fits = state.streams.len() == judged.len()
            && state.streams.iter().zip(judged).all(|(stored, stream)| {
                stored.stream == stream && stored.mixture.len() == bets(stream, observed)
            })
            && state.guard.fits(bets(Stream::Err, GUARD));
        if state.margins != wanted || !fits {
            return Err(MarginsChanged { stored: state.margins, wanted });
        }
        Ok(Self::with(spec, observed, state))
    }

    fn with(spec: &RolloutSpec, observed: Observed, state: State) -> Self {
        let absolute = Absolute::against(spec.guard.error_rate);
        let tables = Vec::new();
        let mut judge = Self { spec: spec.clone(), observed, state, absolute, tables };
        judge.make_all_tables();
        judge
    }

    /// All that is needed to go on after a restart, and to replay a decision. A few KB.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// From now on decisions are about `step`, at which the canary has `weight` (π): its share
    /// of the requests of the two variants.
    pub fn begin_epoch(&mut self, step: usize, weight: Percent) {
        self.state.weight = weight;
        if self.state.step != step {
            self.state.step = step;
            // Promotion margins are those of the step.
            self.tables.clear();
            self.make_all_tables();
        }
    }

    /// Opens those new starts of the evidence that are due. Call it once per look, before the
    /// look absorbs. `at_ms` since the attempt began, never falling, not even over restarts.
    pub fn open_starts(&mut self, at_ms: u64) {
        if let Some(log_share) = self.state.starts.due(at_ms, window_ms(&self.spec)) {
            let capitals: Vec<_> =
                (0..self.state.streams.len()).map(|i| self.capitals(i, Test::Rollback)).collect();
            for (of, capitals) in self.state.streams.iter_mut().zip(capitals) {
                if of.stream.starts_again(self.observed) {
                    of.mixture.open(log_share, &capitals);
                }
            }
        }
        let none = Tail::default();
        let (absolute, relative) = (self.absolute_capitals(&none), self.guard_capitals(&none));
        let seen = self.canary_errors(&none);
        self.state.guard.open(at_ms, (&absolute, &relative), seen);
    }

    /// More outcomes of the resolved prefix of seconds, of requests whose coin was drawn at
    /// `weight`. Those of the warm-up count for the guard and the totals only.
    pub fn absorb_outcomes(&mut self, weight: Percent, more: &Pair<Outcomes>, warm_up: bool) {
        let counts = self.counts_at(weight);
        let to = if warm_up { &mut counts.warm_up } else { &mut counts.counted };
        *to += *more;
    }

    /// More answer times of closed seconds; never of the warm-up. Of these requests the canary
    /// has the share `weight`: under a control that is [`RolloutSpec::latency_weight`].
    pub fn absorb_latencies(&mut self, weight: Percent, more: &Pair<Latencies>) {
        self.counts_at(weight).latencies += *more;
    }

    /// More reports about answers to requests whose coin was drawn at `weight`.
    pub fn absorb_rewards(&mut self, weight: Percent, more: &Pair<Rewards>) {
        self.counts_at(weight).rewards += *more;
    }

    /// Looks at the evidence; the largest of each stream is kept in the state.
    pub fn assess(&mut self, tail: &Tail) -> Assessment {
        for part in &tail.parts {
            self.make_table(part.weight);
        }
        let streams: Vec<_> =
            (0..self.state.streams.len()).map(|i| self.stream_evidence(i, tail)).collect();
        for (of, seen) in self.state.streams.iter_mut().zip(&streams) {
            of.sup_log_e = seen.sup_log_e;
        }
        let parts = || tail.parts.iter();
        let mut counted = sum(self.state.at.iter().map(|at| at.counts.counted));
        counted += sum(parts().map(|part| part.counted));
        let mut total = sum(self.state.at.iter().map(|at| at.counts.warm_up)) + counted;
        total += sum(parts().map(|part| part.warm_up));
        Assessment {
            step: self.state.step,
            weight: self.state.weight,
            observed: self.observed,
            streams,
            guard: self.guard_evidence(tail),
            split_log_e: self.split_log_e(),
            counted,
            total,
            open: sum(parts().map(|part| part.open)),
        }
    }

    fn stream_evidence(&self, i: usize, tail: &Tail) -> StreamEvidence {
        let StreamState { stream, mixture, sup_log_e } = &self.state.streams[i];
        let stream = *stream;
        let settled = self.capitals(i, Test::Rollback);
        let mut log_e = mixture.log_e(&settled);
        let mut seen = self.seen(stream, Test::Rollback);
        let mut shown = seen;
        if stream == Stream::Err {
            let mut capitals = settled;
            for part in tail.parts.iter().filter(|part| is_drawn(part.weight)) {
                let more = of_outcomes(&part.counted, stream, self.observed, Test::Rollback);
                seen += more;
                self.add(i, Test::Rollback, part.weight, &more, &mut capitals);
            }
            // Both are evidence of their own right: the tail is a lower bound of what its
            // requests will say, the settled prefix is not bound to it.
            log_e = log_e.max(mixture.log_e(&capitals));
            shown = seen;
            // Stable's open requests were completed as errors.
            let open: u64 = tail.parts.iter().map(|part| part.open.stable).sum();
            let bad = open.min(shown.stable.0[1]);
            shown.stable.0[1] -= bad;
            shown.stable.0[0] += bad;
        }
        let scores = stream.scores();
        StreamEvidence {
            stream,
            log_e,
            log_e_required: -(self.spec.alpha * stream.share(&self.spec)).ln(),
            sup_log_e: sup_log_e.max(log_e),
            floor: Floor { seen: stream.floor_of(&seen.canary), wanted: stream.least() },
            log_v: log_mean_exp(self.capitals(i, Test::Promote).into_iter()),
            log_v_required: -self.spec.beta.ln(),
            seen: Pair {
                canary: Scores::of(&shown.canary, scores),
                stable: Scores::of(&shown.stable, scores),
            },
            rollback_margin: stream.rollback_margin(&self.spec, self.observed),
            promote_margin: stream.promote_margin(&self.spec, self.state.step),
        }
    }

    fn guard_evidence(&self, tail: &Tail) -> GuardEvidence {
        let none = Tail::default();
        let guard = &self.state.guard;
        let absolute = |tail: &Tail| guard.absolute.log_e(&self.absolute_capitals(tail));
        let relative = |tail: &Tail| guard.relative.log_e(&self.guard_capitals(tail));
        let absolute_log_e = absolute(&none).max(absolute(tail));
        let (errors, requests) = self.canary_errors(tail);
        GuardEvidence {
            absolute_log_e,
            absolute_required: self.spec.guard.evidence.ln(),
            relative_log_e: relative(&none).max(relative(tail)),
            relative_required: self.spec.guard.relative.ln(),
            wants_relative: self.state.weight <= Percent::whole(50),
            goes_on: guard.goes_on(absolute_log_e, (errors, requests), self.spec.guard.error_rate),
            canary_errors: errors,
            canary_requests: requests,
        }
    }

    fn split_log_e(&self) -> f64 {
        let at = self.state.at.iter().filter(|at| is_drawn(at.weight));
        at.map(|at| {
            let counted = &at.counts.counted;
            let n = Pair { canary: counted.canary.n(), stable: counted.stable.n() };
            split::log_e(at.weight.share(), n)
        })
        .sum()
    }

    /// The log capital of each bet of stream `i` on what is settled.
    pub(crate) fn capitals(&self, i: usize, test: Test) -> Vec<f64> {
        let stream = self.state.streams[i].stream;
        let centres = stream.centres(self.observed);
        let mut capitals = vec![0.0; centres.bets(test)];
        for at in self.state.at.iter().filter(|at| is_drawn(at.weight)) {
            let seen = at.counts.of(stream, self.observed, test);
            self.add(i, test, at.weight, &seen, &mut capitals);
        }
        capitals
    }

    fn add(&self, i: usize, test: Test, weight: Percent, seen: &Pair<Tally>, to: &mut [f64]) {
        let Some(table) = self.table(weight) else { return };
        let (rollback, promote) = &table.streams[i];
        let factors = if test == Test::Rollback { rollback } else { promote };
        factors.add(seen, to);
    }

    /// The log capital of each bet of the guard's comparison: `err`, with the warm-up and `tail`.
    fn guard_capitals(&self, tail: &Tail) -> Vec<f64> {
        let mut capitals = vec![0.0; bets(Stream::Err, GUARD)];
        let settled = self.state.at.iter();
        let settled = settled.map(|at| (at.weight, at.counts.warm_up + at.counts.counted));
        let tails = tail.parts.iter().map(|part| (part.weight, part.warm_up + part.counted));
        for (weight, seen) in settled.chain(tails) {
            let seen = of_outcomes(&seen, Stream::Err, GUARD, Test::Rollback);
            if let Some(table) = self.table(weight) {
                table.guard.add(&seen, &mut capitals);
            }
        }
        capitals
    }

    fn absolute_capitals(&self, tail: &Tail) -> [f64; 4] {
        let (errors, requests) = self.canary_errors(tail);
        self.absolute.log_capitals(errors, requests)
    }

    /// Of all requests to the canary, those that failed.
    fn canary_errors(&self, tail: &Tail) -> (u64, u64) {
        let settled = self.state.at.iter().map(|at| at.counts.warm_up + at.counts.counted);
        let tails = tail.parts.iter().map(|part| part.warm_up + part.counted);
        let canary = sum(settled.chain(tails)).canary;
        (canary.err, canary.n())
    }

    /// What the test of a stream has seen, over all weights.
    pub(crate) fn seen(&self, stream: Stream, test: Test) -> Pair<Tally> {
        sum(self.state.at.iter().map(|at| at.counts.of(stream, self.observed, test)))
    }

    fn counts_at(&mut self, weight: Percent) -> &mut Counts {
        self.make_table(weight);
        let place = self.state.at.iter().position(|at| at.weight == weight);
        let place = place.unwrap_or_else(|| {
            self.state.at.push(AtWeight { weight, counts: Counts::default() });
            self.state.at.len() - 1
        });
        &mut self.state.at[place].counts
    }

    /// None where no coin decided.
    fn table(&self, weight: Percent) -> Option<&Tables> {
        self.tables.iter().find(|table| table.weight == weight)
    }

    fn make_all_tables(&mut self) {
        for place in 0..self.state.at.len() {
            self.make_table(self.state.at[place].weight);
        }
    }

    fn make_table(&mut self, weight: Percent) {
        if is_drawn(weight) && self.tables.iter().all(|table| table.weight != weight) {
            let streams = Stream::judged(&self.spec).into_iter();
            let streams = streams.map(|stream| self.factors(stream, weight)).collect();
            let guard = self.rollback_factors(Stream::Err, GUARD, weight);
            self.tables.push(Tables { weight, streams, guard });
        }
    }

    fn factors(&self, stream: Stream, weight: Percent) -> (Factors, Factors) {
        let (centres, scores) = (stream.centres(self.observed), stream.scores());
        let margin = stream.promote_margin(&self.spec, self.state.step);
        let promote = Factors::promote(centres, scores, margin, weight.share());
        (self.rollback_factors(stream, self.observed, weight), promote)
    }

    fn rollback_factors(&self, stream: Stream, observed: Observed, weight: Percent) -> Factors {
        let margin = stream.rollback_margin(&self.spec, observed);
        Factors::rollback(stream.centres(observed), stream.scores(), margin, weight.share())
    }
}

/// What was decided on `state` (as it was before that look, or after it), `tail` and `now`.
///
/// # Errors
/// As [`Judge::restore`].
pub fn replay(
    spec: &RolloutSpec,
    observed: Observed,
    state: &State,
    tail: &Tail,
    now: &Situation,
) -> Result<Decision, MarginsChanged> {
    let mut judge = Judge::restore(spec, observed, state.clone())?;
    Ok(decide(spec, &judge.assess(tail), now))
}

impl Scores {
    fn of(tally: &Tally, scores: &[f64]) -> Self {
        Self { n: tally.n(), sum: tally.sum(scores) }
    }
}

/// Whether a coin decided between the variants at this weight.
pub(crate) fn is_drawn(weight: Percent) -> bool {
    weight > Percent::points(0) && weight < Percent::whole(100)
}

fn bets(stream: Stream, observed: Observed) -> usize {
    stream.centres(observed).bets(Test::Rollback)
}

fn window_ms(spec: &RolloutSpec) -> u64 {
    u64::try_from(spec.window.as_millis()).unwrap_or(u64::MAX)
}

fn sum<T: Default + std::ops::AddAssign>(all: impl Iterator<Item = T>) -> T {
    all.fold(T::default(), |mut sum, more| {
        sum += more;
        sum
    })
}
