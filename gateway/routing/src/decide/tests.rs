use weighbridge_config::split::parse_weights;

use super::*;

fn v(n: u32) -> Version {
    Version::try_from(n).unwrap()
}

fn split(words: &[&str]) -> Split {
    Split::new(&parse_weights(words).unwrap()).unwrap()
}

fn route(split: Option<Split>, loaded: &[u32]) -> ModelRoute {
    ModelRoute {
        salt: "fraud".into(),
        split,
        aliases: [("champion".parse().unwrap(), v(2))].into(),
        versions: loaded.iter().map(|n| (v(*n), Availability::Loaded)).collect(),
    }
}

#[test]
fn the_route_decides_and_says_why() {
    let both = route(Some(split(&["1=95", "2=5"])), &[1, 2]);
    let canary = decide(&both, Ask::Routed, Key::Coin(0)).unwrap();
    assert_eq!(canary.version, v(2));
    assert_eq!(
        (canary.variant, canary.reason.to_string().as_str()),
        (Variant::Canary, "split; point=0")
    );
    let stable = decide(&both, Ask::Routed, Key::Missing(u64::MAX)).unwrap();
    assert_eq!((stable.version, stable.variant), (v(1), Variant::Stable));
    assert_eq!(stable.reason, Reason::NoStickyKey { point: 9999 });
    let one = route(Some(Split::all_to(v(1))), &[1, 2]);
    assert_eq!(decide(&one, Ask::Routed, Key::Coin(0)).unwrap().reason, Reason::Route);
}

#[test]
fn versions_and_aliases_can_be_asked_for() {
    let table = route(Some(split(&["1=95", "3=5"])), &[1, 2, 3]);
    let ask = |ask| decide(&table, ask, Key::Coin(0)).map(|d| d.version);
    assert_eq!(ask(Ask::Version(v(2))), Ok(v(2)));
    assert_eq!(ask(Ask::Version(v(9))), Err(Refusal::UnknownVersion(v(9))));
    assert_eq!(ask(Ask::Alias("champion")), Ok(v(2)));
    assert_eq!(ask(Ask::Alias("stable")), Ok(v(1)));
    assert_eq!(ask(Ask::Alias("canary")), Ok(v(3)));
    assert_eq!(ask(Ask::Alias("nobody")), Err(Refusal::UnknownAlias("nobody".into())));
}

#[test]
fn nothing_answers_before_a_promote() {
    let table = route(None, &[1, 2]);
    let refusal = decide(&table, Ask::Routed, Key::Coin(0)).unwrap_err();
    assert_eq!(refusal, Refusal::NotPromoted { newest: Some(v(2)) });
    assert!(decide(&table, Ask::Version(v(1)), Key::Coin(0)).is_ok());
    assert!(decide(&table, Ask::Alias("stable"), Key::Coin(0)).is_err());
}

#[test]
fn a_routed_version_that_cannot_answer_leaves_its_callers_to_the_heaviest_that_can() {
    let mut table = route(Some(split(&["1=20", "2=70", "3=10"])), &[1, 2]);
    table.versions.insert(v(3), Availability::Failed("no such operator".into()));
    let decision = decide(&table, Ask::Routed, Key::Coin(0)).unwrap();
    assert_eq!((decision.version, decision.reason), (v(2), Reason::Fallback { instead_of: v(3) }));
    // Who asks for the version itself is told.
    assert!(matches!(
        decide(&table, Ask::Version(v(3)), Key::Coin(0)),
        Err(Refusal::Failed { .. })
    ));
    for number in [1, 2] {
        table.versions.insert(v(number), Availability::NotLoaded);
    }
    assert!(matches!(decide(&table, Ask::Routed, Key::Coin(0)), Err(Refusal::Failed { .. })));
}

#[test]
fn the_split_over_100_000_keys_is_within_half_a_percentage_point_of_its_weights() {
    let weights = [("1", 62.0), ("2", 33.0), ("3", 5.0)];
    let words: Vec<_> = weights.iter().map(|(v, w)| format!("{v}={w}")).collect();
    let table = route(Some(Split::new(&parse_weights(&words).unwrap()).unwrap()), &[1, 2, 3]);
    let mut counts = BTreeMap::new();
    for n in 0..100_000 {
        let key = format!("customer-{n}");
        let decision = decide(&table, Ask::Routed, Key::Sticky(key.as_bytes())).unwrap();
        *counts.entry(decision.version.to_string()).or_insert(0u32) += 1;
    }
    for (version, percent) in weights {
        let share = f64::from(counts[version]) / 1000.0;
        assert!((share - percent).abs() < 0.5, "version {version}: {share} %, wanted {percent} %");
    }
}

#[test]
fn raising_the_canary_never_moves_a_key_from_canary_to_stable() {
    let mut split = Split::all_to(v(1));
    let mut on_canary: Vec<bool> = vec![false; 2000];
    for canary in [1, 5, 25, 50, 75, 100] {
        let words = [format!("1={}", 100 - canary), format!("2={canary}")];
        split = split.reweighted(&parse_weights(&words).unwrap()).unwrap();
        let table = route(Some(split.clone()), &[1, 2]);
        for (n, was_on_canary) in on_canary.iter_mut().enumerate() {
            let key = format!("user-{n}");
            let decision = decide(&table, Ask::Routed, Key::Sticky(key.as_bytes())).unwrap();
            let is = decision.version == v(2);
            assert!(is || !*was_on_canary, "user-{n} left the canary at {canary} %");
            *was_on_canary = is;
        }
    }
    assert!(on_canary.iter().all(|on| *on));
}

#[test]
fn a_variant_of_an_experiment_is_served_by_name_and_falls_back_like_the_route() {
    let mut table = route(Some(split(&["1=100"])), &[1, 2]);
    let reason = |note| Reason::Experiment { name: "size".into(), variant: "large".into(), note };
    let decision = decide_variant(&table, v(2), reason("")).unwrap();
    assert_eq!((decision.version, decision.variant), (v(2), Variant::Other));
    assert_eq!(decision.variant_name(), "large");
    assert_eq!(decision.reason.to_string(), "experiment; name=size");
    assert_eq!(reason("unit=request").to_string(), "experiment; name=size; unit=request");
    table.versions.insert(v(2), Availability::NotLoaded);
    let decision = decide_variant(&table, v(2), reason("")).unwrap();
    assert_eq!((decision.version, decision.variant_name()), (v(1), "stable".to_owned()));
    assert_eq!(decision.reason, Reason::Fallback { instead_of: v(2) });
    table.split = None;
    assert_eq!(decide_variant(&table, v(2), reason("")), Err(Refusal::NotLoaded(v(2))));
    assert_eq!(decide_variant(&table, v(1), reason("")).unwrap().version, v(1));
}
