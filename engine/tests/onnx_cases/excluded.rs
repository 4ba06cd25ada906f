//! The committed list of cases that do not pass, with a reason a line.

use crate::case::Case;

const LIST: &str = include_str!("excluded.txt");

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// Not what this engine is for: these count in no rate, but may not answer wrongly either.
    OutOfScope,
    /// ONNX itself changed what it expects, to what ONNX Runtime and this engine answer.
    ExpectedOtherwise,
    /// In scope, and refused or failing.
    NotServed,
}

/// A line of the list: which cases, by a pattern with `*`.
#[derive(Debug)]
pub struct Line {
    pub section: Section,
    pattern: &'static str,
}

/// The lines that hold for one opset.
pub struct Excluded(Vec<Line>);

impl Excluded {
    /// Reads `excluded.txt`: `[section]` lines, and below them `opsets pattern reason`.
    pub fn read(opset: &str) -> Self {
        let mut section = None;
        let mut lines = Vec::new();
        for line in LIST.lines().map(str::trim) {
            match line {
                "" => continue,
                "[out of scope]" => section = Some(Section::OutOfScope),
                "[expected otherwise]" => section = Some(Section::ExpectedOtherwise),
                "[not served]" => section = Some(Section::NotServed),
                comment if comment.starts_with('#') => continue,
                line => {
                    let section = section.expect("a section comes first");
                    let mut words = line.split_whitespace();
                    let (Some(opsets), Some(pattern), Some(_)) =
                        (words.next(), words.next(), words.next())
                    else {
                        panic!("opsets, a pattern and a reason are wanted: {line}")
                    };
                    if opsets.split(',').any(|o| o == opset) {
                        lines.push(Line { section, pattern });
                    }
                }
            }
        }
        Self(lines)
    }

    /// The first line that `name` falls under.
    pub fn find(&self, name: &str) -> Option<&Line> {
        self.0.iter().find(|line| fits(line.pattern, name))
    }

    /// The patterns that no case reaches.
    pub fn without_cases(&self, cases: &[Case]) -> Vec<&str> {
        let reached = |line: &&Line| {
            cases.iter().any(|c| self.find(&c.name).is_some_and(|l| std::ptr::eq(l, *line)))
        };
        self.0.iter().filter(|line| !reached(line)).map(|line| line.pattern).collect()
    }
}

/// True when `name` is `pattern`, in which `*` stands for any characters.
fn fits(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, rest)) => {
            let Some(tail) = name.strip_prefix(start) else { return false };
            (0..=tail.len()).filter(|i| tail.is_char_boundary(*i)).any(|i| fits(rest, &tail[i..]))
        }
    }
}

#[test]
fn a_star_stands_for_any_characters() {
    assert!(fits("test_a*_b", "test_a_b") && fits("test_a*_b", "test_axx_b_b"));
    assert!(fits("*", "") && fits("test_*float8*", "test_cast_float8_to"));
    assert!(!fits("test_a", "test_ab") && !fits("test_a*b", "test_ac") && !fits("a*", "ba"));
}
