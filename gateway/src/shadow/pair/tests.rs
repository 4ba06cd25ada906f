use super::*;
use crate::shadow::testing::{
    floats, live, name, number, settings, shadow, signature, times, version,
};
use std::collections::BTreeMap;
use weighbridge_config::rollout::OutputTolerance;

const NAN: f32 = f32::NAN;

/// The finding of a request with one row of two elements.
fn found(live_gave: Result<&[f32], &str>, shadow_gave: Result<&[f32], &str>) -> Finding {
    found_with(&Rules::default(), &[1.0, 2.0], live_gave, shadow_gave)
}

fn found_with(
    rules: &Rules,
    input: &[f32],
    live_gave: Result<&[f32], &str>,
    shadow_gave: Result<&[f32], &str>,
) -> Finding {
    let version = version(1, times(1.0));
    let tensors = |of: Result<&[f32], &'static str>| of.map(|v| vec![floats(&[1, v.len()], v)]);
    let leaked = |of: &str| -> &'static str { of.to_owned().leak() };
    let live_gave = tensors(live_gave.map_err(leaked));
    let shadow_gave = tensors(shadow_gave.map_err(leaked));
    let request = live(&version, floats(&[1, 2], input), live_gave);
    let ran = shadow_gave.as_deref().map_err(|error| *error);
    find(&request, live_error(&request, rules), &version.signature, ran, rules)
}

#[test]
fn a_pair_counts_by_who_failed_and_by_what_differs() {
    type Gave = Result<&'static [f32], &'static str>;
    let (same, other): (Gave, Gave) = (Ok(&[1.0, 2.0]), Ok(&[1.0, 2.1]));
    let (within, nan): (Gave, Gave) = (Ok(&[1.000_1, 2.0]), Ok(&[1.0, NAN]));
    let (failed, shape): (Gave, Gave) = (Err("out of range"), Ok(&[1.0, 2.0, 3.0]));
    for (live, shadow, outcome) in [
        (same, same, Outcome::Agree),
        (same, within, Outcome::Agree),
        (same, other, Outcome::Differ),
        (same, failed, Outcome::ShadowError),
        (same, nan, Outcome::ShadowError),
        (same, shape, Outcome::ShadowError),
        (failed, same, Outcome::LiveError),
        (nan, same, Outcome::LiveError),
        (failed, failed, Outcome::BothError),
        (failed, nan, Outcome::BothError),
        (nan, failed, Outcome::BothError),
        (nan, nan, Outcome::BothError),
    ] {
        assert_eq!(found(live, shadow).outcome(), outcome, "{live:?} {shadow:?}");
    }
}

#[test]
fn what_is_wrong_is_told() {
    for (shadow, facts) in [
        (Ok(&[1.0, f32::INFINITY][..]), &["output \"y\"", "NaN or infinity"][..]),
        (Ok(&[1.0, 2.0, 3.0][..]), &["\"y\" is FP32 [1, 3]", "live version's is FP32 [1, 2]"][..]),
        (Err("index 7 is out of range"), &["index 7 is out of range"][..]),
    ] {
        let error = found(Ok(&[1.0, 2.0]), shadow).shadow_error.unwrap();
        assert!(facts.iter().all(|fact| error.contains(fact)), "{error}");
    }
}

#[test]
fn nan_is_an_answer_where_the_model_may_say_so_or_the_input_has_it() {
    let allowing = Rules { allow_nan: true, ..Rules::default() };
    let (nan, number) = (Ok(&[NAN, 2.0][..]), Ok(&[1.0, 2.0][..]));
    let of = |rules: &Rules, input: &[f32], live, shadow| {
        found_with(rules, input, live, shadow).outcome()
    };
    assert_eq!(of(&allowing, &[1.0, 2.0], nan, nan), Outcome::Agree);
    assert_eq!(of(&allowing, &[1.0, 2.0], number, nan), Outcome::Differ);
    assert_eq!(of(&Rules::default(), &[NAN, 2.0], nan, nan), Outcome::Agree);
    assert_eq!(of(&Rules::default(), &[NAN, 2.0], number, nan), Outcome::Differ);
    assert_eq!(found_with(&allowing, &[1.0, 2.0], number, nan).severity(), f64::INFINITY);
}

#[test]
fn each_output_has_its_own_tolerance_and_severity_counts_in_it() {
    let loose = Tolerance { absolute: 0.5, relative: 0.0 };
    let of = BTreeMap::from([("y".to_owned(), loose)]);
    let tolerance = OutputTolerance { absolute: 0.0, relative: 0.0, max_share: 0.01, of };
    let rules = Rules { tolerance, ..Rules::default() };
    let pair = |shadow: &[f32]| found_with(&rules, &[0.0, 0.0], Ok(&[1.0, 2.0]), Ok(shadow));
    assert_eq!(pair(&[1.5, 2.0]).outcome(), Outcome::Agree);
    let finding = pair(&[1.0, 4.0]);
    assert_eq!((finding.outcome(), finding.severity()), (Outcome::Differ, 4.0));
}

#[test]
fn an_output_that_is_declared_otherwise_or_not_at_all_is_a_difference() {
    let live_version = version(1, times(1.0));
    let given = Ok(vec![floats(&[1, 2], &[1.0, 2.0])]);
    let request = live(&live_version, floats(&[1, 2], &[1.0, 2.0]), given);
    let three = floats(&[1, 3], &[1.0, 2.0, 3.0]);
    let find_of = |signature: &Signature| {
        find(&request, None, signature, Ok(std::slice::from_ref(&three)), &Rules::default())
    };
    let wide = find_of(&signature(&[("x", &[-1, 2])], &[("y", &[-1, 3])]));
    assert_eq!((wide.outcome(), wide.severity()), (Outcome::Differ, f64::INFINITY));
    let renamed = find_of(&signature(&[("x", &[-1, 2])], &[("z", &[-1, 2])]));
    assert_eq!(renamed.outcome(), Outcome::Differ);
    let why = renamed.outputs[0].difference.as_ref().unwrap_err();
    assert!(why.contains("no output \"y\""), "{why}");
    // Any length was declared: another one than the live version's fixed one is an error.
    let free = find_of(&signature(&[("x", &[-1, 2])], &[("y", &[-1, -1])]));
    assert_eq!(free.outcome(), Outcome::ShadowError);
}

#[test]
fn outputs_are_matched_by_name_and_more_of_them_do_no_harm() {
    let live_version = version(1, times(1.0));
    let given = Ok(vec![floats(&[1, 2], &[1.0, 2.0])]);
    let request = live(&live_version, floats(&[1, 2], &[1.0, 2.0]), given);
    let own = signature(&[("x", &[-1, 2])], &[("extra", &[-1]), ("y", &[-1, 2])]);
    let ran = [floats(&[1], &[9.0]), floats(&[1, 2], &[1.0, 2.0])];
    let finding = find(&request, None, &own, Ok(&ran), &Rules::default());
    assert_eq!(finding.outcome(), Outcome::Agree);
}

#[test]
fn inputs_come_in_the_order_that_a_version_wants() {
    let live_version = Arc::new(LoadedVersion::new(
        name(),
        number(1),
        signature(&[("a", &[-1]), ("b", &[-1])], &[("y", &[-1])]),
        version(1, times(1.0)).cost,
        Box::new(times(1.0)),
    ));
    let mut request = live(&live_version, floats(&[1], &[1.0]), Err("failed"));
    request.inputs.push(floats(&[1], &[2.0]));
    let inputs = |wanted: &[(&str, &[i64])]| {
        inputs_for(&request, &signature(wanted, &[])).map(Cow::into_owned)
    };
    let (a, b) = (floats(&[1], &[1.0]), floats(&[1], &[2.0]));
    assert_eq!(inputs(&[("a", &[-1]), ("b", &[-1])]), Ok(vec![a.clone(), b.clone()]));
    assert_eq!(inputs(&[("b", &[-1]), ("a", &[-1])]), Ok(vec![b.clone(), a]));
    assert_eq!(inputs(&[("b", &[-1])]), Ok(vec![b]));
    let error = inputs(&[("a", &[-1]), ("c", &[-1])]).unwrap_err();
    assert!(error.contains("no input \"c\""), "{error}");
}

#[test]
fn findings_add_up_and_the_worst_are_kept() {
    let target = shadow(&version(2, times(1.0)));
    let live_version = version(1, times(1.0));
    let most = settings().exemplars as usize;
    for step in 0..20u8 {
        let input = floats(&[1, 2], &[f32::from(step), 0.0]);
        let request = live(&live_version, input, Ok(vec![floats(&[1, 2], &[1.0, 2.0])]));
        let ran = [floats(&[1, 2], &[1.0 + f32::from(step), 2.0])];
        let signature = &*live_version.signature;
        let finding = find(&request, None, signature, Ok(&ran), &Rules::default());
        target.sink.record(&request, &finding, Some((signature, &ran)), most);
    }
    let counts = target.sink.counts();
    assert_eq!((counts.both_ok, counts.differ, counts.pairs()), (20, 19, 20));
    let results = target.sink.results();
    let outputs = results.outputs.unwrap();
    assert_eq!((outputs.elements, outputs.beyond), (40, 19));
    assert_eq!(outputs.absolute.max, Some(19.0));
    // From 1 on the first element is as large as the second, or larger, and stands first.
    assert_eq!(outputs.top1.map(|top1| (top1.agree, top1.of)), Some((1, 20)));
    let kept: Vec<_> =
        target.sink.exemplars().iter().map(|e| e.inputs[0].data[0].as_f64().unwrap()).collect();
    assert_eq!(kept, [19.0, 18.0, 17.0, 16.0]);
}
