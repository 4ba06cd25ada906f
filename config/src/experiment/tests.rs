use super::*;

const SPEC: &str = r#"
    name = "ranker-size"
    unit = "header:X-User-Id"
    overrides = { "user-42" = "large" }
    layer = { name = "checkout", share = 50 }
    holdout = 5
    n0 = 20000
    [[variants]]
    name = "control"
    version = 1
    weight = 50
    [[variants]]
    name = "large"
    version = 2
    weight = 50
    [metrics.primary]
    name = "bought"
    kind = "binary"
    window = "30m"
    margin = 0.01
    [[metrics.guardrails]]
    name = "seconds"
    kind = "real"
    better = "down"
    window = "30m"
    margin = 0.5
    per_unit = "sum"
    [bandit.thompson]
    every = "5m"
    half_life = "1day"
"#;

fn mistakes(text: &str) -> Vec<String> {
    ExperimentSpec::parse(text).unwrap_err().0.iter().map(ToString::to_string).collect()
}

#[test]
fn toml_and_json_say_the_same() {
    let spec = ExperimentSpec::parse(SPEC).unwrap();
    assert_eq!(spec.unit, UnitSource::Header("x-user-id".into()));
    assert_eq!(spec.points(), [5000, 5000]);
    assert_eq!((spec.alpha, spec.n0, spec.min_units), (0.05, 20_000, 100));
    assert!(spec.metrics.primary.missing_is_zero());
    assert!(spec.metric("seconds").unwrap().missing_is_zero());
    let Bandit::Thompson(thompson) = &spec.bandit else { panic!("{:?}", spec.bandit) };
    assert_eq!(thompson.every, 5 * MINUTE);
    assert_eq!((thompson.floor, thompson.half_life), (Percent::whole(5), Some(DAY)));
    let json = serde_json::to_string(&spec).unwrap();
    assert_eq!(ExperimentSpec::parse(&json).unwrap(), spec);
    assert_eq!(ExperimentSpec::from_json(serde_json::from_str(&json).unwrap()).unwrap(), spec);
}

#[test]
fn a_short_spec_has_defaults_and_a_bandit_can_be_off() {
    let cut = SPEC.split("[bandit.thompson]").next().unwrap();
    assert_eq!(ExperimentSpec::parse(cut).unwrap().bandit, Bandit::Off);
    let off = cut.replacen("n0 = 20000", "bandit = \"off\"", 1);
    let spec = ExperimentSpec::parse(&off).unwrap();
    assert_eq!((spec.bandit, spec.n0), (Bandit::Off, 5_000));
}

#[test]
fn unknown_fields_are_refused_with_their_path_and_stored_ones_tolerated() {
    let found = mistakes(
        &SPEC
            .replacen("margin = 0.01", "margin = 0.01\ncolour = 1", 1)
            .replacen("n0 =", "shape = 1\nn0 =", 1)
            .replacen("share = 50", "share = 50, x = 1", 1)
            .replacen("every =", "soon = 1\nevery =", 1),
    );
    for field in ["metrics.primary.colour", "shape", "layer.x", "bandit.soon"] {
        assert!(found.iter().any(|m| m.starts_with(field)), "{field} in {found:?}");
    }
    let mut stored = serde_json::to_value(ExperimentSpec::parse(SPEC).unwrap()).unwrap();
    stored["a_later_field"] = 1.into();
    assert!(serde_json::from_value::<ExperimentSpec>(stored).is_ok());
}

#[test]
fn every_mistake_names_its_field_and_reason() {
    for (part, instead, field, reason) in [
        ("name = \"ranker-size\"", "name = \"a b\"", "name", "letters, digits"),
        ("name = \"ranker-size\"\n", "", "", "missing field `name`"),
        ("header:X-User-Id", "claim:sub", "unit", "reads no tokens"),
        ("header:X-User-Id", "cookie:x", "unit", "header:NAME"),
        ("header:X-User-Id", "header:", "unit", "header:NAME"),
        ("weight = 50", "weight = 60", "variants", "sum to 110%"),
        ("weight = 50", "weight = 0", "variants[0].weight", "more than 0"),
        ("version = 2", "version = 0", "variants[1].version", "1 to 2147483647"),
        ("name = \"control\"", "name = \"stable\"", "variants[0].name", "meaning of its own"),
        ("name = \"control\"", "name = \"holdout\"", "variants[0].name", "meaning of its own"),
        ("name = \"control\"", "name = \"large\"", "variants[1].name", "named twice"),
        (
            "\"user-42\" = \"large\"",
            "\"user-42\" = \"huge\"",
            "overrides.user-42",
            "control, large",
        ),
        ("share = 50", "share = 0", "layer.share", "more than 0"),
        ("share = 50", "share = 50, from = 60", "layer.from", "ends at 110%"),
        ("holdout = 5", "holdout = 51", "holdout", "at most 50"),
        ("holdout = 5", "holdout = 0.001", "holdout", "two decimals"),
        ("holdout = 5", "alpha = 0.9", "alpha", "wanted 0.000001 to 0.2"),
        ("n0 = 20000", "n0 = 10", "n0", "wanted 1000 to"),
        ("n0 = 20000", "min_units = 10", "min_units", "wanted 100 to"),
        ("holdout = 5", "format = 2", "format", "reads format 1"),
        ("kind = \"binary\"", "kind = \"bool\"", "metrics.primary.kind", "binary"),
        ("window = \"30m\"", "window = \"soon\"", "metrics.primary.window", "duration"),
        ("window = \"30m\"", "window = \"91d\"", "metrics.primary.window", "91d: wanted 1s to 90d"),
        ("window = \"30m\"", "window = \"0s\"", "metrics.primary.window", "wanted 1s"),
        ("margin = 0.01", "margin = 1.5", "metrics.primary.margin", "0 to 0.99"),
        ("margin = 0.01", "margin = nan", "metrics.primary.margin", "wanted"),
        ("margin = 0.01", "per_unit = \"sum\"", "metrics.primary.per_unit", "leave it out"),
        ("margin = 0.5", "margin = 0", "metrics.guardrails[0].margin", "never be shown"),
        ("name = \"seconds\"", "name = \"bought\"", "metrics.guardrails[0].name", "named twice"),
        ("every = \"5m\"", "every = \"30d\"", "bandit.thompson.every", "shorter than horizon"),
        ("every = \"5m\"", "floor = 60", "bandit.thompson.floor", "there are 2 variants"),
        ("every = \"5m\"", "floor = 0", "bandit.thompson.floor", "wanted 1%"),
    ] {
        assert!(SPEC.contains(part), "{part}");
        let found = mistakes(&SPEC.replacen(part, instead, 1));
        let hit = found.iter().any(|m| m.starts_with(field) && m.contains(reason));
        assert!(hit, "{instead}: wanted {field} … {reason} in {found:?}");
    }
}

#[test]
fn all_mistakes_come_together() {
    let text = SPEC
        .replacen("holdout = 5", "holdout = 90", 1)
        .replacen("weight = 50", "weight = 10", 1)
        .replacen("n0 = 20000", "n0 = 1", 1)
        .replacen("share = 50", "share = 50, x = 1", 1);
    assert_eq!(mistakes(&text).len(), 4, "{:?}", mistakes(&text));
    let nine: String = (0..9)
        .map(|n| format!("[[variants]]\nname = \"v{n}\"\nversion = 1\nweight = 0.01\n"))
        .collect();
    let (head, rest) = SPEC.split_once("[[variants]]").unwrap();
    let (_, tail) = rest.split_once("[metrics.primary]").unwrap();
    let found = mistakes(&format!("{head}{nine}[metrics.primary]{tail}"));
    assert!(found.iter().any(|m| m.contains("9 of them: wanted 2 to 8")), "{found:?}");
}
