//! What each rollout scenario consists of: two real models, a load, a spec, and what happens.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::onnx_file::faults::gather_fault;
use crate::onnx_file::{dense_tag, part_per_run, per_run, slow, tag};
use crate::stop::Stop;

use super::gateway::{Gateway, MODEL, Stage};
use super::rows::Rows;
use super::{Plan, Scenario};

/// What stable, version 1, answers.
pub const STABLE: f32 = 1.0;
/// What the canary, version 2, answers: another value, so that each answer tells who gave it.
pub const CANARY: f32 = 2.0;

/// The compute time of the model whose answer times matter.
const SLOW_MS: f64 = 5.0;
/// Steps of the model that finds out how long a step takes here.
const TRIAL_STEPS: usize = 100;
/// Places in the tables of fault models: what is beyond them, [`Rows::Beyond`] asks.
const PLACES: usize = 2;
/// Products in each run of the model whose batches pay: about half a millisecond.
const PER_RUN: usize = 12;

/// How many requests come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Load {
    PerSecond(f64),
    /// A share of what the gateway can take, measured in each run.
    OfSaturation(f64),
}

/// A time in which both versions are asked what they fail.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outage {
    /// After the start of the rollout.
    pub after: Duration,
    pub length: Duration,
    /// How long is watched afterwards.
    pub watch: Duration,
}

/// One scenario, ready to be played.
#[derive(Debug)]
pub struct Story {
    pub scenario: Scenario,
    pub stable: Vec<u8>,
    pub canary: Vec<u8>,
    /// The two models in words.
    pub models: String,
    pub spec: Value,
    pub load: Load,
    /// What is asked, and what is asked during an outage.
    pub rows: [Rows; 2],
    /// A fault that is injected right after the start.
    pub drill: Option<&'static str>,
    pub outage: Option<Outage>,
    /// Stable is asked alone for so long before the rollout starts: its answer times are what the
    /// canary's are held against.
    pub lead: Duration,
    /// The rollout is watched for so long at most.
    pub limit: Duration,
    /// The load goes on for so long after its end: nothing may reach the loser then.
    pub after: Duration,
}

/// The spec of every scenario: the steps, without a shadow stage, and times as short as they go.
pub fn spec() -> Value {
    json!({
        "steps": [5, 25, 50],
        "shadow": {"requests": 0},
        "step_min": "2s",
        "warm_up": {"time": "1s", "requests": 20},
    })
}

impl Story {
    /// The story of a rollout scenario.
    ///
    /// # Errors
    /// For the scenarios that are no rollouts; and when the machine's speed cannot be measured.
    pub fn of(plan: &Plan, stop: &Stop) -> Result<Self> {
        let plain = Self {
            scenario: plan.scenario,
            stable: Vec::new(),
            canary: Vec::new(),
            models: String::new(),
            spec: spec(),
            load: Load::PerSecond(200.0),
            rows: [Rows::Usual, Rows::Beyond],
            drill: None,
            outage: None,
            lead: Duration::from_secs(5),
            limit: Duration::from_secs(60),
            after: Duration::from_millis(1500),
        };
        Ok(match plan.scenario {
            Scenario::CanaryGood => Self {
                stable: per_run(STABLE, PER_RUN),
                canary: per_run(CANARY, PER_RUN),
                models: format!(
                    "both: {PER_RUN} matrix products per run, however many rows; they differ in \
                     the constant answered"
                ),
                load: Load::OfSaturation(0.7),
                limit: Duration::from_secs(180),
                ..plain
            },
            Scenario::CanaryGoodDeep => Self {
                stable: dense_tag(STABLE, &[16; 300], plan.seed),
                canary: dense_tag(CANARY, &[16; 300], plan.seed),
                models: "both: 300 dense layers of 16; they differ in the constant answered"
                    .to_owned(),
                load: Load::OfSaturation(0.7),
                limit: Duration::from_secs(180),
                ..plain
            },
            Scenario::CanaryGoodWide => Self {
                stable: dense_tag(STABLE, &[1024, 1024, 512], plan.seed),
                canary: dense_tag(CANARY, &[1024, 1024, 512], plan.seed),
                models:
                    "both: dense layers of 1024, 1024, 512 (6 MB); they differ in the constant \
                         answered"
                        .to_owned(),
                load: Load::OfSaturation(0.7),
                limit: Duration::from_secs(180),
                ..plain
            },
            Scenario::CanaryInMargin => {
                let steps = steps_for(SLOW_MS, plan, stop)?;
                let more = (steps as f64 * 1.05).round() as usize;
                Self {
                    stable: slow(STABLE, steps),
                    canary: slow(CANARY, more),
                    models: format!(
                        "stable: {steps} matrix products (about {SLOW_MS} ms); canary: {more}"
                    ),
                    load: Load::OfSaturation(0.3),
                    limit: Duration::from_secs(120),
                    ..plain
                }
            }
            Scenario::CanaryErrors => Self {
                stable: tag(STABLE),
                canary: gather_fault(CANARY, PLACES),
                models: "stable: a constant; canary: Gather whose index is out of range for every \
                         row asked"
                    .to_owned(),
                rows: [Rows::Beyond, Rows::Beyond],
                ..plain
            },
            Scenario::CanarySlow => {
                let steps = steps_for(SLOW_MS, plan, stop)?;
                Self {
                    stable: slow(STABLE, steps),
                    canary: slow(CANARY, 2 * steps),
                    models: format!(
                        "stable: {steps} matrix products (about {SLOW_MS} ms); canary: {}",
                        2 * steps
                    ),
                    load: Load::OfSaturation(0.3),
                    limit: Duration::from_secs(120),
                    ..plain
                }
            }
            Scenario::CanaryHang => Self {
                stable: tag(STABLE),
                canary: tag(CANARY),
                models: "both: a constant; the drill `hang` holds the canary's runs".to_owned(),
                drill: Some("hang"),
                // The thread that hangs still does.
                after: Duration::from_secs(5),
                ..plain
            },
            Scenario::SharedOutage => Self {
                stable: gather_fault(STABLE, PLACES),
                canary: gather_fault(CANARY, PLACES),
                models: "both: Gather; for 10 s every row asked is out of range".to_owned(),
                outage: Some(Outage {
                    after: Duration::from_secs(4),
                    length: Duration::from_secs(10),
                    watch: Duration::from_secs(6),
                }),
                ..plain
            },
            Scenario::Shadow | Scenario::Ab | Scenario::Fairness | Scenario::Overload => {
                bail!("this scenario is no rollout")
            }
        })
    }
}

/// How many steps of [`slow`] take `milliseconds` on this machine, at its best: what others
/// compute meanwhile would make the model too light.
pub fn steps_for(milliseconds: f64, plan: &Plan, stop: &Stop) -> Result<usize> {
    let gateway = Gateway::start(plan, stop)?;
    let time = fastest_trial(&gateway.stage, plan.seed);
    let trial_ms = gateway.explain(time)?.as_secs_f64() * 1e3;
    gateway.stop()?;
    let steps = (milliseconds / trial_ms * TRIAL_STEPS as f64).round().max(1.0);
    ensure!(steps <= 10_000.0, "{TRIAL_STEPS} steps took {trial_ms} ms: that cannot be");
    eprintln!(
        "{TRIAL_STEPS} matrix products take {trial_ms:.2} ms here: {steps} for {milliseconds} ms"
    );
    Ok(steps as usize)
}

/// A model of about as many `steps` for one row, a third of which is done once for all rows of a
/// run; and what that is in words.
///
/// What batches save decides how large they are made. With [`slow`] they save nothing, give or take
/// what the machine does meanwhile: of two such models one would be given batches, the other none.
pub fn sharing_model(value: f32, steps: usize) -> (Vec<u8>, String) {
    let run_steps = steps / 3;
    let row_steps = steps - run_steps;
    let told = format!("{run_steps} matrix products for each run and {row_steps} for each row");
    (part_per_run(value, run_steps, row_steps), told)
}

fn fastest_trial(stage: &Stage, seed: u64) -> Result<Duration> {
    let version = stage.admin.push(MODEL, &slow(STABLE, TRIAL_STEPS))?;
    stage.admin.promote(MODEL, version)?;
    let bodies = Rows::Usual.bodies(seed);
    stage.fastest(&bodies[0]).context("time the trial model")
}
