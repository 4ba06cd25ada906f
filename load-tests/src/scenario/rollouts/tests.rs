use crate::latency::{Percentiles, histogram};
use crate::scenario::run::{Latencies, Place};

use super::*;

fn report(run: usize, outcome: &str) -> RunReport {
    let none = Percentiles::of(&histogram());
    let latency = Latencies { total: none, queue: none, compute: none };
    RunReport {
        run,
        seed: 1,
        rate: 200.0,
        saturation: None,
        outcome: outcome.into(),
        places: vec![Place { at_s: 0.0, place: "live step 1".into() }],
        held: Some("common_cause".into()),
        seconds: (!outcome.starts_with("live")).then_some(1.0),
        verdict_seconds: Some(1.0),
        canary_requests: 4,
        verdict_canary_requests: Some(4),
        counted_canary_requests: Some(3),
        requests: 1000,
        not_sent: 0,
        failed: BTreeMap::new(),
        failed_in_outage: 0,
        rescued: 4,
        wrong: 0,
        misrouted: 0,
        stable_silence_s: 0.1,
        stable_latency: latency,
        canary_latency: latency,
        mean_batch: Some(2.0),
        verdict: format!("the verdict of run {run}"),
        replayed_same: Some(true),
        examples: Vec::new(),
    }
}

fn missed(scenario: Scenario, runs: &[RunReport], wanted: usize) -> Vec<String> {
    let missed = bounds(scenario, runs, wanted).into_iter().filter(|bound| !bound.met);
    missed.map(|bound| bound.what).collect()
}

#[test]
fn each_scenario_is_met_by_what_it_asks_for_and_by_nothing_else() {
    let back = [report(1, "rolled_back"), report(2, "rolled_back")];
    let promoted = [report(1, "promoted"), report(2, "promoted")];
    let stays = [report(1, "live step 1"), report(2, "live step 1, held: common_cause")];
    for (scenario, good, bad) in [
        (Scenario::CanaryGood, &promoted, &back),
        (Scenario::CanaryErrors, &back, &promoted),
        (Scenario::CanarySlow, &back, &stays),
        (Scenario::CanaryHang, &back, &stays),
        (Scenario::SharedOutage, &stays, &back),
    ] {
        assert_eq!(missed(scenario, good, 2), [""; 0], "{scenario:?}");
        assert!(!missed(scenario, bad, 2).is_empty(), "{scenario:?}");
        assert_eq!(missed(scenario, good, 3), ["runs done"], "{scenario:?}");
    }
}

#[test]
fn a_bound_is_missed_by_the_figure_it_is_about() {
    let with = |change: fn(&mut RunReport)| {
        let mut runs =
            vec![report(1, "rolled_back"), report(2, "rolled_back"), report(3, "rolled_back")];
        runs.iter_mut().for_each(change);
        runs
    };
    let errors = |change| missed(Scenario::CanaryErrors, &with(change), 3);
    let counts = ["canary requests, median", "canary requests, p95"];
    assert_eq!(errors(|run| run.canary_requests = 13), counts);
    let failed = |run: &mut RunReport| *run.failed.entry("status 500".into()).or_default() = 1;
    assert_eq!(errors(failed), ["user-visible failures"]);
    assert_eq!(errors(|run| run.wrong = 1), ["answers of another version than named"]);
    assert_eq!(errors(|run| run.misrouted = 1), ["requests to the loser after the end"]);
    let replayed = ["verdicts that a replay does not confirm"];
    assert_eq!(errors(|run| run.replayed_same = Some(false)), replayed);
    // One run of three with many requests moves the 95 % rank, not the median.
    let mut runs = with(|_| {});
    runs[0].canary_requests = 13;
    assert_eq!(missed(Scenario::CanaryErrors, &runs, 3), ["canary requests, p95"]);

    let slow = |change| missed(Scenario::CanarySlow, &with(change), 3);
    let counted = ["counted canary requests, median"];
    assert_eq!(slow(|run| run.counted_canary_requests = Some(61)), counted);
    assert_eq!(slow(|run| run.counted_canary_requests = None), counted);
    let hang = |change| missed(Scenario::CanaryHang, &with(change), 3);
    assert_eq!(hang(|run| run.stable_silence_s = 2.1), ["longest silence of stable, seconds"]);
    let many = |run: &mut RunReport| *run.failed.entry("timeout".into()).or_default() = 51;
    assert_eq!(hang(many), ["user-visible failures, percent"]);
    let mut outside = [report(1, "live step 1")];
    outside[0].failed.insert("status 500".into(), 10);
    outside[0].failed_in_outage = 9;
    let what = ["user-visible failures outside the outage"];
    assert_eq!(missed(Scenario::SharedOutage, &outside, 1), what);
    outside[0] = report(1, "live step 1");
    outside[0].held = Some("no_data".into());
    assert_eq!(missed(Scenario::SharedOutage, &outside, 1), ["held, common cause"]);
}

#[test]
fn the_text_has_the_spec_and_the_first_and_last_verdict() {
    let runs = vec![report(1, "rolled_back"), report(2, "rolled_back"), report(3, "rolled_back")];
    let report = Report {
        scenario: Scenario::CanaryErrors,
        models: "a and b".into(),
        load: "200 requests a second".into(),
        spec: crate::scenario::story::spec(),
        seed: 1,
        wanted_runs: 3,
        figures: Figures::of(&runs),
        bounds: bounds(Scenario::CanaryErrors, &runs, 3),
        runs,
    };
    let text = report.to_string();
    for part in
        ["canary-errors: 3 runs", "\"steps\":[5,25,50]", "verdict of run 1", "verdict of run 3"]
    {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    assert!(!text.contains("verdict of run 2"));
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["scenario"], "canary-errors");
    assert_eq!(json["figures"]["canary_requests"]["median"], 4.0);
}
