//! `shadows`: how the shadow versions of a model compare with the one that answers.

use serde::Deserialize;
use serde_json::Value;
use weighbridge_config::tensor::compare::Agreement;
use weighbridge_config::{ModelName, Version};

use super::Globals;
use super::client::Answer;
use super::error::CliError;
use super::show;
use super::wire::model_path;
use weighbridge::shadow::ShadowReport;
use weighbridge::shadow::exemplars::Exemplar;
use weighbridge::shadow::report::{Differences, MirrorStatus, State};
use weighbridge::shadow::spread::Quantiles;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example: weighbridge configure fraud shadows=3=10    copies 10 % of the requests to version 3
         weighbridge shadows fraud
         weighbridge shadows fraud 3 --exemplars --json    with inputs and both answers")]
pub struct Args {
    /// Name of the model
    name: ModelName,
    /// Show everything about this shadow version
    version: Option<Version>,
    /// Show the worst disagreements of that version; --json has the inputs and both answers
    #[arg(long, requires = "version")]
    exemplars: bool,
}

#[derive(Debug, Deserialize)]
struct Shadows {
    shadows: Vec<ShadowReport>,
    mirror: MirrorStatus,
}

#[derive(Debug, Deserialize)]
struct Exemplars {
    exemplars: Vec<Exemplar>,
}

pub async fn run(args: &Args, globals: &Globals) -> Result<(), CliError> {
    let client = globals.client()?;
    if let (Some(version), true) = (args.version, args.exemplars) {
        let path = model_path(&args.name, &format!("shadows/{version}/exemplars"));
        let answer = client.get(&path).await?;
        if globals.json {
            return show::json(&answer);
        }
        return show::print(&listed_exemplars(&answer.parse::<Exemplars>()?.exemplars));
    }
    let answer = client.get(&model_path(&args.name, "shadows")).await?;
    match (args.version, globals.json) {
        (None, true) => show::json(&answer),
        (Some(version), true) => show::print(&json_of(&answer, &args.name, version)?),
        (None, false) => show::print(&listed(&answer.parse()?, &args.name)),
        (Some(version), false) => {
            let shadows: Shadows = answer.parse()?;
            let of_version: Vec<String> =
                shadows.shadows.iter().filter(|s| s.version == version).map(one).collect();
            if of_version.is_empty() {
                return Err(no_shadow(&args.name, version));
            }
            show::print(&of_version.join("\n\n"))
        }
    }
}

/// The members of the listing that are about one version.
fn json_of(answer: &Answer, name: &ModelName, version: Version) -> Result<String, CliError> {
    let listing: Value = answer.parse()?;
    let shadows = listing["shadows"].as_array().into_iter().flatten();
    let of_version: Vec<&Value> = shadows.filter(|one| one["version"] == version.get()).collect();
    if of_version.is_empty() {
        return Err(no_shadow(name, version));
    }
    serde_json::to_string(&of_version).map_err(|error| CliError::failed(error.to_string()))
}

fn no_shadow(name: &ModelName, version: Version) -> CliError {
    CliError::failed(format!("version {version} is no shadow of {name}"))
}

fn listed(shadows: &Shadows, name: &ModelName) -> String {
    let heading = [
        "VERSION",
        "PERCENT",
        "STATE",
        "COPIED",
        "DROPPED",
        "COMPARED",
        "DIFFER",
        "ERRORS",
        "LIVE ERRORS",
        "COMPUTE",
        "EXEMPLARS",
    ];
    let rows = shadows.shadows.iter().map(row).collect();
    let empty = format!("{name} has no shadows: weighbridge configure {name} shadows=VERSION=10");
    let mut shown = show::table(&heading, rows, &empty);
    for shadow in &shadows.shadows {
        if let Some(reason) = &shadow.reason {
            let state = state_word(shadow.state);
            shown.push_str(&format!("\nversion {} is {state}: {reason}", shadow.version));
        }
    }
    if shadows.mirror.stuck_threads > 0 {
        let stuck = shadows.mirror.stuck_threads;
        shown.push_str(&format!("\n{stuck} runs of shadows have not ended"));
    }
    shown
}

fn row(shadow: &ShadowReport) -> Vec<String> {
    let (results, pairs) = (&shadow.results, &shadow.results.pairs);
    vec![
        shadow.version.to_string(),
        shadow.percent.to_string(),
        state_word(shadow.state).to_owned(),
        results.copied.to_string(),
        results.dropped.values().sum::<u64>().to_string(),
        pairs.pairs().to_string(),
        of(pairs.differ, pairs.both_ok),
        (pairs.shadow_err + pairs.both_err).to_string(),
        (pairs.live_err + pairs.both_err).to_string(),
        show::or_nothing(results.compute.map(|c| format!("x{:.2}", c.ratio))),
        results.exemplars.to_string(),
    ]
}

fn state_word(state: State) -> &'static str {
    match state {
        State::On => "on",
        State::Off => "off",
        State::NotLoaded => "not loaded",
    }
}

/// `3 (0.5%)`.
fn of(part: u64, whole: u64) -> String {
    match whole {
        0 => part.to_string(),
        whole => format!("{part} ({:.1}%)", part as f64 * 100.0 / whole as f64),
    }
}

fn one(shadow: &ShadowReport) -> String {
    let (results, pairs) = (&shadow.results, &shadow.results.pairs);
    let state = match &shadow.reason {
        Some(reason) => format!("{}: {reason}", state_word(shadow.state)),
        None => state_word(shadow.state).to_owned(),
    };
    let dropped = results.dropped.iter().map(|(reason, count)| format!("{reason}={count}"));
    let mut fields = vec![
        ("version", shadow.version.to_string()),
        ("copies", format!("{} of the requests", shadow.percent)),
        ("state", state),
        ("copied", results.copied.to_string()),
        ("dropped", show::list(dropped)),
        ("compared", pairs.pairs().to_string()),
        ("both answered", pairs.both_ok.to_string()),
        ("  differ", of(pairs.differ, pairs.both_ok)),
        ("only it failed", pairs.shadow_err.to_string()),
        ("only live failed", pairs.live_err.to_string()),
        ("both failed", pairs.both_err.to_string()),
    ];
    fields.extend(results.outputs.iter().flat_map(differences));
    if let Some(compute) = &results.compute {
        let (own, live) = (compute.shadow_us_per_row, compute.live_us_per_row);
        let text = format!(
            "x{:.2} of the live version's ({} a row against {}, {} requests run by both)",
            compute.ratio,
            show::micros(own),
            show::micros(live),
            compute.pairs
        );
        fields.push(("compute time", text));
    }
    if let Some(last) = &results.last_error {
        let text = format!("{} (request {}, {})", last.error, last.request_id, show::time(last.at));
        fields.push(("last error", text));
    }
    fields.push(("exemplars", results.exemplars.to_string()));
    show::fields(&fields)
}

fn differences(found: &Differences) -> Vec<(&'static str, String)> {
    let mut fields = vec![
        ("elements", format!("{}, beyond the tolerance {}", found.elements, found.beyond)),
        ("absolute error", quantiles(&found.absolute)),
        ("relative error", quantiles(&found.relative)),
    ];
    if let Some(Agreement { agree, of: rows }) = found.top1 {
        fields.push(("top-1 agreement", of(agree, rows)));
    }
    fields
}

fn quantiles(of: &Quantiles) -> String {
    let size = |error: Option<f64>| error.map_or("no number".to_owned(), |e| format!("{e:.2e}"));
    let Quantiles { p50, p90, p99, max } = *of;
    format!("p50 {}, p90 {}, p99 {}, max {}", size(p50), size(p90), size(p99), size(max))
}

fn listed_exemplars(exemplars: &[Exemplar]) -> String {
    if exemplars.is_empty() {
        return "no disagreements are kept".to_owned();
    }
    exemplars.iter().map(exemplar).collect::<Vec<_>>().join("\n\n")
}

fn exemplar(of: &Exemplar) -> String {
    let request = format!("{} ({})", of.request_id, show::time(of.at));
    let mut fields = vec![("request", request), ("answered by", of.live_version.to_string())];
    if let Some(error) = &of.shadow_error {
        fields.push(("shadow failed", error.clone()));
    }
    for difference in &of.differences {
        let told = match (&difference.unlike, &difference.worst) {
            (Some(unlike), _) => unlike.clone(),
            (None, Some(worst)) => format!(
                "{} of {} elements beyond the tolerance; element {} is {} live, {} here",
                difference.beyond, difference.elements, worst.index, worst.live, worst.shadow
            ),
            (None, None) => "the same".to_owned(),
        };
        fields.push(("output", format!("{}: {told}", difference.output)));
    }
    show::fields(&fields)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shadows() -> Shadows {
        let report = |version: u32, more: Value| {
            let mut report = json!({
                "version": version, "percent": 2.5, "purpose": "setting", "state": "on",
                "since": 0, "copied": 200, "dropped": {}, "exemplars": 0,
                "pairs": {"both_ok": 0, "shadow_err": 0, "live_err": 0, "both_err": 0, "differ": 0},
            });
            let members = report.as_object_mut().unwrap();
            members.extend(more.as_object().unwrap().clone());
            report
        };
        let busy = json!({
            "dropped": {"budget": 40, "queue": 2}, "exemplars": 1,
            "pairs": {"both_ok": 190, "shadow_err": 7, "live_err": 2, "both_err": 1, "differ": 19},
            "outputs": {
                "elements": 380, "beyond": 25, "top1": {"agree": 171, "of": 190},
                "absolute": {"p50": 0.0, "p90": 0.001, "p99": 0.5, "max": null},
                "relative": {"p50": 0.0, "p90": 0.001, "p99": 0.5, "max": 0.7},
            },
            "compute": {
                "pairs": 24, "rows": 24, "shadow_us_per_row": 120.0, "live_us_per_row": 80.0,
                "ratio": 1.5,
            },
            "last_error": {"at": 0, "request_id": "r-1", "error": "no such index"},
        });
        let off = json!({"state": "off", "reason": "a run took longer than 10s"});
        serde_json::from_value(json!({
            "shadows": [report(3, busy), report(4, off)],
            "mirror": {
                "cpu_share": 20, "waiting": 0, "memory_bytes": 0, "stuck_threads": 1,
                "a_later_member": true,
            },
        }))
        .unwrap()
    }

    #[test]
    fn shadows_are_listed_with_what_is_wrong() {
        let shown = listed(&shadows(), &"fraud".parse().unwrap());
        let lines: Vec<String> = shown
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(lines[1], "3 2.5% on 200 42 200 19 (10.0%) 8 3 x1.50 1");
        assert_eq!(lines[2], "4 2.5% off 200 0 0 0 0 0 - 0");
        assert_eq!(lines[3], "version 4 is off: a run took longer than 10s");
        assert_eq!(lines[4], "1 runs of shadows have not ended");
        let none = Shadows { shadows: Vec::new(), ..shadows() };
        assert!(listed(&none, &"fraud".parse().unwrap()).contains("configure fraud shadows="));
    }

    #[test]
    fn everything_about_one_shadow_is_shown() {
        let shown = one(&shadows().shadows[0]);
        for fact in [
            "budget=40 queue=2",
            "19 (10.0%)",
            "380, beyond the tolerance 25",
            "p99 5.00e-1, max no number",
            "171 (90.0%)",
            "x1.50 of the live version's (120 µs a row against 80 µs, 24 requests run by both)",
            "no such index (request r-1, 1970-01-01T00:00:00Z)",
        ] {
            assert!(shown.contains(fact), "wanted {fact} in\n{shown}");
        }
    }

    #[test]
    fn exemplars_tell_the_worst_element() {
        let exemplar = json!({
            "request_id": "r-7", "at": 0, "live_version": 1, "kind": "differs", "severity": 12.5,
            "inputs": [], "live_outputs": [], "shadow_outputs": [],
            "differences": [{
                "output": "y", "max_absolute": 0.7, "max_relative": null, "elements": 3,
                "beyond": 1, "worst": {"index": 2, "live": "0.2", "shadow": "0.9"},
            }],
        });
        let shown = listed_exemplars(&[serde_json::from_value(exemplar).unwrap()]);
        assert!(shown.contains("r-7"), "{shown}");
        assert!(shown.contains("element 2 is 0.2 live, 0.9 here"), "{shown}");
        assert_eq!(listed_exemplars(&[]), "no disagreements are kept");
    }
}
