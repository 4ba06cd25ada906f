//! Golden cases: inputs with the outputs that a version must give for them.
//!
//! They are pushed together with a version and are part of it. Their file form is read by
//! `weighbridge-protocol`; here stands what a case is and how an answer differs from it.

use std::time::Duration;

use crate::rollout::Tolerance;
use crate::tensor::compare::{Difference, compare};
use crate::tensor::{Tensor, TensorData};

/// The most cases of a version: each is run at the check.
pub const MOST_CASES: usize = 10_000;
/// The most bytes of a file of cases. It is read as a whole.
pub const MOST_BYTES: u64 = 256 << 20;
/// The most characters of a case's name.
pub const LONGEST_NAME: usize = 100;

/// The golden cases of a version.
#[derive(Debug, Clone, PartialEq)]
pub struct GoldenCases {
    /// At least one.
    pub cases: Vec<GoldenCase>,
    /// What a single run of a case may take.
    pub latency_budget: Option<Duration>,
}

/// One case.
#[derive(Debug, Clone, PartialEq)]
pub struct GoldenCase {
    /// Its place in the file, from 1.
    pub number: usize,
    pub name: Option<String>,
    /// All inputs of the model, by name.
    pub inputs: Vec<(String, Tensor)>,
    /// Some outputs of the model, by name: at least one.
    pub outputs: Vec<(String, Tensor)>,
    /// How far elements may lie from `outputs`.
    pub tolerance: Tolerance,
}

impl GoldenCase {
    /// As sentences name it: `case 3 "refund"`.
    pub fn label(&self) -> String {
        match &self.name {
            Some(name) => format!("case {} \"{name}\"", self.number),
            None => format!("case {}", self.number),
        }
    }

    /// How the output `name` differs from what the case expects: which element, what came, what
    /// was expected, and by how much. `None` when it lies within the tolerance.
    pub fn difference(&self, name: &str, expected: &Tensor, came: &Tensor) -> Option<String> {
        let Tolerance { absolute, relative } = self.tolerance;
        let told = match compare(expected, came, absolute, relative) {
            Ok(found) if found.is_within() => return None,
            Ok(found) => self.told(&found, expected, came),
            Err(unlike) => unlike.to_string(),
        };
        Some(format!("output \"{}\": {told}", cut(name, 60)))
    }

    fn told(&self, found: &Difference, expected: &Tensor, came: &Tensor) -> String {
        let beyond = match (found.beyond, found.elements) {
            (_, 1) => String::new(),
            (1, all) => format!(" (1 of {all} elements is off)"),
            (beyond, all) => format!(" ({beyond} of {all} elements are off)"),
        };
        let Some(worst) = &found.worst else { return format!("differs{beyond}") };
        let index = usize::try_from(worst.index).unwrap_or(usize::MAX);
        let (place, wanted) = (place(expected.shape(), index), element(expected.data(), index));
        let mut told =
            format!("element {place} is {}, expected {wanted}", element(came.data(), index));
        // Text has no distance, and neither have NaN and infinities.
        if let (Ok(wanted), Ok(came)) = (worst.expected.parse::<f64>(), worst.came.parse::<f64>())
            && !matches!(expected.data(), TensorData::Bool(_) | TensorData::Bytes(_))
            && (came - wanted).is_finite()
        {
            let allowed = self.tolerance.absolute + self.tolerance.relative * wanted.abs();
            let (off, allowed) = (significant((came - wanted).abs()), significant(allowed));
            told.push_str(&format!(": off by {off}, {allowed} allowed"));
        }
        told + &beyond
    }
}

/// Where the element number `index` stands: one position per axis.
fn place(shape: &[usize], index: usize) -> String {
    let mut rest = index;
    let mut places = vec![0; shape.len()];
    for (place, length) in places.iter_mut().zip(shape).rev() {
        let length = (*length).max(1);
        *place = rest % length;
        rest /= length;
    }
    format!("{places:?}")
}

/// An element with as many digits as tell it from its neighbours.
fn element(data: &TensorData, index: usize) -> String {
    let text = match data {
        TensorData::Bool(v) => v.get(index).map(ToString::to_string),
        TensorData::Uint8(v) => v.get(index).map(ToString::to_string),
        TensorData::Uint16(v) => v.get(index).map(ToString::to_string),
        TensorData::Uint32(v) => v.get(index).map(ToString::to_string),
        TensorData::Uint64(v) => v.get(index).map(ToString::to_string),
        TensorData::Int8(v) => v.get(index).map(ToString::to_string),
        TensorData::Int16(v) => v.get(index).map(ToString::to_string),
        TensorData::Int32(v) => v.get(index).map(ToString::to_string),
        TensorData::Int64(v) => v.get(index).map(ToString::to_string),
        TensorData::Fp16(v) => v.get(index).map(|bits| {
            let value = half::f16::from_bits(*bits).to_f32();
            format!("{value:?}")
        }),
        TensorData::Bf16(v) => v.get(index).map(|bits| {
            let value = half::bf16::from_bits(*bits).to_f32();
            format!("{value:?}")
        }),
        TensorData::Fp32(v) => v.get(index).map(|x| format!("{x:?}")),
        TensorData::Fp64(v) => v.get(index).map(|x| format!("{x:?}")),
        TensorData::Bytes(v) => {
            v.get(index).map(|bytes| format!("\"{}\"", cut(&String::from_utf8_lossy(bytes), 40)))
        }
    };
    text.unwrap_or_else(|| "missing".to_owned())
}

/// A finite number with four digits that count.
fn significant(x: f64) -> String {
    let rounded = format!("{x:.3e}").parse().unwrap_or(x);
    let text = format!("{rounded:?}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

fn cut(text: &str, longest: usize) -> String {
    if text.chars().count() <= longest {
        return text.to_owned();
    }
    text.chars().take(longest).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(absolute: f64, relative: f64) -> GoldenCase {
        let tolerance = Tolerance { absolute, relative };
        GoldenCase { number: 3, name: None, inputs: vec![], outputs: vec![], tolerance }
    }

    fn tensor(shape: &[usize], data: TensorData) -> Tensor {
        Tensor::new(shape.to_vec(), data).unwrap()
    }

    fn text(words: &[&str]) -> TensorData {
        TensorData::Bytes(words.iter().map(|word| word.as_bytes().to_vec()).collect())
    }

    #[test]
    fn a_case_is_named_by_number_and_name() {
        let mut case = case(0.0, 0.0);
        assert_eq!(case.label(), "case 3");
        case.name = Some("refund".to_owned());
        assert_eq!(case.label(), "case 3 \"refund\"");
    }

    #[test]
    fn a_difference_says_which_element_what_came_and_by_how_much() {
        use TensorData::{Bool, Fp16, Fp32, Fp64, Int64};
        let nan = f32::NAN;
        let table: Vec<(&[usize], TensorData, TensorData, &str)> = vec![
            (
                &[2, 2],
                Fp32(vec![0.1, 0.9, 0.5, 0.5]),
                Fp32(vec![0.1, 0.9, 0.5, 0.7]),
                "element [1, 1] is 0.7, expected 0.5: off by 0.2, 0.0105 allowed \
                 (1 of 4 elements is off)",
            ),
            (
                &[1, 2],
                Fp32(vec![0.4, 0.9]),
                Fp32(vec![nan, nan]),
                "element [0, 0] is NaN, expected 0.4 (2 of 2 elements are off)",
            ),
            (
                &[1, 2],
                Fp32(vec![0.4, nan]),
                Fp32(vec![0.4, 0.25]),
                "element [0, 1] is 0.25, expected NaN (1 of 2 elements is off)",
            ),
            (&[1], Fp64(vec![1.0]), Fp64(vec![f64::INFINITY]), "element [0] is inf, expected 1.0"),
            (
                &[1],
                Int64(vec![3]),
                Int64(vec![5]),
                "element [0] is 5, expected 3: off by 2, 0.013 allowed",
            ),
            (
                &[],
                Fp64(vec![1e-9]),
                Fp64(vec![12_345.678]),
                "element [] is 12345.678, expected 1e-9: off by 12350, 0.01 allowed",
            ),
            (
                &[1],
                Fp16(vec![0x3c00]),
                Fp16(vec![0x4000]),
                "element [0] is 2.0, expected 1.0: off by 1, 0.011 allowed",
            ),
            (&[1], Bool(vec![true]), Bool(vec![false]), "element [0] is false, expected true"),
            (
                &[2],
                text(&["a", "b"]),
                text(&["a", "7"]),
                "element [1] is \"7\", expected \"b\" (1 of 2 elements is off)",
            ),
            // Numbers in text are text.
            (&[1], text(&["1"]), text(&["2"]), "element [0] is \"2\", expected \"1\""),
        ];
        for (shape, expected, came, told) in table {
            let (expected, came) = (tensor(shape, expected), tensor(shape, came));
            let found = case(0.01, 0.001).difference("p", &expected, &came).unwrap();
            assert_eq!(found, format!("output \"p\": {told}"));
            assert_eq!(case(0.0, 0.0).difference("p", &expected, &expected), None);
        }
    }

    #[test]
    fn unlike_outputs_are_told_by_datatype_and_shape() {
        let expected = tensor(&[1, 2], TensorData::Fp32(vec![0.0, 1.0]));
        let came = tensor(&[2], TensorData::Fp32(vec![0.0, 1.0]));
        let found = case(1.0, 1.0).difference(&"p".repeat(500), &expected, &came).unwrap();
        assert!(found.ends_with("…\": FP32 [2] came, FP32 [1, 2] was expected"), "{found}");
        assert!(found.len() < 150, "{found}");
    }

    #[test]
    fn within_the_tolerance_nothing_differs() {
        let (expected, came) = (
            tensor(&[2], TensorData::Fp32(vec![100.0, 0.0])),
            tensor(&[2], TensorData::Fp32(vec![100.05, 0.009])),
        );
        assert_eq!(case(0.01, 0.001).difference("p", &expected, &came), None);
        assert!(case(0.001, 0.001).difference("p", &expected, &came).is_some());
    }
}
