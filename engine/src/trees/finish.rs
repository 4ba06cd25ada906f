//! From the sums of a row to its answer: base values, the binary special cases, transforms.
//!
//! The standard leaves the binary cases open ("ONNX is vague about two classes and only one
//! base_values", says ONNX Runtime's own source); this file does what ONNX Runtime 1.31 does,
//! found by reading `tree_ensemble_aggregator.h` and by comparing with it on random ensembles.

use super::forest::Forest;
use super::transform::{Transform, logistic, probit};
use super::value::Value;

/// How the trees' answers become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aggregate {
    Sum,
    Average,
    Min,
    Max,
}

impl Aggregate {
    /// The aggregate of an ONNX name such as `SUM`.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "SUM" => Self::Sum,
            "AVERAGE" => Self::Average,
            "MIN" => Self::Min,
            "MAX" => Self::Max,
            _ => return None,
        })
    }
}

/// Finishes the rows of a regressor.
#[derive(Debug, Clone, PartialEq)]
pub struct Regression<T> {
    pub aggregate: Aggregate,
    pub base: Vec<T>,
    pub transform: Transform,
    pub trees: usize,
}

impl<T: Value> Regression<T> {
    /// Turns the aggregated `sums` of one row into its answer in `out`, which is as long.
    pub fn finish(&self, sums: &[T], seen: &[bool], out: &mut [f32]) {
        let trees = T::from_count(self.trees);
        // One base value for several targets, or too many, is not added to any.
        let base = if self.base.len() == sums.len() { &self.base[..] } else { &[] };
        for (k, (out, sum)) in out.iter_mut().zip(sums).enumerate() {
            let sum = if self.aggregate == Aggregate::Average { *sum / trees } else { *sum };
            let answer = sum + base.get(k).copied().unwrap_or(T::ZERO);
            // One of several targets that no tree has scored counts as 0, whatever its base.
            let counts = seen[k] || sums.len() == 1;
            *out = if counts { answer.as_f32() } else { 0.0 };
        }
        match out {
            // A single target knows no other transform.
            [one] if self.transform == Transform::Probit => *one = probit(*one),
            [_] => {}
            several => self.transform.apply(several),
        }
    }
}

/// Finishes the rows of a classifier.
#[derive(Debug, Clone, PartialEq)]
pub struct Classification<T> {
    base: Vec<T>,
    transform: Transform,
    classes: usize,
    /// Two classes, and all leaves feed the same one column.
    one_column: bool,
    all_positive: bool,
}

/// What a row's label is: the number of a class, or the bare numbers 0 and 1 that ONNX Runtime
/// gives in some binary cases whatever the labels are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label {
    Class(usize),
    Bare(usize),
}

/// What the one score of a binary row says about the missing other one.
#[derive(Clone, Copy, PartialEq)]
enum Other {
    /// The score is a probability: the other one is its rest to 1.
    Complement,
    /// Scores around 0: the other one has the opposite sign.
    Mirrored,
    Unsaid,
}

impl<T: Value> Classification<T> {
    /// # Errors
    /// A sentence when the combination of attributes has no defined answer.
    pub fn new(forest: &Forest<T>, base: Vec<T>, transform: Transform) -> Result<Self, String> {
        let classes = forest.columns();
        if classes < 2 {
            return Err(format!("{classes} class labels; two or more are needed"));
        }
        if base.len() > classes {
            return Err(format!("{} base values for {classes} classes", base.len()));
        }
        let mut columns = forest.weights().map(|(column, _)| column);
        let first = columns.next();
        let one_column = classes == 2 && first.is_some() && columns.all(|c| Some(c) == first);
        let first_only = one_column && first == Some(0) && base.len() != 2;
        if first_only && transform == Transform::Probit {
            return Err("PROBIT for two classes with scores for one is not defined".to_owned());
        }
        let all_positive = !forest.weights().any(|(_, weight)| weight < T::ZERO);
        Ok(Self { base, transform, classes, one_column, all_positive })
    }

    /// Turns the `sums` of one row into its probabilities in `out` and its label.
    pub fn finish(&self, sums: &[T], seen: &[bool], out: &mut [f32]) -> Label {
        if self.classes > 2 { self.many(sums, seen, out) } else { self.two(sums, seen, out) }
    }

    fn many(&self, sums: &[T], seen: &[bool], out: &mut [f32]) -> Label {
        let mut best: Option<(usize, T)> = None;
        for (k, out) in out.iter_mut().enumerate() {
            let base = self.base.get(k);
            let score = sums[k] + base.copied().unwrap_or(T::ZERO);
            let counts = seen[k] || base.is_some();
            if counts && best.is_none_or(|(_, highest)| score > highest) {
                best = Some((k, score));
            }
            *out = score.as_f32();
        }
        self.transform.apply(out);
        Label::Class(best.map_or(0, |(k, _)| k))
    }

    fn two(&self, sums: &[T], seen: &[bool], out: &mut [f32]) -> Label {
        let mut scores = [sums[0], sums[1]];
        match self.base[..] {
            [_, second] if seen[1] => {
                // The first base value is taken to be the same as the second.
                scores[1] = second + scores[0];
                scores[0] = -scores[1];
            }
            [first, second] => scores = [scores[0] + first, scores[1] + second],
            [first] => scores[0] += first,
            _ => {}
        }
        let (label, other) = self.decide(scores, seen);
        // A column that no tree has scored counts as 0, whatever its base value.
        let both = [0, 1].map(|k| if seen[k] { scores[k].as_f32() } else { 0.0 });
        if self.base.len() == 2 || seen[1] {
            out.copy_from_slice(&both);
            self.transform.apply(out);
        } else {
            out.copy_from_slice(&self.complete(scores[0].as_f32(), other));
        }
        label
    }

    fn decide(&self, scores: [T; 2], seen: &[bool]) -> (Label, Other) {
        let weight = match (seen[1], seen[0]) {
            (true, _) => scores[1],
            (false, true) => scores[0],
            (false, false) => T::ZERO,
        };
        let positive = weight > T::ZERO;
        match (self.one_column, self.all_positive) {
            (true, true) => (Label::Class(usize::from(weight > T::HALF)), Other::Complement),
            (true, false) => (Label::Class(usize::from(positive)), Other::Mirrored),
            (false, _) => {
                let other = if self.base.is_empty() { Other::Mirrored } else { Other::Unsaid };
                (Label::Bare(usize::from(positive)), other)
            }
        }
    }

    /// Both scores from the one that the trees give.
    fn complete(&self, score: f32, other: Other) -> [f32; 2] {
        if self.transform == Transform::Logistic && other != Other::Unsaid {
            return [logistic(-score), logistic(score)];
        }
        match other {
            Other::Complement => [1.0 - score, score],
            Other::Mirrored => [-score, score],
            Other::Unsaid => [score, 0.0],
        }
    }
}
