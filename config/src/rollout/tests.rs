use super::*;

fn mistakes(text: &str) -> Vec<String> {
    RolloutSpec::parse(text).unwrap_err().0.iter().map(ToString::to_string).collect()
}

#[test]
fn an_empty_file_is_the_default() {
    assert_eq!(RolloutSpec::parse("").unwrap(), RolloutSpec::default());
    assert_eq!(RolloutSpec::parse("{}").unwrap(), RolloutSpec::default());
    assert_eq!(RolloutSpec::default().mistakes(), []);
}

#[test]
fn toml_and_json_say_the_same() {
    let toml = r#"
        format = 1
        steps = [5, 25, 50]
        shadow = { requests = 0 }
        step_min = "3s"
        step_max = "10m"
        warm_up = { time = "1s", requests = 20 }
        on_regression = "hold"
        approve = [50, 100]
        err = { rollback_pp = 0.05 }
        slo = { latency = "50ms", margins = { rollback_pp = 1.0, promote_pp = 2.0 } }
        [[webhooks]]
        url = "https://hooks.example.com/weighbridge"
        on = ["promoted", "rolled_back"]
    "#;
    let spec = RolloutSpec::parse(toml).unwrap();
    assert_eq!(spec.steps, [5, 25, 50].map(Percent::whole));
    assert_eq!(spec.err, RateMargins { rollback_pp: 0.05, ..RateMargins::default() });
    assert_eq!(spec.slo.as_ref().unwrap().latency, Duration::from_millis(50));
    assert!(spec.wants_approval(Percent::whole(100)) && !spec.wants_approval(Percent::whole(25)));
    let json = serde_json::to_string(&spec).unwrap();
    assert_eq!(RolloutSpec::parse(&json).unwrap(), spec);
}

#[test]
fn unknown_fields_are_refused_with_their_path_and_stored_ones_tolerated() {
    let found = mistakes("colour = \"red\"\n[err]\nmargin = 1\n[slo]\nlatency = \"1s\"\nx = 1");
    for field in ["colour", "err.margin", "slo.x"] {
        assert!(found.iter().any(|m| m.starts_with(field)), "{field} in {found:?}");
    }
    let stored: RolloutSpec =
        serde_json::from_str(r#"{"a_later_field": 1, "steps": [7]}"#).unwrap();
    assert_eq!(stored.steps, [Percent::whole(7)]);
}

#[test]
fn every_mistake_names_its_field_and_reason() {
    for (text, field, reason) in [
        ("steps = [5, 120]", "steps[1]", "percent"),
        ("steps = [5, 100]", "steps[1]", "less than 100"),
        ("steps = [25, 5]", "steps[1]", "larger than the one before"),
        ("steps = []", "steps", "wanted 1 to"),
        ("steps = [0.001]", "steps[0]", "two decimals"),
        ("approve = [30]", "approve[0]", "not one of the steps"),
        ("step_min = \"7h\"", "step_min", "shorter than step_max"),
        ("step_min = \"soon\"", "step_min", "duration"),
        ("alpha = 0.9", "alpha", "wanted 0.000001 to 0.2"),
        ("on_regression = \"shrug\"", "on_regression", "rollback"),
        ("[err]\npromote_pp = 0.1", "err.promote_pp", "below rollback_pp"),
        ("[latency]\nrollback_scale = 0.5", "latency.rollback_scale", "wanted 1 to"),
        ("[guard]\nerror_rate = nan", "guard.error_rate", "wanted"),
        ("format = 2", "format", "reads format 1"),
        ("[[webhooks]]\nurl = \"ftp://x/y\"", "webhooks[0].url", "https://"),
        ("[[webhooks]]\nurl = \"https://u:p@x/y\"", "webhooks[0].url", "credentials"),
        ("[[webhooks]]\nurl = \"https://x/\"\non = [\"sneezed\"]", "webhooks[0].on[0]", "promoted"),
        ("shadow = { requests = 5, percent = 0 }", "shadow.percent", "never end"),
    ] {
        let found = mistakes(text);
        let hit = found.iter().any(|m| m.starts_with(field) && m.contains(reason));
        assert!(hit, "{text}: wanted {field} … {reason} in {found:?}");
    }
}

#[test]
fn all_mistakes_come_together() {
    assert_eq!(mistakes("steps = [50, 25]\nalpha = 2\nbeta = 2\nx = 1").len(), 4);
}

#[test]
fn percentages_keep_two_decimals() {
    let spec = RolloutSpec::parse("steps = [0.25, 33.33]").unwrap();
    assert_eq!(spec.steps, [Percent::points(25), Percent::points(3333)]);
    assert_eq!(spec.steps[1].to_string(), "33.33%");
    assert_eq!(serde_json::to_string(&spec.steps).unwrap(), "[0.25,33.33]");
}
