//! The table of outcomes, and the file with each case's own.

use std::fmt::Write as _;
use std::path::Path;

use crate::attempt::Outcome;
use crate::case::Case;
use crate::excluded::Section;

#[derive(Default)]
struct Counts {
    pass: usize,
    with_constants: usize,
    refused: usize,
    failed: usize,
    wrong: usize,
}

impl Counts {
    fn add(&mut self, outcome: &Outcome) {
        *match outcome {
            Outcome::Pass => &mut self.pass,
            Outcome::PassWithConstants => &mut self.with_constants,
            Outcome::Refused(_) => &mut self.refused,
            Outcome::Failed(_) => &mut self.failed,
            Outcome::Wrong(_) => &mut self.wrong,
        } += 1;
    }

    fn passing(&self) -> usize {
        self.pass + self.with_constants
    }

    fn all(&self) -> usize {
        self.passing() + self.refused + self.failed + self.wrong
    }

    fn rate(&self) -> f64 {
        100.0 * self.passing() as f64 / self.all().max(1) as f64
    }
}

/// All outcomes of one wheel.
#[derive(Default)]
pub struct Tally {
    in_scope: Counts,
    expanded: Counts,
    expected_otherwise: Counts,
    out_of_scope: Counts,
    lines: String,
}

impl Tally {
    pub fn add(&mut self, case: &Case, listed: Option<Section>, outcome: &Outcome) {
        let group = match listed {
            Some(Section::OutOfScope) => &mut self.out_of_scope,
            Some(Section::ExpectedOtherwise) => &mut self.expected_otherwise,
            _ if case.is_expanded() => &mut self.expanded,
            _ => &mut self.in_scope,
        };
        group.add(outcome);
        let mark = if listed.is_some() { "listed" } else { "" };
        // Writing to a String cannot fail.
        let _ = writeln!(self.lines, "{}\t{mark}\t{outcome:?}", case.name);
    }

    /// Cases in scope that pass, in per cent, without the expanded ones.
    pub fn rate(&self) -> f64 {
        self.in_scope.rate()
    }

    /// Prints the table, and leaves the outcome of each case in the folder of this test's build.
    pub fn write(&self, opset: &str) {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("onnx-cases-{opset}.txt"));
        std::fs::write(&path, &self.lines).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let mut table = format!(
            "opset {opset:<14} cases   pass  with constants  refused  failed  wrong  pass rate\n"
        );
        for (name, c) in [
            ("in scope", &self.in_scope),
            ("expanded", &self.expanded),
            ("expected otherwise", &self.expected_otherwise),
            ("out of scope", &self.out_of_scope),
        ] {
            let _ = writeln!(
                table,
                "  {name:<18} {:>5} {:>6} {:>15} {:>8} {:>7} {:>6} {:>8.1} %",
                c.all(),
                c.pass,
                c.with_constants,
                c.refused,
                c.failed,
                c.wrong,
                c.rate()
            );
        }
        println!("{table}each case: {}", path.display());
    }
}
