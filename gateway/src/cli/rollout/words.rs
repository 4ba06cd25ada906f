//! A rollout in words.

use crate::cli::show;
use crate::cli::wire::{LiveRollout, Outcome, Phase, RolloutView, Standing};

pub const FROZEN: &str =
    "rollouts are frozen: none goes on by itself (weighbridge rollout unfreeze)";

/// `fraud: rollout 3 (1 → 2), step 2 of 4 (5%), paused`.
pub fn headline(view: &RolloutView) -> String {
    let RolloutView { model, number, from, to, .. } = view;
    format!("{model}: rollout {number} ({from} → {to}), {}", state(view))
}

/// `step 2 of 4 (5%), paused`.
pub fn state(view: &RolloutView) -> String {
    let phase = match &view.phase {
        Phase::Shadow => "shadow stage".to_owned(),
        Phase::Live { step } => {
            let steps = &view.spec.steps;
            let weight = steps.get(*step).map(|weight| format!(" ({weight}%)"));
            format!("step {} of {}{}", step + 1, steps.len(), weight.unwrap_or_default())
        }
        Phase::Ended { outcome } => return outcome_word(*outcome).to_owned(),
        Phase::Other => "in a phase that this command does not know".to_owned(),
    };
    let standing = match &view.standing {
        Standing::Running => return phase,
        Standing::Paused => "paused".to_owned(),
        Standing::WaitsForApproval => "waits for an approval".to_owned(),
        Standing::Held { held_reason: Some(reason) } => format!("held: {reason}"),
        Standing::Held { held_reason: None } => "held".to_owned(),
        Standing::Other => "in a standing that this command does not know".to_owned(),
    };
    format!("{phase}, {standing}")
}

pub fn outcome_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Promoted => "promoted",
        Outcome::RolledBack => "rolled back",
        Outcome::Ended => "ended by a change of the route",
    }
}

/// `312 of 6190 requests, 8 rescued`.
pub fn requests(live: &LiveRollout) -> String {
    let (canary, stable) = (live.canary_requests, live.stable_requests);
    let mut told = format!("{canary} of {} requests", canary.saturating_add(stable));
    if live.rescued > 0 {
        told.push_str(&format!(", {} rescued", live.rescued));
    }
    told
}

/// The time to the next step, when there is one and it can be told.
pub fn eta(view: &RolloutView) -> Option<String> {
    if matches!(view.phase, Phase::Ended { .. }) {
        return None;
    }
    let seconds =
        view.live.as_ref()?.eta_s.filter(|seconds| seconds.is_finite() && *seconds >= 0.0)?;
    // Whole seconds are what people read; the largest number stands for all that are larger.
    Some(format!("{} at the present rate", show::span(seconds.round() as u64)))
}

/// Everything about a rollout.
pub fn told(view: &RolloutView) -> String {
    let RolloutView { model, number, from, to, id, .. } = view;
    let live = view.live.as_ref();
    let undo = view.undo_until.map(|until| {
        format!("instant until {}: weighbridge rollout rollback {model}", show::time(until))
    });
    let fields = show::fields(&[
        ("rollout", format!("{model} {from} → {to}, number {number}, {id}")),
        ("state", state(view)),
        ("started", format!("{} by {}", show::time(view.started_at), view.started_by)),
        ("ended", view.ended_at.map(show::time).unwrap_or_default()),
        ("reason", view.reason.clone().unwrap_or_default()),
        ("canary", live.map(requests).unwrap_or_default()),
        ("next step", eta(view).unwrap_or_default()),
        ("going back", undo.unwrap_or_default()),
    ]);
    match live.map(|live| live.text.trim_end()).filter(|text| !text.is_empty()) {
        Some(text) => format!("{fields}\n\n{text}"),
        None => fields,
    }
}

/// A line for each rollout.
pub fn listed(rollouts: &[RolloutView], empty: &str) -> String {
    let heading = ["MODEL", "NUMBER", "FROM", "TO", "STATE", "STARTED", "BY", "ENDED", "REASON"];
    let rows = rollouts.iter().map(|view| {
        vec![
            view.model.to_string(),
            view.number.to_string(),
            view.from.to_string(),
            view.to.to_string(),
            show::shortened(&state(view), 60),
            show::time(view.started_at),
            show::shortened(&view.started_by, 30),
            view.ended_at.map_or_else(|| show::NOTHING.to_owned(), show::time),
            show::shortened(view.reason.as_deref().unwrap_or(show::NOTHING), 60),
        ]
    });
    show::table(&heading, rows.collect(), empty)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cli::rollout::tests::{ended, live, view};

    fn at(phase: Value, standing: Value) -> String {
        let mut view = view();
        for part in [phase, standing] {
            for (key, value) in part.as_object().unwrap() {
                view[key] = value.clone();
            }
        }
        state(&serde_json::from_value(view).unwrap())
    }

    #[test]
    fn states_are_told_in_words() {
        let running = || json!({"standing": "running"});
        let step = |step: u32| json!({"phase": "live", "step": step});
        assert_eq!(at(json!({"phase": "shadow"}), running()), "shadow stage");
        assert_eq!(at(step(0), running()), "step 1 of 4 (1%)");
        assert_eq!(at(step(1), json!({"standing": "paused"})), "step 2 of 4 (2.5%), paused");
        let waits = json!({"standing": "waits_for_approval"});
        assert_eq!(at(step(3), waits), "step 4 of 4 (50%), waits for an approval");
        let held = json!({"standing": "held", "held_reason": "inconclusive"});
        assert_eq!(at(step(3), held), "step 4 of 4 (50%), held: inconclusive");
        for (outcome, word) in [
            ("promoted", "promoted"),
            ("rolled_back", "rolled back"),
            ("ended", "ended by a change of the route"),
            ("of_a_later_release", "ended by a change of the route"),
        ] {
            assert_eq!(at(json!({"phase": "ended", "outcome": outcome}), running()), word);
        }
        let later = at(json!({"phase": "x"}), json!({"standing": "y"}));
        assert!(later.contains("does not know"), "{later}");
    }

    #[test]
    fn everything_about_a_rollout_is_told() {
        let mut with_numbers = view();
        with_numbers["live"] = live(312, 5878, "err  2.56 % ...");
        with_numbers["live"]["eta_s"] = json!(840.4);
        let wanted = "\
rollout     fraud 1 → 2, number 3, ro-0000000000000003
state       step 2 of 4 (2.5%)
started     1970-01-01T00:00:00Z by key:wbk_ab
canary      312 of 6190 requests, 2 rescued
next step   14m at the present rate

err  2.56 % ...";
        assert_eq!(told(&serde_json::from_value(with_numbers).unwrap()), wanted);

        let mut over = ended("promoted");
        over["undo_until"] = json!(1_800_000);
        let shown = told(&serde_json::from_value(over).unwrap());
        assert!(shown.contains("ended       1970-01-01T00:00:09Z"), "{shown}");
        let undo = "going back  instant until 1970-01-01T00:30:00Z: weighbridge rollout rollback";
        assert!(shown.contains(undo), "{shown}");
    }

    #[test]
    fn rollouts_are_listed() {
        let rollouts = [view(), ended("rolled_back")].map(|v| serde_json::from_value(v).unwrap());
        let shown = listed(&rollouts, "none");
        let rows: Vec<&str> = shown.lines().skip(1).collect();
        assert!(rows[0].contains("step 2 of 4 (2.5%)") && rows[1].contains("rolled back"));
        assert_eq!(listed(&[], "none"), "none");
    }

    #[test]
    fn what_cannot_be_known_is_not_told() {
        let of = |view: Value, eta_s: Option<f64>| {
            let mut view: RolloutView = serde_json::from_value(view).unwrap();
            view.live = Some(LiveRollout { eta_s, ..LiveRollout::default() });
            eta(&view)
        };
        for eta_s in [None, Some(f64::NAN), Some(-1.0), Some(f64::INFINITY)] {
            assert_eq!(of(view(), eta_s), None);
        }
        assert_eq!(of(view(), Some(0.4)).as_deref(), Some("0s at the present rate"));
        assert_eq!(of(ended("promoted"), Some(5.0)), None, "there is no next step");
    }
}
