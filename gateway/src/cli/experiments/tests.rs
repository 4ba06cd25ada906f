use serde_json::json;

use super::*;

fn view() -> View {
    let metric = |name: &str, mean: f64| {
        let reported = json!({"units": 900, "with_feedback": 450, "mean": mean});
        json!({"metric": name, "variants": [reported, reported], "holdout": reported, "join": null})
    };
    let finding = |name: &str, better: &str, lower: f64, upper: f64| {
        json!({
            "metric": name, "better": better, "margin": 0.5, "unready": null,
            "join_is_wrong": false,
            "effect": {"estimate": (lower + upper) / 2.0, "lower": lower, "upper": upper,
                "control_mean": 0.2, "units": 1800},
        })
    };
    serde_json::from_value(json!({
        "id": "ex-1", "model": "ranker", "name": "size", "state": "running",
        "spec": {"unit": "header:x-user"}, "epoch": 3,
        "weights": [
            {"variant": "small", "version": 1, "weight": 40.5},
            {"variant": "large", "version": 2, "weight": 59.5},
        ],
        "bandit": "the weights became small=40.5% large=59.5%", "revision": 9,
        "started_at": 0, "started_by": "key:wbk_1", "stopped_at": null, "stopped_by": null,
        "outcome": null,
        "analysis": {
            "at": 0,
            "units": [{"variant": "small", "units": 1000}, {"variant": "large", "units": 1010}],
            "holdout": 100, "forced": 2,
            "split": {"evidence": 0.25, "required": 1000.0, "is_wrong": false},
            "metrics": [metric("bought", 0.2), metric("seconds", 3.25)],
            "comparisons": [{
                "variant": "large", "decision": "ship", "reason": "bought is better",
                "primary": finding("bought", "up", 0.01, 0.05),
                "guardrails": [finding("seconds", "down", -0.1, 0.2)],
            }],
        },
    }))
    .unwrap()
}

#[test]
fn an_experiment_is_shown_with_decision_units_and_intervals() {
    let shown = shown(&view());
    for line in [
        "experiment  size (ex-1), running",
        "bandit      epoch 3: the weights became small=40.5% large=59.5%",
        "split       ok (evidence 0.2500 : 1 against it, 1000 are needed)",
        "decision    large: SHIP: bought is better",
        "VARIANT    VERSION  WEIGHT  UNITS  BOUGHT MEAN  REPORTED    SECONDS MEAN  REPORTED",
        "large      2        59.5%   1010   0.2000       450 of 900  3.2500        450 of 900",
        "(holdout)  -        -       100    0.2000       450 of 900  3.2500        450 of 900",
        "2 units got a variant by name and count nowhere.",
        "VARIANT  METRIC   AGAINST SMALL  INTERVAL",
        "large    bought   +0.0300        +0.0100 … +0.0500  +15.0%",
        "large    seconds  +0.0500        -0.1000 … +0.2000  +25.0%",
        "down is better; within margin",
    ] {
        assert!(shown.contains(line), "\"{line}\" is missing:\n{shown}");
    }
}

#[test]
fn what_cannot_be_told_yet_is_said() {
    let mut early = view();
    let analysis = early.analysis.as_mut().unwrap();
    analysis.comparisons[0].primary.effect = None;
    analysis.split.is_wrong = true;
    let shown = shown(&early);
    assert!(shown.contains("too early") && shown.contains("mean nothing"), "{shown}");
    assert!(shown.contains("WRONG"), "{shown}");
}

#[test]
fn experiments_are_listed() {
    let model: ModelName = "ranker".parse().unwrap();
    let listed = listed(&[view()], &model);
    assert!(listed.contains("size        ex-1  running  small=40.5% large=59.5%"), "{listed}");
    assert!(super::listed(&[], &model).contains("experiment start ranker --spec FILE"));
}

#[test]
fn numbers_have_the_digits_that_say_something() {
    for (value, text) in [
        (0.0, "0.0000"),
        (0.01234, "0.0123"),
        (-0.00001, "-1.00e-5"),
        (12.345, "12.3"),
        (123_456.0, "123456.0"),
        (2.5e9, "2.50e9"),
    ] {
        assert_eq!(number(value), text);
    }
    assert_eq!((signed(0.5), signed(-0.5)), ("+0.5000".to_owned(), "-0.5000".to_owned()));
}
