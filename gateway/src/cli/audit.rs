//! `audit`: who changed what, and when.

use serde_json::Value;
use weighbridge_config::ModelName;
use weighbridge_config::split::percent;
use weighbridge_registry::{ChainReport, Event, Revision};

use super::Globals;
use super::error::CliError;
use super::show;
use super::wire::Events;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: weighbridge audit fraud --limit 10")]
pub struct Args {
    /// Only what is about this model
    name: Option<ModelName>,
    /// The most entries to list
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Only what happened before this entry, named by its number
    #[arg(long, value_name = "N")]
    before: Option<Revision>,
    /// Recompute the hash chain of all entries and say whether it holds (exit 1 when broken)
    #[arg(long, conflicts_with_all = ["name", "before"])]
    verify: bool,
}

pub async fn run(args: &Args, globals: &Globals) -> Result<(), CliError> {
    if args.verify {
        return verify(globals).await;
    }
    let mut query = vec![("limit", args.limit.to_string())];
    query.extend(args.name.as_ref().map(|name| ("model", name.to_string())));
    query.extend(args.before.map(|before| ("before", before.to_string())));
    let answer = globals.client()?.list("audit", &query).await?;
    if globals.json {
        return show::json(&answer);
    }
    show::print(&listed(&answer.parse::<Events>()?.events))
}

async fn verify(globals: &Globals) -> Result<(), CliError> {
    let answer = globals.client()?.get("audit/verify").await?;
    let report: ChainReport = answer.parse()?;
    if globals.json {
        show::json(&answer)?;
    }
    if let Some(broken) = &report.broken_at {
        let (at, reason) = (broken.sequence, &broken.reason);
        return Err(CliError::failed(format!("the chain is broken at entry {at}: {reason}")));
    }
    if !globals.json {
        show::print(&verified(&report))?;
    }
    Ok(())
}

fn verified(report: &ChainReport) -> String {
    let (Some(first), Some(last), Some(hash)) = (report.first, report.last, report.hash) else {
        return "no entry is chained yet".to_owned();
    };
    let uncovered = match report.uncovered {
        0 => String::new(),
        more => format!("; {more} after them, by an older release, are not covered"),
    };
    format!(
        "the chain holds: {} entries, {first} to {last}{uncovered}\nhash of the last one: {hash}",
        report.events
    )
}

fn listed(events: &[Event]) -> String {
    let heading = ["NUMBER", "WHEN", "WHO", "DID", "MODEL", "VERSION", "FROM", "TO"];
    show::table(&heading, events.iter().map(row).collect(), "no changes yet")
}

fn row(event: &Event) -> Vec<String> {
    vec![
        event.sequence.to_string(),
        show::time(event.at),
        show::shortened(&event.actor_name, 30),
        event.action.clone(),
        show::or_nothing(event.model.as_ref()),
        show::or_nothing(event.version),
        event.from.as_ref().map_or_else(|| show::NOTHING.to_owned(), told),
        event.to.as_ref().map_or_else(|| show::NOTHING.to_owned(), told),
    ]
}

/// What stood before or stands after a change, as short as it goes; `--json` has it in full.
fn told(value: &Value) -> String {
    const LONGEST: usize = 60;
    let word = |key: &str| value.get(key).and_then(Value::as_str);
    if let Some(phase) = word("phase") {
        return show::shortened(&rollout(value, phase), LONGEST);
    }
    let short = match (weights(value), word("alias"), word("state")) {
        (Some(weights), ..) => weights,
        (None, Some(alias), _) => format!("{alias}={}", value["version"]),
        (None, None, Some(state)) => match word("reason") {
            Some(reason) => format!("{state}: {reason}"),
            None => state.to_owned(),
        },
        (None, None, None) => value.to_string(),
    };
    show::shortened(&short, LONGEST)
}

/// A rollout as `2 of 1: step 1, running`.
fn rollout(value: &Value, phase: &str) -> String {
    let word = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default();
    let stands = match phase {
        "live" => format!("step {}, {}", value["step"], word("standing")),
        "ended" => word("outcome").to_owned(),
        other => format!("{other}, {}", word("standing")),
    };
    format!("{} → {}: {stands}", value["from"], value["to"])
}

/// A route's weights as `1=95% 2=5%`.
fn weights(value: &Value) -> Option<String> {
    let weights = value.get("weights")?.as_object()?;
    let words = weights.iter().map(|(version, points)| {
        let points = points.as_u64().unwrap_or_default();
        format!("{version}={}", percent(points))
    });
    Some(show::list(words))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn changes_are_told_shortly() {
        for (value, wanted) in [
            (json!({"sequence": 2, "weights": {"1": 9500, "2": 500}}), "1=95% 2=5%"),
            (json!({"alias": "champion", "version": 2}), "champion=2"),
            (json!({"state": "ready", "digest": "ab"}), "ready"),
            (json!({"state": "rejected", "reason": "no"}), "rejected: no"),
            (json!({"max_batch_size": 8}), r#"{"max_batch_size":8}"#),
        ] {
            assert_eq!(told(&value), wanted);
        }
        assert_eq!(told(&json!("x".repeat(200))).chars().count(), 60);
    }

    #[test]
    fn events_are_listed() {
        let event = json!({
            "sequence": 7, "at": 0, "actor": "key:wbk_ab", "actor_name": "ci",
            "action": "route.promoted", "model": "fraud", "version": 2,
            "from": null, "to": {"weights": {"2": 10_000}},
        });
        let shown = listed(&[serde_json::from_value(event).unwrap()]);
        let row = shown.lines().nth(1).unwrap_or_default();
        let words: Vec<&str> = row.split_whitespace().collect();
        let wanted =
            ["7", "1970-01-01T00:00:00Z", "ci", "route.promoted", "fraud", "2", "-", "2=100%"];
        assert_eq!(words, wanted);
    }
}
