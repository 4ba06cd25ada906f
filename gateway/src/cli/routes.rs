//! `route`, `promote` and `rollback`: where a model's traffic goes.

use std::collections::BTreeMap;

use http::Method;
use serde::Serialize;
use weighbridge_config::split::parse_weights;
use weighbridge_config::{ModelName, Version};
use weighbridge_registry::{Route, RouteCause};

use super::client::{Answer, Client};
use super::error::CliError;
use super::wire::{RouteView, ServedModel, model_path};
use super::{Globals, IfRevision, show, versions};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example: weighbridge route fraud 1=95 2=5
Without weights, the route in force and those before it are shown.")]
pub struct RouteArgs {
    /// Name of the model
    name: ModelName,
    /// Share of each version in percent, 100 together
    #[arg(value_name = "VERSION=PERCENT")]
    weights: Vec<String>,
    /// End the rollout of the model, which refuses this change (exit 5) while it runs
    #[arg(long, requires = "weights")]
    end_rollout: bool,
    #[command(flatten)]
    expected: IfRevision,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: weighbridge promote fraud 2")]
pub struct PromoteArgs {
    /// Name of the model
    name: ModelName,
    /// Version that takes all traffic
    version: Version,
    /// End the rollout of the model, which refuses this change (exit 5) while it runs
    #[arg(long)]
    end_rollout: bool,
    #[command(flatten)]
    expected: IfRevision,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example: weighbridge rollback fraud
Each rollback goes one step further back in the history of routes.")]
pub struct RollbackArgs {
    /// Name of the model
    name: ModelName,
    /// End the rollout of the model, which refuses this change (exit 5) while it runs
    #[arg(long)]
    end_rollout: bool,
    #[command(flatten)]
    expected: IfRevision,
}

/// A rollout owns the route while it runs.
#[derive(Debug, Clone, Copy, Serialize)]
struct EndRollout {
    #[serde(skip_serializing_if = "is_false")]
    end_rollout: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}

pub async fn route(args: &RouteArgs, globals: &Globals) -> Result<(), CliError> {
    #[derive(Serialize)]
    struct Weights {
        /// In basis points.
        weights: BTreeMap<Version, u32>,
        #[serde(flatten)]
        end: EndRollout,
    }
    if args.weights.is_empty() {
        return show_route(&args.name, globals).await;
    }
    let weights =
        parse_weights(&args.weights).map_err(|error| CliError::usage(error.to_string()))?;
    let client = globals.client()?;
    let before = before(&client, &args.name, globals).await?;
    let path = model_path(&args.name, "route");
    let body = Weights { weights, end: EndRollout { end_rollout: args.end_rollout } };
    let answer = client.put(&path, &body, args.expected.if_revision).await?;
    show_change(before.as_ref(), &answer)
}

pub async fn promote(args: &PromoteArgs, globals: &Globals) -> Result<(), CliError> {
    #[derive(Serialize)]
    struct Promotion {
        version: Version,
        #[serde(flatten)]
        end: EndRollout,
    }
    let client = globals.client()?;
    let before = before(&client, &args.name, globals).await?;
    let path = model_path(&args.name, "promote");
    let body =
        Promotion { version: args.version, end: EndRollout { end_rollout: args.end_rollout } };
    let answer = client.post(&path, &body, args.expected.if_revision).await?;
    show_change(before.as_ref(), &answer)
}

pub async fn rollback(args: &RollbackArgs, globals: &Globals) -> Result<(), CliError> {
    let client = globals.client()?;
    let before = before(&client, &args.name, globals).await?;
    let path = model_path(&args.name, "rollback");
    // Older servers take no body here.
    let answer = match args.end_rollout {
        true => {
            let body = EndRollout { end_rollout: true };
            client.post(&path, &body, args.expected.if_revision).await?
        }
        false => client.change(Method::POST, &path, args.expected.if_revision).await?,
    };
    show_change(before.as_ref(), &answer)
}

/// The model before a change, to tell what the change changed; scripts are not told.
async fn before(
    client: &Client,
    name: &ModelName,
    globals: &Globals,
) -> Result<Option<ServedModel>, CliError> {
    if globals.json {
        return Ok(None);
    }
    versions::model(client, name).await.map(Some)
}

fn show_change(before: Option<&ServedModel>, answer: &Answer) -> Result<(), CliError> {
    match before {
        Some(before) => show::print(&change(before, &answer.parse()?)),
        None => show::json(answer),
    }
}

/// `fraud: 1=95% 2=5% (was 1=100%), revision 7`.
fn change(before: &ServedModel, after: &ServedModel) -> String {
    let (old, new) = (before.model.route.as_ref(), after.model.route.as_ref());
    let sequence = |route: Option<&Route>| route.map_or(0, |route| route.sequence);
    let was = match (old, sequence(new).saturating_sub(sequence(old))) {
        (_, 0) => " (as before)".to_owned(),
        (Some(old), 1) => format!(" (was {})", old.split),
        // The first route, or somebody else was faster in between.
        _ => String::new(),
    };
    let now = new.map_or_else(|| "no route".to_owned(), |route| route.split.to_string());
    let name = &after.model.name;
    let mut told = format!("{name}: {now}{was}, revision {}", after.model.revision);
    if let Some(experiment) = &after.model.experiment {
        let of = &experiment.name;
        told.push_str(&format!(
            "\nnote: the experiment {of} decides for its units until it is stopped: \
             weighbridge experiment stop {name} {of}"
        ));
    }
    told
}

async fn show_route(name: &ModelName, globals: &Globals) -> Result<(), CliError> {
    let answer = globals.client()?.get(&model_path(name, "route")).await?;
    if globals.json {
        return show::json(&answer);
    }
    show::print(&history(name, answer.parse()?))
}

fn history(name: &ModelName, mut view: RouteView) -> String {
    let Some(route) = view.route else {
        return format!("{name} takes no traffic yet: weighbridge promote {name} VERSION");
    };
    let mut shown = format!("{name}: {}", route.split);
    if let Some(previous) = view.previous_route {
        shown.push_str(&format!("\na rollback leads to {}", previous.split));
    }
    view.history.sort_by_key(|route| std::cmp::Reverse(route.sequence));
    let heading = ["ROUTE", "TRAFFIC", "CAUSE", "WHEN", "WHO"];
    let rows = view.history.iter().map(row).collect();
    let table = show::table(&heading, rows, "no history");
    format!("{shown}\n\n{table}")
}

fn row(route: &Route) -> Vec<String> {
    let cause = match route.cause {
        RouteCause::Set => "set",
        RouteCause::Step => "rollout step",
        RouteCause::Promote => "promoted",
        RouteCause::RollBack => "rolled back",
        RouteCause::Initial => "first start",
        RouteCause::Other => "other",
    };
    vec![
        route.sequence.to_string(),
        route.split.to_string(),
        cause.to_owned(),
        show::time(route.set_at),
        route.set_by.clone(),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cli::models::tests::model;

    fn served(route: Value) -> ServedModel {
        let mut model = model();
        model["route"] = route;
        serde_json::from_value(model).unwrap()
    }

    fn route_json(sequence: u64, weights: &[(u32, u32)]) -> Value {
        let segments: Vec<Value> =
            weights.iter().map(|(v, w)| json!({"version": v, "weight": w})).collect();
        json!({
            "sequence": sequence, "split": segments, "cause": "promote", "set_at": 0,
            "set_by": "key:wbk_ab", "previous": null,
        })
    }

    #[test]
    fn a_change_is_told_in_one_line() {
        let first = served(route_json(1, &[(1, 10_000)]));
        let second = served(route_json(2, &[(2, 500), (1, 9500)]));
        let told = change(&first, &second);
        assert_eq!(told, "fraud: 1=95% 2=5% (was 1=100%), revision 7");
        assert_eq!(change(&first, &first), "fraud: 1=100% (as before), revision 7");
        let without = served(Value::Null);
        assert_eq!(change(&without, &first), "fraud: 1=100%, revision 7");
        let mut running = served(route_json(2, &[(2, 500), (1, 9500)]));
        running.model.experiment = serde_json::from_value(json!({
            "id": "ex-1", "model": "fraud", "name": "size", "spec": {}, "versions": [1, 2],
            "state": "running", "epoch": 0, "shares": null, "revision": 1, "started_at": 0,
            "started_by": "x", "stopped_at": null, "stopped_by": null, "outcome": null,
        }))
        .unwrap();
        let told = change(&first, &running);
        assert!(told.ends_with("weighbridge experiment stop fraud size"), "{told}");
        let later = served(route_json(4, &[(2, 10_000)]));
        assert_eq!(change(&first, &later), "fraud: 2=100%, revision 7", "routes 2 and 3 unseen");
    }

    #[test]
    fn the_history_is_shown_newest_first() {
        let name: ModelName = "fraud".parse().unwrap();
        let view = json!({
            "route": route_json(2, &[(2, 10_000)]),
            "previous_route": route_json(1, &[(1, 10_000)]),
            "history": [route_json(1, &[(1, 10_000)]), route_json(2, &[(2, 10_000)])],
        });
        let shown = history(&name, serde_json::from_value(view).unwrap());
        assert!(shown.starts_with("fraud: 2=100%\na rollback leads to 1=100%\n\nROUTE"), "{shown}");
        let rows: Vec<&str> = shown.lines().skip(4).collect();
        assert!(rows[0].starts_with("2 ") && rows[1].starts_with("1 "), "{shown}");
        let none = serde_json::from_value(json!({"route": null})).unwrap();
        assert!(history(&name, none).contains("weighbridge promote fraud VERSION"));
    }
}
