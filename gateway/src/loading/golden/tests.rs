use std::cell::RefCell;

use weighbridge_config::rollout::Tolerance;
use weighbridge_config::{Datatype, TensorData, TensorSpec};

use super::*;

const MS: Duration = Duration::from_millis(1);

fn floats(values: &[f32]) -> Tensor {
    Tensor::new(vec![1, values.len()], TensorData::Fp32(values.to_vec())).unwrap()
}

/// `x` and the two outputs `double` and `half`.
fn signature() -> Signature {
    let spec = |name: &str| TensorSpec {
        name: name.to_owned(),
        datatype: Datatype::Fp32,
        shape: vec![-1, 2],
        labels: vec![],
    };
    Signature {
        inputs: vec![spec("x")],
        outputs: vec![spec("double"), spec("half")],
        batchable: true,
    }
}

fn case(number: usize, outputs: &[(&str, [f32; 2])]) -> GoldenCase {
    let outputs = outputs.iter().map(|(name, values)| ((*name).to_owned(), floats(values)));
    GoldenCase {
        number,
        name: None,
        inputs: vec![("x".to_owned(), floats(&[2.0, 4.0]))],
        outputs: outputs.collect(),
        tolerance: Tolerance { absolute: 0.0, relative: 0.0 },
    }
}

fn golden(cases: Vec<GoldenCase>, latency_budget: Option<Duration>) -> GoldenCases {
    GoldenCases { cases, latency_budget }
}

/// What a model of [`signature`] gives.
fn answer() -> Result<Vec<Tensor>, String> {
    Ok(vec![floats(&[4.0, 8.0]), floats(&[1.0, 2.0])])
}

/// Runs cases with the times of their runs in the order of the runs.
fn with_times(golden: &GoldenCases, times: &[u64]) -> (GoldenReport, usize) {
    let left = RefCell::new(times.iter());
    let report = run(
        golden,
        &signature(),
        |_| (),
        |_| {
            let micros = left.borrow_mut().next().expect("no more runs were expected");
            (answer(), Duration::from_micros(*micros))
        },
    );
    let left = left.borrow().len();
    (report, times.len() - left)
}

#[test]
fn cases_that_hold_pass_with_any_subset_of_the_outputs() {
    let cases = vec![
        case(1, &[("half", [1.0, 2.0])]),
        case(2, &[("half", [1.0, 2.0]), ("double", [4.0, 8.0])]),
        case(3, &[("double", [4.0, 8.0])]),
    ];
    let mut begun = Vec::new();
    let begin = |case: &GoldenCase| begun.push(case.number);
    let report = run(&golden(cases, None), &signature(), begin, |_| (answer(), MS));
    assert_eq!((report.cases, report.passed, report.reason()), (3, 3, None));
    assert_eq!((report.slowest_us, report.slowest_case.as_str()), (1000.0, "case 1"));
    assert_eq!(begun, [1, 2, 3]);
}

#[test]
fn what_fails_is_told_by_case_and_output() {
    let mut misfit = case(2, &[("half", [1.0, 2.0])]);
    misfit.inputs[0].1 = floats(&[1.0, 2.0, 3.0]);
    let mut unknown = case(3, &[("third", [0.0, 0.0])]);
    unknown.name = Some("three".to_owned());
    let both = case(4, &[("half", [1.0, 3.0]), ("double", [4.0, f32::NAN])]);
    let cases = vec![case(1, &[("half", [1.0, 2.0])]), misfit, unknown, both];
    let report = run(&golden(cases, None), &signature(), |_| (), |_| (answer(), MS));
    let wanted = "3 of 4 golden cases failed: \
        case 2: input \"x\" came with shape [1, 3], the model wants [-1, 2] (axis 1 is 3, not 2); \
        case 3 \"three\": unknown output \"third\": the model gives \"double\" (FP32 [-1, 2]), \
        \"half\" (FP32 [-1, 2]); \
        case 4: output \"half\": element [0, 1] is 2.0, expected 3.0: off by 1, 0 allowed \
        (1 of 2 elements is off), \
        output \"double\": element [0, 1] is 8.0, expected NaN (1 of 2 elements is off)";
    assert_eq!(report.reason().as_deref(), Some(wanted));
}

#[test]
fn of_many_failures_the_first_few_are_told_and_all_are_counted() {
    let cases = (1..=40).map(|number| case(number, &[("half", [9.0, 2.0])])).collect();
    let failed = run(
        &golden(cases, Some(MS)),
        &signature(),
        |_| (),
        |_| (Err("the model failed".to_owned()), MS),
    );
    assert_eq!((failed.passed, failed.failures.len()), (0, MOST_TOLD));
    let reason = failed.reason().unwrap();
    assert!(reason.starts_with("40 of 40 golden cases failed: case 1: the model failed; case 2"));
    assert!(reason.ends_with("case 5: the model failed; and 35 more"), "{reason}");
}

#[test]
fn the_time_of_a_case_is_the_best_median_of_a_few_runs() {
    let budget = Some(Duration::from_micros(100));
    // The first run is the one whose outputs are compared.
    let table: [(&[u64], f64, bool); 6] = [
        // Three within: the median of five cannot be over.
        (&[999, 50, 60, 70], 60.0, true),
        // Two hiccups of five do not count.
        (&[999, 500, 60, 600, 70, 100], 100.0, true),
        // A bad round is followed by a good one.
        (&[999, 500, 501, 502, 10, 11, 12], 11.0, true),
        (&[999, 101, 50, 101, 50, 101, 101, 50, 101, 101, 20, 21, 22], 21.0, true),
        // Over in each of three rounds; the best median is told.
        (&[1, 300, 310, 320, 210, 200, 220, 400, 400, 400], 210.0, false),
        (&[1, 101, 101, 101, 101, 101, 101, 102, 50, 101, 103], 101.0, false),
    ];
    for (times, slowest, passes) in table {
        let golden = golden(vec![case(1, &[("half", [1.0, 2.0])])], budget);
        let (report, runs) = with_times(&golden, times);
        assert_eq!(runs, times.len(), "{times:?}");
        assert_eq!((report.slowest_us, report.passed == 1), (slowest, passes), "{times:?}");
    }
    let golden = golden(vec![case(1, &[("half", [1.0, 2.0])])], budget);
    let (report, _) = with_times(&golden, &[1, 300, 310, 320, 210, 200, 220, 400, 400, 400]);
    let wanted =
        "1 of 1 golden cases failed: case 1: a run takes 210.0 µs, the latency budget is 100us";
    assert_eq!(report.reason().as_deref(), Some(wanted));
}

#[test]
fn without_a_budget_a_case_runs_once() {
    let cases = vec![case(1, &[("half", [1.0, 2.0])]), case(2, &[("half", [1.0, 2.0])])];
    let (report, runs) = with_times(&golden(cases, None), &[30, 70]);
    assert_eq!((runs, report.slowest_us, report.slowest_case.as_str()), (2, 70.0, "case 2"));
    assert_eq!(report.latency_budget_us, None);
}

#[test]
fn a_model_that_fails_when_run_again_fails_the_case() {
    let golden = golden(vec![case(1, &[("half", [1.0, 2.0])])], Some(MS));
    let mut runs = 0;
    let report = run(
        &golden,
        &signature(),
        |_| (),
        |_| {
            runs += 1;
            (if runs == 3 { Err("it broke".to_owned()) } else { answer() }, MS)
        },
    );
    assert_eq!(report.failures, ["case 1: run again: it broke"]);
}
