//! Rollouts for people: the view of one, and why it stands where it stands.

use serde_json::{Value, json};
use weighbridge_judge::Verdict;
use weighbridge_registry::{Event, Rollout};

use crate::edge::problem::Problem;
use crate::rollout::controller::Controller;
use crate::rollout::course::Basis;

/// A rollout as the registry has it, with what this process saw last.
pub fn view_json(rollouts: &Controller, rollout: &Rollout) -> Result<Value, Problem> {
    let mut value = serde_json::to_value(rollout).map_err(Problem::internal)?;
    value["text"] = json!(text_of(rollout));
    if let Some(view) = rollouts.view(&rollout.id).filter(|_| rollout.is_active()) {
        value["live"] = json!({
            "verdict": view.verdict,
            "text": view.verdict.to_string(),
            "weight": view.weight,
            "canary_requests": view.requests.canary,
            "stable_requests": view.requests.stable,
            "rescued": view.rescued,
            "user_failures": view.seen_failures,
            "eta_s": view.verdict.eta_s,
        });
    }
    Ok(value)
}

/// The verdict of a rollout, its decisions in order, and whether the last of them comes out
/// again from its stored evidence.
pub fn why(rollouts: &Controller, rollout: &Rollout, events: &[Event]) -> Result<Value, Problem> {
    let mut value = view_json(rollouts, rollout)?;
    let live = value["live"]["text"].as_str().map(str::to_owned);
    let text = live.filter(|_| rollout.is_active()).or_else(|| text_of(rollout));
    let text = text.unwrap_or_else(|| {
        format!("rollout {} of {} has no verdict yet", rollout.number, rollout.model)
    });
    value["text"] = json!(text);
    value["decisions"] = serde_json::to_value(events).map_err(Problem::internal)?;
    value["replayed"] = replayed(rollout, events);
    Ok(value)
}

/// The text of the last recorded verdict.
pub fn text_of(rollout: &Rollout) -> Option<String> {
    let verdict: Verdict = serde_json::from_value(rollout.verdict.clone()?).ok()?;
    Some(verdict.to_string())
}

/// Judges the last decision again, from what was stored with it.
fn replayed(rollout: &Rollout, events: &[Event]) -> Value {
    let rests_on = |event: &Event| {
        let to = event.to.as_ref()?;
        let basis: Basis =
            serde_json::from_value(to.get("evidence")?.get("basis")?.clone()).ok()?;
        let verdict: Verdict = serde_json::from_value(to.get("verdict")?.clone()).ok()?;
        Some((event.sequence, basis, verdict.decision))
    };
    let Some((event, basis, decided)) = events.iter().rev().find_map(rests_on) else {
        return Value::Null;
    };
    match basis.replay(&rollout.spec) {
        Ok(again) => json!({"event": event, "same": again == decided, "decision": again}),
        Err(changed) => json!({"event": event, "same": false, "reason": changed.to_string()}),
    }
}
