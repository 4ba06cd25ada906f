//! One simulated rollout: traffic, thresholds, judge, decisions.

use std::time::Duration;

use weighbridge_config::rollout::{Percent, RolloutSpec, ShadowStage};
use weighbridge_judge::{
    Assessment, BUCKETS, Cause, Decision, Judge, Latencies, Observed, Outcomes, Pair, Situation,
    Standing, Tail, Thresholds, bucket_of, decay, decide, level,
};

use crate::traffic::{Fault, PER_S, Request, Traffic, Weather};

/// How a trial ended.
#[derive(Debug, Clone, PartialEq)]
pub struct End {
    /// The last decision; `Stay` when the time ran out.
    pub decision: Decision,
    pub at_s: f64,
    pub seen: Pair<Outcomes>,
    /// Looks at which it was held for a common cause.
    pub held: u64,
}

impl End {
    pub fn is_rolled_back(&self) -> bool {
        matches!(self.decision, Decision::RollBack(_))
    }

    pub fn requests(&self) -> u64 {
        self.seen.canary.n() + self.seen.stable.n()
    }
}

/// What a trial is about.
#[derive(Debug, Clone)]
pub struct Trial {
    pub spec: RolloutSpec,
    pub weather: Weather,
    pub base_err: f64,
    pub fault: Fault,
    /// Requests between two looks.
    pub look_every: u64,
    pub most_s: f64,
    /// Stays at the first step.
    pub stands: bool,
    /// Ends with the first step.
    pub one_step: bool,
}

/// A seed for one run of one cell of one table.
pub fn seed([table, row, column]: [u64; 3], run: u64) -> u64 {
    ((table * 100 + row) * 10_000 + column) * 1_000_000 + run
}

/// A spec with these steps, otherwise of defaults, without a shadow stage.
pub fn spec(steps: &[Percent]) -> RolloutSpec {
    let shadow = ShadowStage { requests: 0, ..ShadowStage::default() };
    RolloutSpec { steps: steps.to_vec(), shadow, ..RolloutSpec::default() }
}

/// The same with margins of zero: where the bound on false rollbacks is tight.
pub fn without_margins(mut of: RolloutSpec) -> RolloutSpec {
    of.err.rollback_pp = 0.0;
    of.latency.rollback_scale = 1.0;
    of
}

impl Trial {
    /// An hour at one weight.
    pub fn hour(weight: Percent, weather: Weather, base_err: f64, fault: Fault) -> Self {
        let spec = spec(&[weight]);
        Self {
            spec,
            weather,
            base_err,
            fault,
            look_every: 50,
            most_s: 3600.0,
            stands: true,
            one_step: false,
        }
    }

    /// A whole rollout with default steps, at most six hours.
    pub fn whole(base_err: f64, fault: Fault) -> Self {
        let spec = RolloutSpec {
            shadow: ShadowStage { requests: 0, ..ShadowStage::default() },
            ..RolloutSpec::default()
        };
        let most_s = 6.0 * 3600.0;
        let weather = Weather::Noise;
        Self {
            spec,
            weather,
            base_err,
            fault,
            look_every: 50,
            most_s,
            stands: false,
            one_step: false,
        }
    }

    pub fn run(&self, seed: u64) -> End {
        Run::new(self, seed).end()
    }
}

struct Run<'a> {
    of: &'a Trial,
    traffic: Traffic,
    judge: Judge,
    histogram: Box<[f64; BUCKETS]>,
    thresholds: [[u64; 8]; 3],
    refreshed_s: f64,
    step: usize,
    step_since_s: f64,
    outcomes: Pair<Outcomes>,
    latencies: Pair<Latencies>,
    held: u64,
}

impl<'a> Run<'a> {
    fn new(of: &'a Trial, seed: u64) -> Self {
        let mut traffic = Traffic::new(seed, of.weather, of.base_err, of.fault);
        let mut histogram = Box::new([0.0; BUCKETS]);
        for _ in 0..6000 {
            histogram[bucket_of((traffic.calm_ms() * 1e6) as u64)] += 1.0;
        }
        let mut judge = Judge::new(&of.spec, Observed::Request);
        judge.begin_epoch(0, of.spec.steps[0]);
        let mut run = Self {
            of,
            traffic,
            judge,
            histogram,
            thresholds: [[0; 8]; 3],
            refreshed_s: 0.0,
            step: 0,
            step_since_s: 0.0,
            outcomes: Pair::default(),
            latencies: Pair::default(),
            held: 0,
        };
        run.refresh(0.0);
        run
    }

    fn end(mut self) -> End {
        let looks = (self.of.most_s * PER_S / self.of.look_every as f64).ceil() as u64;
        let mut last = (Decision::Stay, 0.0, Pair::default());
        for _ in 0..looks {
            let mut at_s = 0.0;
            for _ in 0..self.of.look_every {
                let weight = self.of.spec.steps[self.step];
                let request = self.traffic.next(weight, self.of.spec.control_share(weight));
                at_s = request.at_s;
                self.count(&request);
            }
            let (decision, seen) = self.look(at_s);
            last = (Decision::Stay, at_s, seen.total);
            match decision {
                Decision::RollBack(_) | Decision::Promote(_) | Decision::Stop(_) => {
                    last.0 = decision;
                    break;
                }
                Decision::Advance(_) if self.of.one_step => {
                    last.0 = decision;
                    break;
                }
                Decision::Advance(_) => {
                    self.step += 1;
                    self.step_since_s = at_s;
                    self.judge.begin_epoch(self.step, self.of.spec.steps[self.step]);
                }
                Decision::Hold(_) => self.held += 1,
                Decision::Stay | Decision::Regressed(_) | Decision::AskApproval(_) => {}
            }
        }
        let (decision, at_s, seen) = last;
        End { decision, at_s, seen, held: self.held }
    }

    fn look(&mut self, at_s: f64) -> (Decision, Assessment) {
        let weight = self.of.spec.steps[self.step];
        self.judge.open_starts((at_s * 1000.0) as u64);
        self.judge.absorb_outcomes(weight, &std::mem::take(&mut self.outcomes), false);
        let compared = self.of.spec.latency_weight(weight);
        self.judge.absorb_latencies(compared, &std::mem::take(&mut self.latencies));
        let seen = self.judge.assess(&Tail::default());
        let now = Situation {
            step: self.step,
            standing: if self.of.stands { Standing::Paused } else { Standing::Running },
            frozen: false,
            at_step_ms: ((at_s - self.step_since_s) * 1000.0) as u64,
            since_canary_ms: 0,
            expected_per_s: PER_S * weight.share(),
            // What `notify` told once it does not tell again.
            told: true,
            abort: None,
        };
        (decide(&self.of.spec, &seen, &now), seen)
    }

    fn count(&mut self, request: &Request) {
        if request.at_s - self.refreshed_s >= 10.0 {
            self.refresh(request.at_s);
        }
        let [stable, rollback, promote] = &self.thresholds;
        let (outcomes, latencies) = if request.is_canary {
            (&mut self.outcomes.canary, &mut self.latencies.canary)
        } else {
            (&mut self.outcomes.stable, &mut self.latencies.stable)
        };
        if request.is_err {
            outcomes.err += 1;
            return;
        }
        outcomes.ok += 1;
        let ns = request.latency_ns;
        if request.is_canary {
            latencies.rollback[level(ns, rollback)] += 1;
            latencies.promote[level(ns, promote)] += 1;
        } else if request.is_compared {
            let level = level(ns, stable);
            latencies.rollback[level] += 1;
            latencies.promote[level] += 1;
            self.histogram[bucket_of(ns)] += 1.0;
        }
    }

    fn refresh(&mut self, at_s: f64) {
        decay(&mut self.histogram, Duration::from_secs_f64(at_s - self.refreshed_s));
        self.refreshed_s = at_s;
        let Some(stable) = Thresholds::of(&self.histogram) else { return };
        let margins = &self.of.spec.latency;
        self.thresholds = [
            stable,
            Thresholds::scaled(&stable, margins.rollback_scale),
            Thresholds::scaled(&stable, margins.promote_scale),
        ];
    }
}

/// Whether the hard guard ended it.
pub fn is_guard(end: &End) -> bool {
    end.decision == Decision::RollBack(Cause::Guard)
}
