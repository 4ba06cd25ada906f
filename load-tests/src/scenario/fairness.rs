//! One tenant asks ten times its share: what does another one notice?
//!
//! Two models of equal cost that gain little from batches, two tenants of equal weight, and three
//! phases by turns, round after round, so that a drift of the machine falls on all of them: the
//! victim alone; with the aggressor on the same model; with the aggressor on the other one. The
//! victim asks a fifth of its share, so whatever it waits for is not its own doing.

mod report;

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use serde::Serialize;

use crate::http::Header;
use crate::latency;
use crate::process;
use crate::saturate::report::Spread;
use crate::schedule::Arrivals;
use crate::stop::Stop;

use super::Plan;
use super::gateway::{Gateway, MODEL, Stage};
use super::load::{Account, Load, SETTLE, Sample, Seen};
use super::rows::{ROWS, Rows};
use super::run::pause;
use super::story::{sharing_model, steps_for};

pub use report::Report;

/// The compute time of one row.
const MODEL_MS: f64 = 3.0;
/// The model that the victim never asks.
const OTHER: &str = "scenario-other";
/// Equal tenants, each known by its key.
const SETTINGS: &str = "[auth]\ndata_plane = \"keys\"\n\n[tiers.default]\nweight = 1\n";
const TIER: &str = "default";
/// Of two tenants of equal weight.
const SHARE: f64 = 0.5;
/// What the victim asks of its share, and the aggressor of its own.
const VICTIM: f64 = 0.2;
const AGGRESSOR: f64 = 10.0;
const MAX_BATCH_SIZE: usize = 8;
/// Times that the capacity of each model is measured.
const MEASURED: usize = 2;
const WINDOW: Duration = Duration::from_secs(10);
const DEADLINE: Duration = Duration::from_secs(1);
/// The aggressor goes on for so long after the victim: its last answers count, too.
const LONGER: Duration = Duration::from_millis(500);
/// Between phases.
const REST: Duration = Duration::from_millis(500);

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// The victim alone
    Solo,
    /// The aggressor on the victim's model
    SameModel,
    /// The aggressor on the other model
    OtherModel,
}

impl Phase {
    pub const ALL: [Self; 3] = [Self::Solo, Self::SameModel, Self::OtherModel];

    fn name(self) -> &'static str {
        match self {
            Self::Solo => "solo",
            Self::SameModel => "same model",
            Self::OtherModel => "other model",
        }
    }

    /// Each phase comes first, second and third in turn.
    fn in_turn(round: usize) -> [Self; 3] {
        let mut order = Self::ALL;
        order.rotate_left(round % Self::ALL.len());
        order
    }
}

/// One phase of one round.
#[derive(Debug, Clone, Serialize)]
pub struct Window {
    pub round: usize,
    pub phase: Phase,
    pub victim: Account,
    /// The victim's requests that were not answered with 200, those of the start included.
    pub victim_errors: u64,
    pub aggressor: Option<Account>,
    /// CPU seconds per second.
    pub gateway_cpu: f64,
    pub client_cpu: f64,
}

/// What a run of as many rows as go into one takes when nothing else runs.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct FullBatch {
    /// By `server-timing`; missing when the gateway does not tell.
    pub compute_ms: Option<f64>,
    /// From the sending to the answer.
    pub answer_ms: f64,
}

impl FullBatch {
    fn ms(self) -> f64 {
        self.compute_ms.unwrap_or(self.answer_ms)
    }

    /// The gateway may find that batches of this size do not pay, and make several of it.
    fn is_split(self) -> bool {
        self.ms() < 0.7 * self.answer_ms
    }
}

/// Where, how fast and how long.
struct Setting<'a> {
    gateway: &'a Gateway,
    victim: Header,
    aggressor: Header,
    window: Duration,
    deadline: Duration,
    max_batch_size: usize,
}

/// What was measured before the rounds.
#[derive(Debug, Clone, Serialize)]
pub struct Capacity {
    /// Answers per second that one tenant can have alone, by model: median and range.
    pub models: [Spread; 2],
    /// The mean of the greatest of each: what others compute meanwhile only ever makes it less.
    pub per_second: f64,
    pub victim_rate: f64,
    pub aggressor_rate: f64,
    pub full_batch: FullBatch,
    pub other_full_batch: FullBatch,
}

impl Capacity {
    /// The shorter of the two, which are meant to be equal.
    fn full_batch_ms(&self) -> f64 {
        self.full_batch.ms().min(self.other_full_batch.ms())
    }
}

/// Measures the rounds.
pub fn run(plan: &Plan, stop: &Stop) -> Result<Report> {
    let pressure = &plan.pressure;
    ensure!(pressure.steps.is_empty(), "--steps is for overload");
    let steps = steps_for(MODEL_MS, plan, stop)?;
    process::raise_file_limit()?;
    let gateway = Gateway::start_with(SETTINGS, plan, stop)?;
    let max_batch_size = pressure.max_batch_size.unwrap_or(MAX_BATCH_SIZE);
    let measured = || -> Result<Report> {
        let admin = &gateway.stage.admin;
        for (model, value) in [(MODEL, 1.0), (OTHER, 2.0)] {
            let version = admin.push(model, &sharing_model(value, steps).0)?;
            admin.promote(model, version)?;
            admin.configure(model, &[("max_batch_size", &max_batch_size.to_string())])?;
        }
        let setting = Setting {
            victim: admin.predict_key("victim", "victim", TIER)?,
            aggressor: admin.predict_key("aggressor", "aggressor", TIER)?,
            gateway: &gateway,
            window: pressure.window.unwrap_or(WINDOW),
            deadline: pressure.deadline.unwrap_or(DEADLINE),
            max_batch_size,
        };
        setting.measured(plan, steps, stop)
    };
    let report = gateway.explain(measured())?;
    gateway.stop()?;
    Ok(report)
}

impl Setting<'_> {
    fn stage(&self) -> &Stage {
        &self.gateway.stage
    }

    fn requests(&self, model: &str, key: &Header, bodies: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let deadline = self.deadline.as_millis().to_string();
        let headers = [key.clone(), Header::new("x-request-timeout-ms", deadline)];
        self.stage().requests_for(model, &headers, bodies)
    }

    fn measured(&self, plan: &Plan, steps: usize, stop: &Stop) -> Result<Report> {
        let capacity = self.capacity(plan.seed, stop)?;
        eprintln!("{}\n{}", capacity.told(), report::COLUMNS);
        let mut windows = Vec::new();
        let mut victims: Vec<(Phase, Seen)> = Vec::new();
        'rounds: for (round, seed) in plan.seeded_runs(stop) {
            for phase in Phase::in_turn(round - 1) {
                match self.window(round, phase, &capacity, seed, stop) {
                    // A round that is not whole is left out.
                    Err(_) if stop.is_raised() => {
                        windows.retain(|window: &Window| window.round != round);
                        victims.truncate(windows.len());
                        break 'rounds;
                    }
                    measured => {
                        let (window, seen) =
                            measured.with_context(|| format!("round {round}, {}", phase.name()))?;
                        eprintln!("{}", window.line());
                        windows.push(window);
                        victims.push((phase, seen));
                    }
                }
            }
        }
        ensure!(!windows.is_empty(), "no round was done");
        let pooled = Phase::ALL.map(|phase| {
            let own = || victims.iter().filter(move |(of, _)| *of == phase).map(|(_, seen)| seen);
            let samples: Vec<&Sample> = own().flat_map(Seen::counted).collect();
            let (due, seconds) =
                (own().map(|one| one.due).sum(), own().map(|one| one.seconds).sum());
            Account::of(samples.into_iter(), Some(due), seconds, self.deadline)
        });
        let models = format!(
            "both: {} (about {MODEL_MS} ms for one), {} rows at most in a run",
            sharing_model(0.0, steps).1,
            self.max_batch_size
        );
        Ok(Report::of(plan, self, models, capacity, pooled, windows))
    }

    fn capacity(&self, seed: u64, stop: &Stop) -> Result<Capacity> {
        let bodies = Rows::Usual.bodies(seed);
        let asked = [MODEL, OTHER].map(|model| self.requests(model, &self.victim, &bodies[..1]));
        let mut measured = [Vec::new(), Vec::new()];
        for _ in 0..MEASURED {
            for (requests, found) in asked.iter().zip(&mut measured) {
                found.extend(self.stage().saturation_by_steps(&requests[0], stop)?);
            }
        }
        let [first, second] = measured.map(Spread::of);
        let models = [first.context("not measured")?, second.context("not measured")?];
        let per_second = (models[0].max + models[1].max) / 2.0;
        Ok(Capacity {
            models,
            per_second,
            victim_rate: per_second * SHARE * VICTIM,
            aggressor_rate: per_second * SHARE * AGGRESSOR,
            full_batch: self.full_batch(MODEL, seed, stop)?,
            other_full_batch: self.full_batch(OTHER, seed, stop)?,
        })
    }

    /// Asks for full batches with pauses between them.
    fn full_batch(&self, model: &str, seed: u64, stop: &Stop) -> Result<FullBatch> {
        let body = Rows::Usual.batch(self.max_batch_size, seed);
        let requests = self.requests(model, &self.victim, &vec![body; ROWS]);
        let load = Load {
            arrivals: Arrivals::Uniform,
            rate: 5.0,
            window: Duration::from_secs(5),
            ..self.load(&requests, 1.0, seed)
        };
        let seen = load.run(stop).context("measure a full batch")?;
        let account = seen.account(self.deadline);
        ensure!(account.refusals() == 0, "a full batch was refused: {:?}", seen.examples);
        let mut computes = latency::histogram();
        for compute in seen.counted().filter_map(|one| one.compute) {
            latency::record(&mut computes, compute);
        }
        let compute_ms =
            (!computes.is_empty()).then(|| computes.value_at_quantile(0.5) as f64 / 1e6);
        let full = FullBatch { compute_ms, answer_ms: account.from_sent.p50_ms };
        if full.is_split() {
            eprintln!("{model} takes less than {} rows in a run: {full:?}", self.max_batch_size);
        }
        Ok(full)
    }

    fn load<'a>(&'a self, requests: &'a [Vec<u8>], rate: f64, seed: u64) -> Load<'a> {
        Load {
            target: &self.stage().target,
            requests,
            first: 1.0,
            arrivals: Arrivals::Poisson,
            rate,
            window: self.window,
            deadline: self.deadline,
            seed,
        }
    }

    fn window(
        &self,
        round: usize,
        phase: Phase,
        capacity: &Capacity,
        seed: u64,
        stop: &Stop,
    ) -> Result<(Window, Seen)> {
        let bodies = Rows::Usual.bodies(seed);
        let victims = self.requests(MODEL, &self.victim, &bodies);
        let aggressors = match phase {
            Phase::Solo => None,
            Phase::SameModel => Some(self.requests(MODEL, &self.aggressor, &bodies)),
            Phase::OtherModel => Some(self.requests(OTHER, &self.aggressor, &bodies)),
        };
        pause(REST, stop)?;
        let own = std::process::id();
        let before = (self.gateway.cpu_time()?, process::cpu_time(own)?);
        let victim = self.load(&victims, capacity.victim_rate, seed);
        let (seen, aggressor) = thread::scope(|scope| {
            let aggressor = aggressors.as_ref().map(|requests| {
                let load = Load {
                    window: self.window + LONGER,
                    // Other gaps than the victim's.
                    ..self.load(requests, capacity.aggressor_rate, !seed)
                };
                scope.spawn(|| load.run(stop))
            });
            let seen = victim.run(stop).context("the victim's load failed");
            let joined = aggressor.map(|load| {
                let outcome = load.join().unwrap_or_else(|_| Err(anyhow!("its thread panicked")));
                outcome.context("the aggressor's load failed")
            });
            (seen, joined.transpose())
        });
        let (seen, aggressor) = (seen?, aggressor?);
        let seconds = (SETTLE + self.window).as_secs_f64();
        let gateway_cpu = self.gateway.cpu_time()?.saturating_sub(before.0).as_secs_f64();
        let client_cpu = process::cpu_time(own)?.saturating_sub(before.1).as_secs_f64();
        for (kind, said) in &seen.examples {
            eprintln!("the victim got {kind}: {said}");
        }
        let window = Window {
            round,
            phase,
            victim: seen.account(self.deadline),
            victim_errors: seen.failed(),
            aggressor: aggressor.map(|seen| seen.account(self.deadline)),
            gateway_cpu: gateway_cpu / seconds,
            client_cpu: client_cpu / seconds,
        };
        Ok((window, seen))
    }
}
