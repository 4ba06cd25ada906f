//! One rollout under judgement: takes in what requests left behind, asks the judge, says what
//! to do. It does nothing itself and has no clock of its own.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use weighbridge_config::RolloutSpec;
use weighbridge_config::rollout::Percent;
use weighbridge_judge::{
    About, AnswerTimes, Decision, Diff, Judge, MarginsChanged, Observed, Pair, Pairs, ShadowJudge,
    ShadowState, Situation, Standing as Stands, State, Tail, TailPart, Verdict, decide,
    decide_shadow, replay, replay_shadow,
};
use weighbridge_registry::{Phase, Rollout, Standing};

use crate::rollout::harvest::{Harvest, WarmUp};
use crate::rollout::trial::{Shared, Trial};

/// How often the thresholds follow stable's recent answer times.
const THRESHOLDS_EVERY: Duration = Duration::from_secs(10);
/// The time over which the rate of requests is measured.
const RATE_WINDOW: Duration = Duration::from_secs(10);
/// A weight is kept so long after the next one: requests that were routed before it may still be
/// sending their bodies.
const LINGER: Duration = Duration::from_secs(10);

/// What is stored of a rollout, so that a restart goes on where it was.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Stored {
    judge: Option<State>,
    shadow: Option<ShadowState>,
    /// Milliseconds since the attempt began.
    at_ms: u64,
    warm_up_ms: Option<u64>,
    warm_up_requests: Option<u64>,
    /// Somebody knows of the regression.
    told: bool,
    rescued: u64,
    seen_failures: u64,
}

/// What a decision rests on: with the spec it can be judged again.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "stage", rename_all = "snake_case")]
pub enum Basis {
    Live { observed: Observed, state: Box<State>, tail: Tail, situation: Situation },
    Shadow { state: ShadowState, situation: Situation },
}

impl Basis {
    /// The decision once more.
    pub fn replay(&self, spec: &RolloutSpec) -> Result<Decision, MarginsChanged> {
        match self {
            Self::Live { observed, state, tail, situation } => {
                replay(spec, *observed, state, tail, situation)
            }
            Self::Shadow { state, situation } => replay_shadow(spec, state, situation),
        }
    }

    /// The situation, in which somebody wants the rollout to end.
    pub fn aborted(mut self, reason: &str) -> Self {
        let (Self::Live { situation, .. } | Self::Shadow { situation, .. }) = &mut self;
        situation.abort = Some(reason.to_owned());
        self
    }
}

/// The evidence of a shadow stage, as it is compared elsewhere.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Compared {
    pub pairs: Pairs,
    pub diff: Diff,
}

/// What one look came to.
#[derive(Debug, Clone)]
pub struct Look {
    pub verdict: Verdict,
    pub basis: Basis,
    pub rescued: u64,
    pub seen_failures: u64,
    /// Something was counted since the last look.
    pub is_news: bool,
}

/// One weight.
#[derive(Debug)]
struct Field {
    trial: Arc<Trial>,
    harvest: Harvest,
    since: Instant,
    /// When it was first seen beside a newer one.
    superseded: Option<Instant>,
}

/// A rollout under judgement.
#[derive(Debug)]
pub struct Course {
    observed: Observed,
    judge: Judge,
    shadow: ShadowJudge,
    shadow_seen: Compared,
    shared: Arc<Shared>,
    /// One per weight that requests may still count at, the newest last.
    fields: Vec<Field>,
    warm_up: Option<WarmUp>,
    warm_up_left: (Duration, u64),
    /// When this process took the rollout up, and how old the attempt was then.
    taken_up: (Instant, u64),
    last_canary: Instant,
    last_thresholds: Instant,
    /// Requests admitted at the last few looks, for the rate.
    rates: std::collections::VecDeque<(Instant, u64)>,
    retired_requests: u64,
    told: bool,
    was_held: bool,
}

impl Course {
    /// Takes a rollout up, from the beginning or from what was stored. Evidence that was
    /// gathered under other margins is an error: it would mean something else now.
    pub fn take_up(
        rollout: &Rollout,
        observed: Observed,
        stored: Option<Stored>,
        age_ms: u64,
        shared: Arc<Shared>,
        now: Instant,
    ) -> Result<Self, MarginsChanged> {
        let spec = &rollout.spec;
        let stored = stored.unwrap_or_default();
        let judge = match stored.judge {
            Some(state) => Judge::restore(spec, observed, state)?,
            None => Judge::new(spec, observed),
        };
        let shadow = match stored.shadow {
            Some(state) => ShadowJudge::restore(spec, state)?,
            None => ShadowJudge::new(spec),
        };
        let warm_ms = stored.warm_up_ms.map_or(spec.warm_up.time, Duration::from_millis);
        let warm_requests = stored.warm_up_requests.unwrap_or(spec.warm_up.requests);
        shared.rescued.fetch_max(stored.rescued, Ordering::Relaxed);
        shared.seen_failures.fetch_max(stored.seen_failures, Ordering::Relaxed);
        Ok(Self {
            observed,
            judge,
            shadow,
            shadow_seen: Compared::default(),
            shared,
            fields: Vec::new(),
            warm_up: None,
            warm_up_left: (warm_ms, warm_requests),
            // The wall clock may have been set back; evidence never gets younger.
            taken_up: (now, age_ms.max(stored.at_ms)),
            last_canary: now,
            last_thresholds: now,
            rates: std::collections::VecDeque::new(),
            retired_requests: 0,
            told: stored.told,
            was_held: false,
        })
    }

    /// Takes in what there is and judges it. `trials` are those of the rollout, the newest
    /// last; those that are returned are done with.
    pub fn look(
        &mut self,
        rollout: &Rollout,
        frozen: bool,
        trials: &[Arc<Trial>],
        compared: Compared,
        abort: Option<String>,
        now: Instant,
    ) -> (Look, Vec<Arc<Trial>>) {
        self.follow(rollout, trials, now);
        self.judge.open_starts(self.at_ms(now));
        let (tail, mut is_news) = self.gather(&rollout.spec, now);
        for (weight, rewards) in self.shared.rewards.take() {
            self.judge.absorb_rewards(weight, &rewards);
            is_news = true;
        }
        is_news |= self.compare(compared);
        let done = self.retire(trials, now);
        self.refresh_thresholds(rollout, now);
        self.measure_rate(now);
        let situation = Situation { abort, ..self.situation(rollout, frozen, now) };
        let about = self.about(rollout, now);
        let (verdict, basis) = if rollout.phase == Phase::Shadow {
            let state = self.shadow.state().clone();
            let seen = self.shadow.assess();
            let decision = decide_shadow(&rollout.spec, &seen, &situation);
            let basis = Basis::Shadow { state, situation: situation.clone() };
            (Verdict::shadow(&rollout.spec, seen, situation, decision, about), basis)
        } else {
            let (observed, state) = (self.observed, Box::new(self.judge.state().clone()));
            let seen = self.judge.assess(&tail);
            let decision = decide(&rollout.spec, &seen, &situation);
            let verdict =
                Verdict::live(&self.judge, &tail, seen, situation.clone(), decision, about);
            (verdict, Basis::Live { observed, state, tail, situation })
        };
        let look = Look {
            verdict,
            basis,
            rescued: self.shared.rescued.load(Ordering::Relaxed),
            seen_failures: self.shared.seen_failures.load(Ordering::Relaxed),
            is_news,
        };
        (look, done)
    }

    /// What to store.
    pub fn stored(&self, now: Instant) -> Stored {
        let left = self.warm_up.map(|w| (w.until.saturating_duration_since(now), w.requests));
        let (time, requests) = left.unwrap_or(self.warm_up_left);
        Stored {
            judge: Some(self.judge.state().clone()),
            shadow: Some(self.shadow.state().clone()),
            at_ms: self.at_ms(now),
            warm_up_ms: Some(time.as_millis() as u64),
            warm_up_requests: Some(requests),
            told: self.told,
            rescued: self.shared.rescued.load(Ordering::Relaxed),
            seen_failures: self.shared.seen_failures.load(Ordering::Relaxed),
        }
    }

    /// Somebody has been told of the regression.
    pub fn has_told(&mut self) {
        self.told = true;
    }

    /// New weights get a harvest; a resumed rollout has been told.
    fn follow(&mut self, rollout: &Rollout, trials: &[Arc<Trial>], now: Instant) {
        let is_held = matches!(rollout.standing, Standing::Held { .. });
        if self.was_held && !is_held {
            self.told = true;
        }
        self.was_held = is_held;
        for trial in trials {
            if self.fields.iter().any(|field| Arc::ptr_eq(&field.trial, trial)) {
                continue;
            }
            if self.warm_up.is_none() {
                let (time, requests) = self.warm_up_left;
                self.warm_up = Some(WarmUp { until: now + time, requests });
            }
            self.last_canary = now;
            self.judge.begin_epoch(trial.step, trial.weight);
            self.fields.push(Field {
                trial: Arc::clone(trial),
                harvest: Harvest::new(Arc::clone(&trial.evidence)),
                since: now,
                superseded: None,
            });
        }
    }

    fn gather(&mut self, spec: &RolloutSpec, now: Instant) -> (Tail, bool) {
        let mut tail = Tail::default();
        let mut is_news = false;
        let mut idle = WarmUp { until: now, requests: 0 };
        let warm_up = self.warm_up.as_mut().unwrap_or(&mut idle);
        for Field { trial, harvest, .. } in &mut self.fields {
            let crop = harvest.gather(now, warm_up);
            let weight = trial.weight;
            self.judge.absorb_outcomes(weight, &crop.warm_up, true);
            self.judge.absorb_outcomes(weight, &crop.counted, false);
            self.judge.absorb_latencies(spec.latency_weight(weight), &crop.latencies);
            let closed = crop.warm_up.canary.n() + crop.counted.canary.n();
            let ended = crop.tail.canary.n() + crop.tail_warm_up.canary.n() > crop.tail_open.canary;
            if closed > 0 || ended {
                self.last_canary = now;
            }
            is_news |= crop.warm_up != Pair::default()
                || crop.counted != Pair::default()
                || crop.latencies != Pair::default();
            let part = TailPart {
                weight,
                warm_up: crop.tail_warm_up,
                counted: crop.tail,
                open: crop.tail_open,
            };
            if part.warm_up != Pair::default() || part.counted != Pair::default() {
                tail.parts.push(part);
            }
        }
        (tail, is_news)
    }

    fn compare(&mut self, compared: Compared) -> bool {
        let before = std::mem::replace(&mut self.shadow_seen, compared);
        let more = |now: u64, then: u64| now.saturating_sub(then);
        let pairs = Pairs {
            canary_err: more(compared.pairs.canary_err, before.pairs.canary_err),
            stable_err: more(compared.pairs.stable_err, before.pairs.stable_err),
            both_ok: more(compared.pairs.both_ok, before.pairs.both_ok),
            both_err: more(compared.pairs.both_err, before.pairs.both_err),
        };
        let diff = Diff {
            differ: more(compared.diff.differ, before.diff.differ),
            same: more(compared.diff.same, before.diff.same),
        };
        self.shadow.absorb(&pairs, &diff);
        pairs != Pairs::default() || diff != Diff::default()
    }

    /// Harvests of earlier weights that nothing can be added to any more.
    fn retire(&mut self, trials: &[Arc<Trial>], now: Instant) -> Vec<Arc<Trial>> {
        let newest = trials.last();
        let mut done = Vec::new();
        self.fields.retain_mut(|Field { trial, harvest, superseded, .. }| {
            if newest.is_some_and(|n| Arc::ptr_eq(n, trial)) {
                *superseded = None;
                return true;
            }
            let since = *superseded.get_or_insert(now);
            let is_done = now.saturating_duration_since(since) >= LINGER && harvest.is_exhausted();
            if is_done {
                self.retired_requests += trial.evidence.admitted();
                done.push(Arc::clone(trial));
            }
            !is_done
        });
        done
    }

    fn refresh_thresholds(&mut self, rollout: &Rollout, now: Instant) {
        let Some(Field { trial, since, .. }) = self.fields.last() else { return };
        // A young control knows more with every second, and until then stable's past stands in:
        // of a time with another load it may tell nothing apart.
        let often = THRESHOLDS_EVERY.min(now.saturating_duration_since(*since) / 4);
        // While stable's past is unknown, each look may be the one that knows it.
        let is_unknown = self.shared.stable_p99.load(Ordering::Relaxed) == 0;
        if is_unknown || now.saturating_duration_since(self.last_thresholds) >= often {
            self.last_thresholds = now;
            trial.refresh_thresholds(&rollout.spec);
        }
    }

    fn measure_rate(&mut self, now: Instant) {
        self.rates.push_back((now, self.requests()));
        while self.rates.len() > 2 && now.saturating_duration_since(self.rates[1].0) > RATE_WINDOW {
            self.rates.pop_front();
        }
        self.shared.rescues.set_rate(self.rate());
    }

    fn requests(&self) -> u64 {
        let live = self.fields.iter().map(|f| f.trial.evidence.admitted()).sum::<u64>();
        self.retired_requests + live
    }

    /// Requests per second, of both variants.
    fn rate(&self) -> f64 {
        let (Some((from, first)), Some((to, last))) = (self.rates.front(), self.rates.back())
        else {
            return 0.0;
        };
        let seconds = to.saturating_duration_since(*from).as_secs_f64();
        if seconds < 0.1 { 0.0 } else { last.saturating_sub(*first) as f64 / seconds }
    }

    fn situation(&self, rollout: &Rollout, frozen: bool, now: Instant) -> Situation {
        let weight = self.weight(rollout);
        Situation {
            step: match rollout.phase {
                Phase::Live { step } => step,
                _ => 0,
            },
            standing: match rollout.standing {
                Standing::Running => Stands::Running,
                Standing::Paused => Stands::Paused,
                Standing::WaitsForApproval => Stands::WaitsForApproval,
                Standing::Held { .. } => Stands::Held,
            },
            frozen,
            at_step_ms: self
                .at_ms(now)
                .saturating_sub(rollout.step_since.saturating_sub(rollout.started_at)),
            since_canary_ms: now.saturating_duration_since(self.last_canary).as_millis() as u64,
            expected_per_s: self.rate() * weight.share(),
            told: self.told,
            abort: None,
        }
    }

    fn weight(&self, rollout: &Rollout) -> Percent {
        match rollout.phase {
            Phase::Live { step } => rollout.spec.steps.get(step).copied(),
            _ => None,
        }
        .unwrap_or(Percent::points(0))
    }

    fn about(&self, rollout: &Rollout, now: Instant) -> About {
        let times = |of: &crate::serving::loaded::LoadedVersion| {
            let at = |q| of.latencies.quantile(q);
            Some(AnswerTimes { p50_ns: at(0.5)?, p95_ns: at(0.95)?, p99_ns: at(0.99)? })
        };
        let trial = self.fields.last().map(|field| &field.trial);
        let answer_times = trial
            .and_then(|t| Some(Pair { canary: times(&t.canary)?, stable: times(t.compared())? }));
        About {
            model: rollout.model.to_string(),
            from: rollout.from,
            to: rollout.to,
            attempt: rollout.attempt,
            elapsed_ms: self.at_ms(now),
            rescued: self.shared.rescued.load(Ordering::Relaxed),
            answer_times,
        }
    }

    /// Milliseconds since the attempt began; never falls.
    fn at_ms(&self, now: Instant) -> u64 {
        let (instant, age) = self.taken_up;
        age + now.saturating_duration_since(instant).as_millis() as u64
    }
}
