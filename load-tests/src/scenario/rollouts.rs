//! All runs of a rollout scenario: their figures, and what they have to be.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Result, ensure};
use serde::Serialize;
use serde_json::Value;

use crate::latency::Percentiles;
use crate::stop::Stop;

use super::bounds::{Bound, Figure};
use super::run::{COLUMNS, Latencies, RunReport, run as run_once};
use super::story::{Load, Story};
use super::{Plan, Scenario};

/// The canary's share at the first step, in percent: more than it may fail nobody, rescue or not.
const FIRST_STEP: f64 = 5.0;
/// Stable is silent if no answer of it comes for so many seconds, at 190 requests a second.
const SILENCE_S: f64 = 2.0;

/// What came of all runs.
#[derive(Debug, Serialize)]
pub struct Report {
    pub scenario: Scenario,
    pub models: String,
    pub load: String,
    pub spec: Value,
    pub seed: u64,
    pub wanted_runs: usize,
    pub figures: Figures,
    pub bounds: Vec<Bound>,
    pub runs: Vec<RunReport>,
}

/// Over all runs. Missing where no run has the figure.
#[derive(Debug, Serialize)]
pub struct Figures {
    pub outcomes: BTreeMap<String, usize>,
    /// To the verdict, by the headers of the answers.
    pub canary_requests: Option<Figure>,
    /// By the verdict: all, and those that count as evidence.
    pub verdict_canary_requests: Option<Figure>,
    pub counted_canary_requests: Option<Figure>,
    pub seconds: Option<Figure>,
    pub requests: u64,
    pub failed: BTreeMap<String, u64>,
    pub rescued: u64,
    pub wrong: u64,
}

/// Plays the story again and again.
pub fn run(plan: &Plan, stop: &Stop) -> Result<Report> {
    let story = Story::of(plan, stop)?;
    eprintln!("{}: {}\nspec {}\n{COLUMNS}", name(plan.scenario), story.models, story.spec);
    let mut runs = Vec::new();
    for (number, seed) in plan.seeded_runs(stop) {
        match run_once(&story, number, seed, plan, stop) {
            Err(_) if stop.is_raised() => break,
            outcome => {
                let report = outcome.map_err(|error| error.context(format!("run {number}")))?;
                eprintln!("{}", report.line());
                runs.push(report);
            }
        }
    }
    ensure!(!runs.is_empty(), "no run was done");
    let load = match story.load {
        Load::PerSecond(rate) => format!("{rate} requests a second"),
        Load::OfSaturation(share) => {
            format!("{:.0} % of what the gateway can take, measured in each run", share * 100.0)
        }
    };
    let wanted_runs = plan.wanted_runs();
    Ok(Report {
        scenario: plan.scenario,
        models: story.models,
        load: format!("{load}, Poisson"),
        spec: story.spec,
        seed: plan.seed,
        wanted_runs,
        figures: Figures::of(&runs),
        bounds: bounds(plan.scenario, &runs, wanted_runs),
        runs,
    })
}

impl Figures {
    fn of(runs: &[RunReport]) -> Self {
        let over = |figure: fn(&RunReport) -> Option<f64>| {
            // A rollout that did not end has no "to the verdict".
            Figure::of(runs.iter().filter(|run| run.seconds.is_some()).filter_map(figure))
        };
        let mut outcomes = BTreeMap::new();
        let mut failed = BTreeMap::new();
        for run in runs {
            *outcomes.entry(run.outcome.clone()).or_insert(0) += 1;
            for (kind, count) in &run.failed {
                *failed.entry(kind.clone()).or_insert(0) += count;
            }
        }
        Self {
            outcomes,
            canary_requests: over(|run| Some(run.canary_requests as f64)),
            verdict_canary_requests: over(|run| run.verdict_canary_requests.map(|n| n as f64)),
            counted_canary_requests: over(|run| run.counted_canary_requests.map(|n| n as f64)),
            seconds: over(|run| run.seconds),
            requests: runs.iter().map(|run| run.requests).sum(),
            failed,
            rescued: runs.iter().map(|run| run.rescued).sum(),
            wrong: runs.iter().map(|run| run.wrong).sum(),
        }
    }
}

/// What the scenario has to fulfil.
fn bounds(scenario: Scenario, runs: &[RunReport], wanted: usize) -> Vec<Bound> {
    let figures = Figures::of(runs);
    let ended = |outcome: &str| runs.iter().filter(|run| run.outcome == outcome).count();
    let rolled_back = Bound::in_all("rolled back", ended("rolled_back"), runs.len());
    let failures = runs.iter().map(RunReport::failures).sum();
    let sum = |of: fn(&RunReport) -> u64| runs.iter().map(of).sum();
    let mut bounds = match scenario {
        Scenario::CanaryInMargin => {
            vec![Bound::none("rolled back", ended("rolled_back") as u64)]
        }
        Scenario::CanaryGood | Scenario::CanaryGoodDeep | Scenario::CanaryGoodWide => vec![
            Bound::in_all("promoted", ended("promoted"), runs.len()),
            Bound::none("rolled back", ended("rolled_back") as u64),
        ],
        Scenario::CanaryErrors => {
            let figure = figures.canary_requests;
            vec![
                rolled_back,
                Bound::at_most("canary requests, median", 6.0, figure.map(|f| f.median)),
                Bound::at_most("canary requests, p95", 12.0, figure.map(|f| f.p95)),
                Bound::none("user-visible failures", failures),
            ]
        }
        Scenario::CanarySlow => {
            let median = figures.counted_canary_requests.map(|f| f.median);
            vec![rolled_back, Bound::at_most("counted canary requests, median", 60.0, median)]
        }
        Scenario::CanaryHang => {
            let silence = runs.iter().map(|run| run.stable_silence_s).reduce(f64::max);
            let share = 100.0 * failures as f64 / figures.requests.max(1) as f64;
            let most_failed = "user-visible failures, percent";
            vec![
                rolled_back,
                Bound::at_most("longest silence of stable, seconds", SILENCE_S, silence),
                Bound::at_most(most_failed, FIRST_STEP, Some(share)),
            ]
        }
        Scenario::SharedOutage => {
            let common = |run: &&RunReport| {
                run.held.as_ref().is_some_and(|why| why.replace('-', "_").contains("common_cause"))
            };
            vec![
                Bound::none("rolled back", ended("rolled_back") as u64),
                Bound::in_all("held, common cause", runs.iter().filter(common).count(), runs.len()),
                Bound::none(
                    "user-visible failures outside the outage",
                    failures - sum(|run| run.failed_in_outage),
                ),
            ]
        }
        Scenario::Shadow | Scenario::Ab | Scenario::Fairness | Scenario::Overload => Vec::new(),
    };
    bounds.push(Bound::none("answers of another version than named", sum(|run| run.wrong)));
    bounds.push(Bound::none("requests to the loser after the end", sum(|run| run.misrouted)));
    let replayed_otherwise = |run: &&RunReport| run.replayed_same == Some(false);
    let otherwise = runs.iter().filter(replayed_otherwise).count() as u64;
    bounds.push(Bound::none("verdicts that a replay does not confirm", otherwise));
    bounds.push(Bound::in_all("runs done", runs.len(), wanted));
    bounds
}

/// What a part of the answer times is called, and which it is.
type Part = (&'static str, fn(&Latencies) -> Percentiles);

const PARTS: [Part; 3] = [
    ("answer", |times| times.total),
    ("waiting in the gateway", |times| times.queue),
    ("its run", |times| times.compute),
];

fn name(scenario: Scenario) -> String {
    use clap::ValueEnum;
    scenario.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {} runs, seed {}", name(self.scenario), self.runs.len(), self.seed)?;
        writeln!(f, "models  {}", self.models)?;
        writeln!(f, "load    {}", self.load)?;
        writeln!(f, "spec    {}\n", self.spec)?;
        writeln!(f, "{COLUMNS}")?;
        for run in &self.runs {
            writeln!(f, "{}", run.line())?;
            for example in &run.examples {
                writeln!(f, "      {example}")?;
            }
        }
        let Figures { outcomes, requests, rescued, wrong, .. } = &self.figures;
        let outcomes: Vec<String> =
            outcomes.iter().map(|(outcome, runs)| format!("{outcome}: {runs}")).collect();
        writeln!(f, "\noutcomes                  {}", outcomes.join(", "))?;
        for (what, figure) in [
            ("canary requests, headers", &self.figures.canary_requests),
            ("canary requests, verdict", &self.figures.verdict_canary_requests),
            ("counted, verdict", &self.figures.counted_canary_requests),
            ("seconds to the verdict", &self.figures.seconds),
        ] {
            let told = figure.map_or_else(|| "-".to_owned(), |figure| figure.to_string());
            writeln!(f, "{what:<25} {told}")?;
        }
        writeln!(f, "\nms, medians over the runs     p50 stable  canary     p99 stable  canary")?;
        for (what, of) in PARTS {
            let median = |figure: &dyn Fn(&RunReport) -> f64| {
                Figure::of(self.runs.iter().map(figure)).map_or(0.0, |figure| figure.median)
            };
            writeln!(
                f,
                "  {what:<25} {:>12.2} {:>7.2} {:>14.2} {:>7.2}",
                median(&|run| of(&run.stable_latency).p50_ms),
                median(&|run| of(&run.canary_latency).p50_ms),
                median(&|run| of(&run.stable_latency).p99_ms),
                median(&|run| of(&run.canary_latency).p99_ms),
            )?;
        }
        let failed: u64 = self.figures.failed.values().sum();
        writeln!(f, "user-visible failures     {failed} of {requests} requests")?;
        for (kind, count) in &self.figures.failed {
            writeln!(f, "    {kind}: {count}")?;
        }
        writeln!(f, "rescued {rescued}, wrong {wrong}")?;
        if let Some(rows) = Figure::of(self.runs.iter().filter_map(|run| run.mean_batch)) {
            writeln!(f, "rows per run of a model   {rows}")?;
        }
        if let (Some(first), Some(last)) = (self.runs.first(), self.runs.last()) {
            writeln!(f, "\nverdict of run {}\n{}", first.run, first.verdict)?;
            if last.run != first.run {
                writeln!(f, "\nverdict of run {}\n{}", last.run, last.verdict)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
