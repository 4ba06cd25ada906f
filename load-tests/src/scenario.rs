//! `load-tests scenario`: releases of real models, good and bad, against a gateway of its own,
//! many times over; what users saw, what was decided, and after how many requests.
//!
//! - [`story`]: what each rollout scenario consists of.
//! - [`run`]: one run of a story: gateway, load, rollout, and what was seen.
//! - [`crowd`]: the load, which checks each answer.
//! - [`rollouts`]: all runs of a story, their figures and bounds.
//! - [`shadow`]: what shadows cost the primary.
//! - [`ab`]: an experiment with feedback.
//! - [`fairness`]: what one tenant notices of another that asks far too much.
//! - [`overload`]: more load than the gateway can take, with deadlines and priorities.
//! - [`load`]: the load of these two, in which refusals are no surprise; [`plot`]: a picture of it.

pub mod ab;
pub mod bounds;
pub mod crowd;
pub mod fairness;
pub mod gateway;
pub mod load;
pub mod overload;
pub mod plot;
pub mod rollouts;
pub mod rows;
pub mod run;
pub mod shadow;
pub mod story;

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde::Serialize;

use crate::stop::Stop;

use bounds::Bound;

/// What is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scenario {
    /// An identical canary under 70 % load, with batching: promoted through all steps
    CanaryGood,
    /// The same with 300 thin layers: many small operators per run
    CanaryGoodDeep,
    /// The same with wide layers: weights that a neighbour pushes out of the caches
    CanaryGoodWide,
    /// A canary that takes 5 % longer, within the margin: never rolled back
    CanaryInMargin,
    /// A canary that fails each request: rolled back after a handful, nobody notices
    CanaryErrors,
    /// A canary that takes twice as long: rolled back
    CanarySlow,
    /// A canary whose runs never end: rolled back, stable goes on
    CanaryHang,
    /// Both versions fail for a while: held, not rolled back
    SharedOutage,
    /// What copies to a shadow version cost the primary
    Shadow,
    /// Two variants with different success: assignment, sample ratio, verdict
    Ab,
    /// What a tenant notices of another one that asks ten times its share
    Fairness,
    /// Up to three times what the gateway can take: goodput, refusals, priorities
    Overload,
}

impl Scenario {
    /// How often it is played when nobody says how often.
    pub fn usual_runs(self) -> usize {
        match self {
            Self::Fairness => 5,
            Self::Overload => 3,
            _ => 20,
        }
    }

    /// Whether it has a use for [`Pressure`].
    pub fn takes_pressure(self) -> bool {
        matches!(self, Self::Fairness | Self::Overload)
    }
}

/// What `fairness` and `overload` can be told besides; missing is the scenario's own choice.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Pressure {
    /// How long each window or step is counted.
    pub window: Option<Duration>,
    /// How long each request waits.
    pub deadline: Option<Duration>,
    /// Rows in one run.
    pub max_batch_size: Option<usize>,
    /// Of `overload`, in times of saturation; empty is its own choice.
    pub steps: Vec<f64>,
}

impl Pressure {
    /// Loads are bounded, whoever asks for them.
    fn check(&self) -> Result<()> {
        let second = Duration::from_secs(1);
        if let Some(window) = self.window {
            ensure!(
                (second..=600 * second).contains(&window),
                "--window: from 1 s to 10 min, not {window:?}"
            );
        }
        if let Some(deadline) = self.deadline {
            ensure!(
                (second / 100..=60 * second).contains(&deadline),
                "--deadline: from 10 ms to 1 min, not {deadline:?}"
            );
        }
        if let Some(rows) = self.max_batch_size {
            ensure!((1..=1024).contains(&rows), "--max-batch-size: from 1 to 1024, not {rows}");
        }
        Ok(())
    }
}

/// The command line in typed form.
#[derive(Debug, Clone)]
pub struct Plan {
    pub scenario: Scenario,
    /// Runs; pairs of windows for `shadow`, rounds for `fairness`, ramps for `overload`.
    pub runs: usize,
    pub seed: u64,
    /// This run alone, from 1.
    pub only_run: Option<usize>,
    /// The gateway's binary, if it is not beside this one.
    pub gateway: Option<PathBuf>,
    /// Appended to the gateway's own arguments.
    pub gateway_arguments: Vec<String>,
    /// No run begins later than this after the first.
    pub time_limit: Duration,
    pub pressure: Pressure,
}

/// What came of a scenario.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Report {
    Rollouts(Box<rollouts::Report>),
    Shadow(shadow::Report),
    Ab(ab::Report),
    Fairness(Box<fairness::Report>),
    Overload(Box<overload::Report>),
}

/// Plays a scenario.
pub fn run(plan: &Plan, stop: &Stop) -> Result<Report> {
    ensure!(plan.runs > 0, "at least one run is needed");
    if let Some(only) = plan.only_run {
        ensure!(
            (1..=plan.runs).contains(&only),
            "--only-run {only}: there are runs 1 to {}",
            plan.runs
        );
    }
    ensure!(
        plan.scenario.takes_pressure() || plan.pressure == Pressure::default(),
        "--window, --deadline, --max-batch-size and --steps are for fairness and overload"
    );
    plan.pressure.check()?;
    Ok(match plan.scenario {
        Scenario::Shadow => Report::Shadow(shadow::run(plan, stop)?),
        Scenario::Ab => Report::Ab(ab::run(plan, stop)?),
        Scenario::Fairness => Report::Fairness(Box::new(fairness::run(plan, stop)?)),
        Scenario::Overload => Report::Overload(Box::new(overload::run(plan, stop)?)),
        _ => Report::Rollouts(Box::new(rollouts::run(plan, stop)?)),
    })
}

impl Plan {
    /// Numbers and seeds of the runs to be done, from 1; it ends when time is up or on Ctrl-C.
    fn seeded_runs<'a>(&'a self, stop: &'a Stop) -> impl Iterator<Item = (usize, u64)> + 'a {
        let started = Instant::now();
        let numbers = (1..=self.runs).filter(|number| self.only_run.is_none_or(|k| k == *number));
        numbers
            .take_while(move |_| started.elapsed() < self.time_limit && !stop.is_raised())
            // Far apart, so that neighbouring seeds of two commands share no run.
            .map(|number| (number, self.seed.wrapping_mul(1_000_003).wrapping_add(number as u64)))
    }

    /// How many runs there should be.
    fn wanted_runs(&self) -> usize {
        if self.only_run.is_some() { 1 } else { self.runs }
    }
}

impl Report {
    /// What was asked of the scenario.
    pub fn bounds(&self) -> &[Bound] {
        match self {
            Self::Rollouts(report) => &report.bounds,
            Self::Shadow(report) => &report.bounds,
            Self::Ab(report) => &report.bounds,
            Self::Fairness(report) => &report.bounds,
            Self::Overload(report) => &report.bounds,
        }
    }

    /// A picture, as SVG; few scenarios have one.
    pub fn plot(&self) -> Option<String> {
        match self {
            Self::Overload(report) => Some(report.plot()),
            _ => None,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rollouts(report) => report.fmt(f),
            Self::Shadow(report) => report.fmt(f),
            Self::Ab(report) => report.fmt(f),
            Self::Fairness(report) => report.fmt(f),
            Self::Overload(report) => report.fmt(f),
        }?;
        writeln!(f, "\nbounds")?;
        for bound in self.bounds() {
            writeln!(f, "  {bound}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
