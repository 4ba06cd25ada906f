//! More and more load, up to several times what the gateway can take: what it still answers in
//! time, how it refuses the rest, and whom.
//!
//! A ramp is one step after the other, each an open loop at a multiple of the saturation rate;
//! every request says how long it will wait. After it comes one step more at the highest rate, in
//! which a third of the requests has a higher priority than the others.
//!
//! What the highest rate leaves of the best goodput is measured apart, after all ramps: the best
//! of several noisy steps is the luckiest of them, and minutes lie between one step and another.
//! The two rates come by turns, so that a drift of the machine falls on both.

mod liveness;
mod report;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use crate::http::Header;
use crate::process;
use crate::saturate::report::Spread;
use crate::schedule::Arrivals;
use crate::stop::Stop;

use super::Plan;
use super::gateway::{Gateway, MODEL, Stage};
use super::load::{Account, Load, SETTLE, Seen};
use super::rows::Rows;
use super::run::pause;
use super::story::{sharing_model, steps_for};

use liveness::Liveness;

pub use report::Report;

/// The compute time of one row.
const MODEL_MS: f64 = 7.0;
/// A full batch is to take far less than the deadline.
const MAX_BATCH_SIZE: usize = 4;
/// The weights are in the proportion of the loads, so that equal shares by weight alone would
/// refuse both alike: what differs is the priority's doing.
const SETTINGS: &str = "[auth]\ndata_plane = \"keys\"\n\n[tiers.default]\nweight = 1\n\n\
    [tiers.high]\nweight = 1\npriority = \"high\"\n\n[tiers.low]\nweight = 2\npriority = \"low\"\n";
/// The share of the high tier in the last step.
const HIGH: f64 = 1.0 / 3.0;
/// The load, in times of what the gateway can take.
const STEPS: [f64; 7] = [0.5, 0.8, 1.0, 1.2, 1.5, 2.0, 3.0];
/// Beyond that it is the generator that is measured.
const MOST: f64 = 20.0;
const WINDOW: Duration = Duration::from_secs(8);
const DEADLINE: Duration = Duration::from_millis(200);
/// Between steps: the queues of the step before are empty then.
const REST: Duration = Duration::from_millis(500);
/// Turns for each ramp.
const TURNS: usize = 2;
/// Times that saturation is measured.
const MEASURED: usize = 2;

/// One rate.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    /// Times saturation.
    pub factor: f64,
    pub account: Account,
    /// CPU seconds per second.
    pub gateway_cpu: f64,
    pub client_cpu: f64,
}

/// The step with two priorities.
#[derive(Debug, Clone, Serialize)]
pub struct Priorities {
    pub factor: f64,
    pub high: Account,
    pub low: Account,
    /// Requests of either that found no connection.
    pub not_sent: u64,
}

/// One ramp.
#[derive(Debug, Clone, Serialize)]
pub struct Ramp {
    pub run: usize,
    pub seed: u64,
    pub steps: Vec<Step>,
    /// While the highest step lasted.
    pub liveness: Liveness,
    pub priorities: Priorities,
    /// Of each kind of refusal the first, in the server's words.
    pub examples: Vec<String>,
}

/// The best rate and the highest, one after the other.
#[derive(Debug, Clone, Serialize)]
pub struct Turn {
    pub best: Step,
    pub highest: Step,
}

impl Turn {
    /// Goodput at the highest rate over that of the best, in percent.
    fn left(&self) -> Option<f64> {
        let best = self.best.account.goodput;
        (best > 0.0).then_some(100.0 * self.highest.account.goodput / best)
    }
}

/// Where and how it is asked.
struct Setting<'a> {
    gateway: &'a Gateway,
    plain: Header,
    high: Header,
    low: Header,
    window: Duration,
    deadline: Duration,
    /// Answers per second.
    saturation: f64,
}

/// Plays the ramps.
pub fn run(plan: &Plan, stop: &Stop) -> Result<Report> {
    let pressure = &plan.pressure;
    let factors = factors(&pressure.steps)?;
    let steps = steps_for(MODEL_MS, plan, stop)?;
    process::raise_file_limit()?;
    let gateway = Gateway::start_with(SETTINGS, plan, stop)?;
    let measured = || -> Result<Report> {
        let admin = &gateway.stage.admin;
        let (file, told) = sharing_model(1.0, steps);
        let version = admin.push(MODEL, &file)?;
        admin.promote(MODEL, version)?;
        let batch = pressure.max_batch_size.unwrap_or(MAX_BATCH_SIZE);
        admin.configure(MODEL, &[("max_batch_size", &batch.to_string())])?;
        let mut setting = Setting {
            plain: admin.predict_key("plain", "plain", "default")?,
            high: admin.predict_key("high", "high", "high")?,
            low: admin.predict_key("low", "low", "low")?,
            gateway: &gateway,
            window: pressure.window.unwrap_or(WINDOW),
            deadline: pressure.deadline.unwrap_or(DEADLINE),
            saturation: 0.0,
        };
        let saturation = setting.saturation(plan.seed, stop)?;
        // What others compute meanwhile only ever makes it less.
        setting.saturation = saturation.max;
        eprintln!("{saturation} answers a second at most\n{}", report::COLUMNS);
        let mut ramps = Vec::new();
        for (run, seed) in plan.seeded_runs(stop) {
            match setting.ramp(run, seed, &factors, stop) {
                Err(_) if stop.is_raised() => break,
                ramp => ramps.push(ramp.with_context(|| format!("ramp {run}"))?),
            }
        }
        ensure!(!ramps.is_empty(), "no ramp was done");
        let turns = setting.turns(&ramps, plan.seed, stop)?;
        let models = format!("{told} (about {MODEL_MS} ms for one), {batch} rows at most in a run");
        Ok(Report::of(plan, &setting, models, saturation, ramps, turns))
    };
    let report = gateway.explain(measured())?;
    gateway.stop()?;
    Ok(report)
}

/// The steps wanted, rising.
fn factors(wanted: &[f64]) -> Result<Vec<f64>> {
    let mut factors = if wanted.is_empty() { STEPS.to_vec() } else { wanted.to_vec() };
    for factor in &factors {
        ensure!(
            *factor > 0.0 && *factor <= MOST,
            "--steps: {factor} times saturation; above 0 and at most {MOST} can be asked"
        );
    }
    factors.sort_by(f64::total_cmp);
    factors.dedup();
    Ok(factors)
}

fn highest(ramps: &[Ramp]) -> Option<f64> {
    Some(ramps.first()?.steps.last()?.factor)
}

impl Setting<'_> {
    fn stage(&self) -> &Stage {
        &self.gateway.stage
    }

    fn requests(&self, key: &Header, seed: u64) -> Vec<Vec<u8>> {
        let deadline = self.deadline.as_millis().to_string();
        let headers = [key.clone(), Header::new("x-request-timeout-ms", deadline)];
        self.stage().requests_for(MODEL, &headers, &Rows::Usual.bodies(seed))
    }

    fn saturation(&self, seed: u64, stop: &Stop) -> Result<Spread> {
        // Without a deadline: what is refused would not count.
        let requests = self.stage().requests_for(
            MODEL,
            std::slice::from_ref(&self.plain),
            &Rows::Usual.bodies(seed),
        );
        let once = |_| self.stage().saturation_by_steps(&requests[0], stop);
        let measured = (0..MEASURED).map(once).collect::<Result<Vec<_>>>()?.concat();
        Spread::of(measured).context("saturation was not measured")
    }

    fn ramp(&self, run: usize, seed: u64, factors: &[f64], stop: &Stop) -> Result<Ramp> {
        let plain = self.requests(&self.plain, seed);
        let highest = factors.last().copied().context("there are no steps")?;
        let mut liveness = Liveness::default();
        let mut steps = Vec::new();
        let mut examples: Vec<String> = Vec::new();
        let mut show = |factor: f64, seen: &Seen| {
            for (kind, said) in &seen.examples {
                if !examples.iter().any(|known| known.starts_with(&format!("{kind} "))) {
                    examples.push(format!("{kind} at {factor} times saturation: {said}"));
                }
            }
        };
        for (number, &factor) in factors.iter().enumerate() {
            let seed = seed.wrapping_add(number as u64);
            let (step, seen) = if factor == highest {
                let step = || self.step(&plain, factor, seed, stop);
                let (step, watched) = liveness::watched(&self.stage().target, step);
                liveness = watched;
                step?
            } else {
                self.step(&plain, factor, seed, stop)?
            };
            show(factor, &seen);
            steps.push(step);
        }
        let both = [self.requests(&self.high, seed), self.requests(&self.low, seed)].concat();
        let seen = self.load(&both, HIGH, highest, !seed).run(stop).context("two priorities")?;
        show(highest, &seen);
        let priorities = Priorities {
            factor: highest,
            high: seen.account_of(0, self.deadline),
            low: seen.account_of(1, self.deadline),
            not_sent: seen.account(self.deadline).not_sent,
        };
        eprintln!("{priorities}");
        pause(REST, stop)?;
        Ok(Ramp { run, seed, steps, liveness, priorities, examples })
    }

    /// One rate for a while, and a rest.
    fn step(
        &self,
        requests: &[Vec<u8>],
        factor: f64,
        seed: u64,
        stop: &Stop,
    ) -> Result<(Step, Seen)> {
        let own = std::process::id();
        let before = (self.gateway.cpu_time()?, process::cpu_time(own)?);
        let seen = self.load(requests, 1.0, factor, seed).run(stop);
        let seen = seen.with_context(|| format!("{factor} times saturation"))?;
        let seconds = (SETTLE + self.window).as_secs_f64();
        let gateway_cpu = self.gateway.cpu_time()?.saturating_sub(before.0).as_secs_f64();
        let client_cpu = process::cpu_time(own)?.saturating_sub(before.1).as_secs_f64();
        let step = Step {
            factor,
            account: seen.account(self.deadline),
            gateway_cpu: gateway_cpu / seconds,
            client_cpu: client_cpu / seconds,
        };
        eprintln!("{}", step.line());
        pause(REST, stop)?;
        Ok((step, seen))
    }

    /// The best rate of the ramps and the highest by turns; none where they are the same.
    fn turns(&self, ramps: &[Ramp], seed: u64, stop: &Stop) -> Result<Vec<Turn>> {
        let (Some(best), Some(highest)) = (report::best_factor(ramps), highest(ramps)) else {
            return Ok(Vec::new());
        };
        let mut turns = Vec::new();
        if best == highest {
            return Ok(turns);
        }
        eprintln!("{best} and {highest} times saturation by turns");
        let requests = self.requests(&self.plain, seed);
        for turn in 0..TURNS * ramps.len() {
            let seed = seed.rotate_left(32).wrapping_add(turn as u64);
            let step = |factor| self.step(&requests, factor, seed, stop).map(|(step, _)| step);
            let both = || -> Result<Turn> {
                // Each comes first in turn.
                if turn % 2 == 0 {
                    let best = step(best)?;
                    return Ok(Turn { best, highest: step(highest)? });
                }
                let highest = step(highest)?;
                Ok(Turn { best: step(best)?, highest })
            };
            match both() {
                Err(_) if stop.is_raised() => break,
                turn => turns.push(turn?),
            }
        }
        Ok(turns)
    }

    fn load<'a>(&'a self, requests: &'a [Vec<u8>], first: f64, factor: f64, seed: u64) -> Load<'a> {
        Load {
            target: &self.stage().target,
            requests,
            first,
            arrivals: Arrivals::Poisson,
            rate: self.saturation * factor,
            window: self.window,
            deadline: self.deadline,
            seed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_rise_and_stay_within_reason() {
        assert_eq!(factors(&[]).unwrap(), STEPS);
        assert_eq!(factors(&[3.0, 0.5, 3.0]).unwrap(), [0.5, 3.0]);
        for wrong in [0.0, -1.0, f64::NAN, f64::INFINITY, 21.0] {
            assert!(factors(&[1.0, wrong]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn tiers_weigh_as_much_as_they_ask() {
        // Otherwise fair shares alone would give the high tier more, whatever its priority.
        assert!((HIGH - 1.0 / (1.0 + 2.0)).abs() < 1e-9);
        assert!(SETTINGS.contains("[tiers.high]\nweight = 1\n"));
        assert!(SETTINGS.contains("[tiers.low]\nweight = 2\n"));
    }
}
