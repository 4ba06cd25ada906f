//! The node and simple cases of ONNX's own backend tests, through the engine as callers use it.
//!
//! Each case is a model with inputs and the outputs that ONNX expects. It is tried with all inputs
//! fed by the caller, and when that does not work with the inputs after the first as weights of
//! the model, the way exporters write shapes, axes and scales. No case may give a wrong answer;
//! the cases that give none are listed with their reasons in `excluded.txt`, and the list may
//! neither lack nor keep a case. `tests/run` fetches the cases and runs these tests.

mod attempt;
mod case;
mod excluded;
mod report;

use std::path::{Path, PathBuf};

use attempt::Outcome;
use excluded::{Excluded, Section};
use report::Tally;

const WHY_IGNORED: &str = "the cases are not there: tests/run fetches them";

/// Where `tests/run` puts the cases of the wheel of `version`.
fn folder(version: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.venv/onnx-cases").join(version);
    assert!(path.is_dir(), "{}: {WHY_IGNORED}", path.display());
    path
}

/// Panics of a model's code are caught and judged as an outcome; only this test's own are told.
fn tell_only_own_panics() {
    std::panic::set_hook(Box::new(|info| {
        if info.location().is_some_and(|l| l.file().contains("onnx_cases")) {
            eprintln!("{info}");
        }
    }));
}

/// Runs all cases of the wheel `version`, whose operators are those of `opset`. At least `floor`
/// per cent of the cases in scope must pass, without those whose operator is spelled out as a
/// graph of simpler ones.
fn check(version: &str, opset: &str, floor: f64) {
    tell_only_own_panics();
    let excluded = Excluded::read(opset);
    let cases = case::all(&folder(version));
    assert!(cases.len() > 900, "only {} cases were found", cases.len());
    let mut tally = Tally::default();
    let mut wrong = Vec::new();
    let mut unlisted = Vec::new();
    for case in &cases {
        let outcome = attempt::outcome(case);
        let listed = excluded.find(&case.name);
        let section = listed.map(|line| line.section);
        tally.add(case, section, &outcome);
        match (&outcome, section) {
            (Outcome::Wrong(_), Some(Section::ExpectedOtherwise)) => {}
            (Outcome::Wrong(why), _) => wrong.push(format!("{}: {why}", case.name)),
            (Outcome::Pass | Outcome::PassWithConstants, Some(Section::OutOfScope) | None) => {}
            (Outcome::Pass | Outcome::PassWithConstants, Some(_)) => {
                unlisted.push(format!("{}: passes, and is excluded by {listed:?}", case.name));
            }
            (Outcome::Refused(why) | Outcome::Failed(why), None) => {
                unlisted.push(format!("{}: {why}", case.name));
            }
            (Outcome::Refused(_) | Outcome::Failed(_), Some(_)) => {}
        }
    }
    tally.write(opset);
    let idle = excluded.without_cases(&cases);
    assert!(wrong.is_empty(), "{} answer wrongly:\n{}", wrong.len(), wrong.join("\n"));
    assert!(
        unlisted.is_empty(),
        "excluded.txt does not tell the truth about {} cases:\n{}",
        unlisted.len(),
        unlisted.join("\n")
    );
    assert!(idle.is_empty(), "these lines of excluded.txt fit no case: {idle:?}");
    let rate = tally.rate();
    assert!(rate >= floor, "{rate:.1} % of the cases pass, {floor} % are wanted");
}

#[test]
#[ignore = "needs the cases of the wheel onnx 1.12.0, which tests/run fetches"]
fn the_cases_of_opset_17() {
    check("1.12.0", "17", 95.0);
}

#[test]
#[ignore = "needs the cases of the wheel onnx 1.18.0, which tests/run fetches"]
fn the_cases_of_opset_23() {
    check("1.18.0", "23", 93.0);
}
