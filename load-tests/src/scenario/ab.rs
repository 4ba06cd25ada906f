//! An experiment: users who are kept on a variant, feedback on their answers, and the verdict
//! that follows. The second variant truly is better; that has to be found.

mod users;

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::admin::Admin;
use crate::onnx_file::tag;
use crate::random::Random;
use crate::stop::Stop;

use super::Plan;
use super::bounds::{Bound, Figure};
use super::gateway::{Gateway, MODEL, Stage};
use super::run::pause;
use super::story::{CANARY, STABLE};
use users::{Asked, Users};

const NAME: &str = "trial";
const METRIC: &str = "clicked";
/// How long after a user's first answer feedback counts: verdicts wait for it.
const WINDOW: Duration = Duration::from_secs(1);
/// The share of each variant's users who click, in the order of [`VARIANTS`].
const SUCCESS: [f64; 2] = [0.10, 0.30];
/// Names; version 1 answers for the first, version 2 for the second.
const VARIANTS: [&str; 2] = ["old", "new"];
/// Users who are new in each round.
const ROUND: usize = 400;
/// No verdict after so many rounds is a verdict too.
const ROUNDS: usize = 20;

/// What came of all runs.
#[derive(Debug, Serialize)]
pub struct Report {
    pub spec: Value,
    pub success: BTreeMap<&'static str, f64>,
    pub seed: u64,
    /// Users until the verdict.
    pub users: Option<Figure>,
    pub seconds: Option<Figure>,
    pub bounds: Vec<Bound>,
    pub runs: Vec<RunReport>,
}

/// One experiment.
#[derive(Debug, Clone, Serialize)]
pub struct RunReport {
    pub run: usize,
    pub seed: u64,
    pub users: usize,
    pub requests: usize,
    /// Users by the variant that their first answer named.
    pub assigned: BTreeMap<String, usize>,
    /// Users whose later answers named another variant than the first.
    pub moved: usize,
    /// Answers of another version than their variant's, or with another value.
    pub wrong: usize,
    /// Requests and feedback without status 2xx, by kind.
    pub failed: BTreeMap<String, u64>,
    /// Evidence against "units are split as they were drawn".
    pub split_evidence: f64,
    pub split_is_wrong: bool,
    /// About the second variant.
    pub decision: String,
    pub reason: String,
    /// The interval for the difference, if there is one.
    pub interval: Option<[f64; 2]>,
    pub seconds: f64,
    pub examples: Vec<String>,
}

/// An experiment as the admin API shows it.
#[derive(Debug, Deserialize)]
struct View {
    analysis: Option<Analysis>,
}

#[derive(Debug, Deserialize)]
struct Analysis {
    split: Check,
    comparisons: Vec<Comparison>,
}

#[derive(Debug, Deserialize)]
struct Check {
    evidence: f64,
    is_wrong: bool,
}

#[derive(Debug, Deserialize)]
struct Comparison {
    decision: String,
    reason: String,
    #[serde(default)]
    primary: Value,
}

/// The spec of the experiment.
fn spec() -> Value {
    let variant =
        |place: usize| json!({"name": VARIANTS[place], "version": place + 1, "weight": 50});
    json!({
        "name": NAME,
        "unit": "header:x-user-id",
        "variants": [variant(0), variant(1)],
        "metrics": {"primary": {
            "name": METRIC, "kind": "binary", "better": "up", "window": "1s", "margin": 0.01,
        }},
        "n0": 2000,
    })
}

/// Runs the experiment again and again.
pub fn run(plan: &Plan, stop: &Stop) -> Result<Report> {
    let spec = spec();
    eprintln!("ab\nspec {spec}\n{COLUMNS}");
    let mut runs = Vec::new();
    for (number, seed) in plan.seeded_runs(stop) {
        let gateway = Gateway::start(plan, stop)?;
        let report = played(&gateway.stage, number, seed, stop);
        if stop.is_raised() {
            break;
        }
        let report = gateway.explain(report).with_context(|| format!("run {number}"))?;
        gateway.stop()?;
        eprintln!("{}", report.line());
        runs.push(report);
    }
    ensure!(!runs.is_empty(), "no run was done");
    Ok(Report {
        spec,
        success: VARIANTS.into_iter().zip(SUCCESS).collect(),
        seed: plan.seed,
        users: Figure::of(runs.iter().map(|run| run.users as f64)),
        seconds: Figure::of(runs.iter().map(|run| run.seconds)),
        bounds: bounds(&runs, plan.wanted_runs()),
        runs,
    })
}

fn played(stage: &Stage, number: usize, seed: u64, stop: &Stop) -> Result<RunReport> {
    let admin = &stage.admin;
    for (place, value) in [STABLE, CANARY].into_iter().enumerate() {
        let version = admin.push(MODEL, &tag(value))?;
        ensure!(version == place as u64 + 1, "the versions start at {version}");
    }
    admin.promote(MODEL, 1)?;
    let path = format!("/admin/v1/models/{MODEL}/experiments");
    admin.post::<Value>(&path, &json!({"spec": spec()})).context("start the experiment")?;

    let started = Instant::now();
    let mut luck = Random::new(seed);
    let mut users = Users::new(stage, seed);
    let mut found = None;
    for round in 0..ROUNDS {
        let new = round * ROUND..(round + 1) * ROUND;
        users.ask(new.clone(), stop)?;
        let clicks: Vec<(usize, bool)> = new
            .filter_map(|user| {
                let place =
                    VARIANTS.iter().position(|name| users.variant_of(user) == Some(name))?;
                Some((user, luck.unit() <= SUCCESS[place]))
            })
            .collect();
        users.tell(METRIC, &clicks, stop)?;
        // What is asked again is the answer to "same variant?", and passes the time.
        users.ask(round * ROUND..(round + 1) * ROUND, stop)?;
        pause(WINDOW + Duration::from_millis(200), stop)?;
        let view = analysed(admin).context("look at the experiment")?;
        // "Not worse" may come on the way to "better": whoever looks for the better one goes on.
        let goes_on = |decision: &str| matches!(decision, "keep_going" | "not_worse");
        let is_settled = view.comparisons.iter().all(|c| !goes_on(&c.decision));
        found = Some(view);
        if is_settled {
            break;
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    // Everybody once more, long after the first time.
    users.ask(0..users.count(), stop)?;
    let analysis = found.context("there was no round")?;
    let comparison = analysis.comparisons.first().context("the analysis compares nothing")?;
    let effect = &comparison.primary["effect"];
    let Asked { requests, assigned, moved, wrong, failed, examples } = users.finish();
    Ok(RunReport {
        run: number,
        seed,
        users: assigned.values().sum(),
        requests,
        assigned,
        moved,
        wrong,
        failed,
        split_evidence: analysis.split.evidence,
        split_is_wrong: analysis.split.is_wrong,
        decision: comparison.decision.clone(),
        reason: comparison.reason.clone(),
        interval: effect["lower"].as_f64().zip(effect["upper"].as_f64()).map(|(a, b)| [a, b]),
        seconds,
        examples,
    })
}

fn analysed(admin: &Admin) -> Result<Analysis> {
    let view: View = admin.get(&format!("/admin/v1/models/{MODEL}/experiments/{NAME}"))?;
    view.analysis.context("the experiment is shown without its analysis")
}

fn bounds(runs: &[RunReport], wanted: usize) -> Vec<Bound> {
    let sum = |of: fn(&RunReport) -> usize| runs.iter().map(of).sum::<usize>() as u64;
    let truth = SUCCESS[1] - SUCCESS[0];
    let holds =
        |run: &&RunReport| run.interval.is_some_and(|[low, high]| (low..=high).contains(&truth));
    let shipped = runs.iter().filter(|run| run.decision == "ship").count();
    let split = runs.iter().filter(|run| run.split_is_wrong).count() as u64;
    let missing = runs.len() - runs.iter().filter(holds).count();
    // Of 20 intervals at 95 %, three that miss are still likely enough (1.6 % for more).
    let most_missing = (runs.len() as f64 * 0.15).ceil();
    vec![
        Bound::in_all("the better variant is to be shipped", shipped, runs.len()),
        Bound::none("users who changed their variant", sum(|run| run.moved)),
        Bound::none("answers of another version than the variant's", sum(|run| run.wrong)),
        Bound::none("runs with a wrong sample ratio", split),
        Bound::at_most("intervals without the truth", most_missing, Some(missing as f64)),
        Bound::none("failures", runs.iter().flat_map(|run| run.failed.values()).sum()),
        Bound::in_all("runs done", runs.len(), wanted),
    ]
}

const COLUMNS: &str =
    " run  users  old  new  moved wrong failed  split  decision      interval          seconds";

impl RunReport {
    fn line(&self) -> String {
        let of = |variant: &str| self.assigned.get(variant).copied().unwrap_or_default();
        let interval = self
            .interval
            .map_or_else(|| "-".to_owned(), |[low, high]| format!("{low:+.3} to {high:+.3}"));
        format!(
            "{:>4} {:>6} {:>4} {:>4} {:>6} {:>5} {:>6} {:>6.2}  {:<12}  {interval:<17} {:>6.1}",
            self.run,
            self.users,
            of(VARIANTS[0]),
            of(VARIANTS[1]),
            self.moved,
            self.wrong,
            self.failed.values().sum::<u64>(),
            self.split_evidence,
            self.decision,
            self.seconds
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "ab: {} runs, seed {}", self.runs.len(), self.seed)?;
        let rates: Vec<String> =
            self.success.iter().map(|(name, rate)| format!("{name} {rate}")).collect();
        writeln!(f, "truth   share of users who click: {}", rates.join(", "))?;
        writeln!(f, "spec    {}\n", self.spec)?;
        writeln!(f, "{COLUMNS}")?;
        for run in &self.runs {
            writeln!(f, "{}", run.line())?;
            for example in &run.examples {
                writeln!(f, "      {example}")?;
            }
        }
        for (what, figure) in [("users", self.users), ("seconds", self.seconds)] {
            let told = figure.map_or_else(|| "-".to_owned(), |figure| figure.to_string());
            writeln!(f, "{what:<8} to the verdict: {told}")?;
        }
        for run in [self.runs.first(), self.runs.last()].into_iter().flatten() {
            writeln!(f, "verdict of run {}: {}: {}", run.run, run.decision, run.reason)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
