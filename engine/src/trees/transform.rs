//! The transforms of scores into probabilities, as the ONNX standard names them and ONNX Runtime
//! computes them (its `ml_common.h`).

/// What is done to the scores of a row at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transform {
    None,
    Softmax,
    Logistic,
    /// Softmax that leaves zeros (almost) zero.
    SoftmaxZero,
    Probit,
}

impl Transform {
    /// The transform of an ONNX name such as `SOFTMAX_ZERO`.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "NONE" => Self::None,
            "SOFTMAX" => Self::Softmax,
            "LOGISTIC" => Self::Logistic,
            "SOFTMAX_ZERO" => Self::SoftmaxZero,
            "PROBIT" => Self::Probit,
            _ => return None,
        })
    }

    /// Transforms the scores of one row in place.
    pub fn apply(self, scores: &mut [f32]) {
        match self {
            Self::None => {}
            Self::Softmax => softmax(scores),
            Self::SoftmaxZero => softmax_zero(scores),
            Self::Logistic => scores.iter_mut().for_each(|s| *s = logistic(*s)),
            Self::Probit => scores.iter_mut().for_each(|s| *s = probit(*s)),
        }
    }
}

/// 1 / (1 + e^-x), computed on the side where the power cannot overflow and keeps its digits.
pub(crate) fn logistic(x: f32) -> f32 {
    let power = (-x.abs()).exp();
    if x < 0.0 { power / (1.0 + power) } else { 1.0 / (1.0 + power) }
}

fn softmax(scores: &mut [f32]) {
    let highest = highest(scores);
    let mut sum = 0.0;
    for s in scores.iter_mut() {
        *s = (*s - highest).exp();
        sum += *s;
    }
    scores.iter_mut().for_each(|s| *s /= sum);
}

fn softmax_zero(scores: &mut [f32]) {
    const ZERO: f32 = 1e-7;
    let highest = highest(scores);
    let scale = (-highest).exp();
    let mut sum = 0.0;
    for s in scores.iter_mut() {
        if s.abs() > ZERO {
            *s = (*s - highest).exp();
            sum += *s;
        } else {
            *s *= scale;
        }
    }
    scores.iter_mut().for_each(|s| *s /= sum);
}

fn highest(scores: &[f32]) -> f32 {
    scores.iter().copied().fold(f32::MIN, |a, b| if b > a { b } else { a })
}

/// The inverse of the normal distribution function, by Winitzki's approximation of the inverse
/// error function with a = 0.147, whose two digits of error ONNX Runtime shares.
pub(crate) fn probit(p: f32) -> f32 {
    const A: f32 = 0.147;
    let x = 2.0 * p - 1.0;
    let sign = if x < 0.0 { -1.0 } else { 1.0 };
    let log = ((1.0 - x) * (1.0 + x)).ln();
    let v = 2.0 / (std::f32::consts::PI * A) + 0.5 * log;
    let root = (-v + (v * v - log / A).sqrt()).sqrt();
    std::f32::consts::SQRT_2 * sign * root
}
