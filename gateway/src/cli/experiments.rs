//! `experiment`: A/B experiments.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use weighbridge_config::experiment::Better;
use weighbridge_config::{ExperimentSpec, ModelName};
use weighbridge_experiment::Analysis;
use weighbridge_experiment::analysis::{MetricView, Reported};
use weighbridge_experiment::decision::Finding;
use weighbridge_registry::{ExperimentState, Revision};

use super::error::CliError;
use super::wire::model_path;
use super::{Globals, IfRevision, show};
use weighbridge::experiment::view::{View, Weight};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Start an experiment: its variants decide who gets which version until it is stopped
    Start(StartArgs),
    /// Show what an experiment has found so far, or list those of a model
    Status(StatusArgs),
    /// Stop an experiment: the route decides again
    Stop(StopArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example: weighbridge experiment start ranker --spec size.toml
docs/experiments.md describes the file.")]
pub struct StartArgs {
    /// Name of the model
    name: ModelName,
    /// File that declares the experiment, in TOML or JSON
    #[arg(long, value_name = "FILE")]
    spec: PathBuf,
    #[command(flatten)]
    expected: IfRevision,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples: weighbridge experiment status ranker
          weighbridge experiment status ranker size")]
pub struct StatusArgs {
    /// Name of the model
    name: ModelName,
    /// Name or id of the experiment; of several with the name the newest
    #[arg(value_parser = experiment)]
    experiment: Option<String>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: weighbridge experiment stop ranker size --reason \"large wins\"")]
pub struct StopArgs {
    /// Name of the model
    name: ModelName,
    /// Name or id of the experiment
    #[arg(value_parser = experiment)]
    experiment: String,
    /// Why, for the audit trail
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Refuse (exit 5) unless the experiment is still at this revision
    #[arg(long, value_name = "N")]
    if_revision: Option<Revision>,
}

/// A name that becomes part of a path.
fn experiment(text: &str) -> Result<String, String> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let begins = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    match begins && text.len() <= 64 && text.bytes().all(fits) {
        true => Ok(text.to_owned()),
        false => Err("wanted letters, digits, dots, underscores and dashes".to_owned()),
    }
}

pub async fn run(command: Command, globals: &Globals) -> Result<(), CliError> {
    match command {
        Command::Start(args) => start(&args, globals).await,
        Command::Status(args) => status(&args, globals).await,
        Command::Stop(args) => stop(&args, globals).await,
    }
}

async fn start(args: &StartArgs, globals: &Globals) -> Result<(), CliError> {
    #[derive(Serialize)]
    struct Start {
        spec: ExperimentSpec,
    }
    let text = std::fs::read_to_string(&args.spec)
        .map_err(|error| CliError::io(format!("read {}", args.spec.display()), &error))?;
    let spec = ExperimentSpec::parse(&text).map_err(|mistakes| {
        let lines: Vec<String> = mistakes.0.iter().map(ToString::to_string).collect();
        CliError::usage(format!("{}:\n{}", args.spec.display(), lines.join("\n")))
    })?;
    let path = model_path(&args.name, "experiments");
    let answer = globals.client()?.post(&path, &Start { spec }, args.expected.if_revision).await?;
    if globals.json {
        return show::json(&answer);
    }
    let view: View = answer.parse()?;
    show::print(&format!("{}: {} runs ({}), {}", view.model, view.name, view.id, split(&view)))
}

async fn status(args: &StatusArgs, globals: &Globals) -> Result<(), CliError> {
    #[derive(Deserialize)]
    struct Views {
        experiments: Vec<View>,
    }
    let client = globals.client()?;
    let Some(experiment) = &args.experiment else {
        let answer = client.get(&model_path(&args.name, "experiments")).await?;
        return match globals.json {
            true => show::json(&answer),
            false => show::print(&listed(&answer.parse::<Views>()?.experiments, &args.name)),
        };
    };
    let path = model_path(&args.name, &format!("experiments/{experiment}"));
    let answer = client.get(&path).await?;
    match globals.json {
        true => show::json(&answer),
        false => show::print(&shown(&answer.parse()?)),
    }
}

async fn stop(args: &StopArgs, globals: &Globals) -> Result<(), CliError> {
    #[derive(Serialize)]
    struct Stop<'a> {
        reason: Option<&'a str>,
    }
    let path = model_path(&args.name, &format!("experiments/{}/stop", args.experiment));
    let body = Stop { reason: args.reason.as_deref() };
    let answer = globals.client()?.post(&path, &body, args.if_revision).await?;
    if globals.json {
        return show::json(&answer);
    }
    let view: View = answer.parse()?;
    show::print(&format!("{}: {} is stopped; the route decides", view.model, view.name))
}

fn listed(views: &[View], model: &ModelName) -> String {
    let row = |view: &View| {
        vec![
            view.name.clone(),
            view.id.clone(),
            state(view).to_owned(),
            split(view),
            show::time(view.started_at),
            show::or_nothing(view.stopped_at.map(show::time)),
            show::shortened(view.outcome.as_deref().unwrap_or(show::NOTHING), 40),
        ]
    };
    let heading = ["EXPERIMENT", "ID", "STATE", "WEIGHTS", "STARTED", "STOPPED", "OUTCOME"];
    let none = format!("no experiments: weighbridge experiment start {model} --spec FILE");
    show::table(&heading, views.iter().map(row).collect(), &none)
}

fn state(view: &View) -> &'static str {
    match view.state {
        ExperimentState::Running => "running",
        ExperimentState::Stopped => "stopped",
    }
}

/// `small=50% large=50%`.
fn split(view: &View) -> String {
    show::list(
        view.weights.iter().map(|Weight { variant, weight, .. }| format!("{variant}={weight}%")),
    )
}

fn shown(view: &View) -> String {
    let mut fields = vec![
        ("experiment", format!("{} ({}), {}", view.name, view.id, state(view))),
        ("model", view.model.clone()),
        ("unit", view.spec["unit"].as_str().unwrap_or(show::NOTHING).to_owned()),
        ("started", format!("{} by {}", show::time(view.started_at), view.started_by)),
    ];
    if let (Some(at), Some(by)) = (view.stopped_at, &view.stopped_by) {
        fields.push(("stopped", format!("{} by {by}", show::time(at))));
    }
    if let Some(outcome) = &view.outcome {
        fields.push(("outcome", outcome.clone()));
    }
    if view.bandit.is_some() || view.epoch > 0 {
        let told = view.bandit.as_ref().map(|told| format!(": {told}")).unwrap_or_default();
        fields.push(("bandit", format!("epoch {}{told}", view.epoch)));
    }
    let Some(analysis) = &view.analysis else { return show::fields(&fields) };
    fields.push(("split", split_check(analysis)));
    for comparison in &analysis.comparisons {
        let decision = comparison.decision.to_string().to_uppercase();
        let told = format!("{decision}: {}", comparison.reason);
        fields.push(("decision", format!("{}: {told}", comparison.variant)));
    }
    let believed = match analysis.split.is_wrong {
        true => "\nThe intervals below mean nothing while the split is wrong.\n",
        false => "",
    };
    format!(
        "{}\n\n{}\n{believed}\n{}",
        show::fields(&fields),
        variants(view, analysis),
        intervals(analysis)
    )
}

fn split_check(analysis: &Analysis) -> String {
    let (evidence, required) = (analysis.split.evidence, analysis.split.required);
    let word = if analysis.split.is_wrong { "WRONG" } else { "ok" };
    format!("{word} (evidence {} : 1 against it, {required} are needed)", number(evidence))
}

/// Units and what was reported, by variant.
fn variants(view: &View, analysis: &Analysis) -> String {
    let mut heading = vec!["VARIANT".to_owned(), "VERSION".to_owned(), "WEIGHT".to_owned()];
    heading.push("UNITS".to_owned());
    for metric in &analysis.metrics {
        heading.push(format!("{} MEAN", metric.metric.to_uppercase()));
        heading.push("REPORTED".to_owned());
    }
    let cells = |of: &dyn Fn(&MetricView) -> Option<Reported>| -> Vec<String> {
        let of = analysis.metrics.iter().map(of);
        of.flat_map(|reported| {
            let reported = reported.unwrap_or_default();
            let mean = show::or_nothing(reported.mean.map(number));
            [mean, format!("{} of {}", reported.with_feedback, reported.units)]
        })
        .collect()
    };
    let mut rows: Vec<Vec<String>> = Vec::new();
    for (place, units) in analysis.units.iter().enumerate() {
        let weight = view.weights.get(place);
        let mut row = vec![
            units.variant.clone(),
            show::or_nothing(weight.map(|w| w.version)),
            show::or_nothing(weight.map(|w| format!("{}%", w.weight))),
            units.units.to_string(),
        ];
        row.extend(cells(&|metric| metric.variants.get(place).copied()));
        rows.push(row);
    }
    if analysis.holdout > 0 {
        let nothing = show::NOTHING.to_owned();
        let units = analysis.holdout.to_string();
        let mut row = vec!["(holdout)".to_owned(), nothing.clone(), nothing, units];
        row.extend(cells(&|metric| Some(metric.holdout)));
        rows.push(row);
    }
    let heading: Vec<&str> = heading.iter().map(String::as_str).collect();
    let table = show::table(&heading, rows, "");
    match analysis.forced {
        0 => table,
        forced => format!("{table}\n{forced} units got a variant by name and count nowhere."),
    }
}

/// One line per comparison and metric.
fn intervals(analysis: &Analysis) -> String {
    let mut rows = Vec::new();
    for comparison in &analysis.comparisons {
        let primary = std::iter::once((&comparison.primary, true));
        let guardrails = comparison.guardrails.iter().map(|finding| (finding, false));
        for (finding, is_primary) in primary.chain(guardrails) {
            rows.push(interval(&comparison.variant, finding, is_primary));
        }
    }
    let control = analysis.units.first().map_or("the control", |u| u.variant.as_str());
    let against = format!("AGAINST {}", control.to_uppercase());
    let heading = ["VARIANT", "METRIC", &against, "INTERVAL", "RELATIVE", "MARGIN", ""];
    show::table(&heading, rows, "")
}

fn interval(variant: &str, finding: &Finding, is_primary: bool) -> Vec<String> {
    let nothing = || show::NOTHING.to_owned();
    let (estimate, interval, relative) = match &finding.effect {
        Some(effect) => {
            let ends = format!("{} … {}", signed(effect.lower), signed(effect.upper));
            let relative = match effect.control_mean {
                mean if mean.abs() > f64::EPSILON => {
                    format!("{:+.1}%", 100.0 * effect.estimate / mean.abs())
                }
                _ => nothing(),
            };
            (signed(effect.estimate), ends, relative)
        }
        None => (nothing(), "too early".to_owned(), nothing()),
    };
    let better = match finding.better {
        Better::Up => "up is better",
        Better::Down => "down is better",
    };
    let word = match is_primary {
        true => better.to_owned(),
        false if finding.is_broken() => format!("{better}; BROKEN"),
        false if finding.is_within_margin() => format!("{better}; within margin"),
        false => format!("{better}; open"),
    };
    let metric = finding.metric.clone();
    vec![variant.to_owned(), metric, estimate, interval, relative, number(finding.margin), word]
}

/// With as many digits as say something.
fn number(value: f64) -> String {
    match value.abs() {
        size if size != 0.0 && !(0.001..1e6).contains(&size) => format!("{value:.2e}"),
        size if size < 10.0 => format!("{value:.4}"),
        _ => format!("{value:.1}"),
    }
}

fn signed(value: f64) -> String {
    if value > 0.0 { format!("+{}", number(value)) } else { number(value) }
}

#[cfg(test)]
mod tests;
