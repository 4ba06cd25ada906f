//! Rounding floats to the steps that integers stand for.

/// Adding and taking away this number rounds a float of less than 2^22 to the nearest whole
/// number, half to even, as the addition has no digits behind the point.
pub(in crate::ops) const ROUNDER: f32 = 12_582_912.0;

/// In steps from the zero point, kept in the range.
pub(super) fn to_steps(x: f32, scale: f32, low: f32, high: f32) -> f32 {
    let steps = x / scale;
    // In this order NaN becomes the lowest step, as in ONNX Runtime.
    let steps = if steps > low { steps } else { low };
    let steps = if steps < high { steps } else { high };
    (steps + ROUNDER) - ROUNDER
}

/// What values that share a scale are rounded to.
#[derive(Debug, Clone, Copy)]
pub(in crate::ops) struct Steps {
    scale: f32,
    /// In steps from the zero point.
    low: f32,
    high: f32,
    /// 1 / scale, where multiplying by it is accurate enough to try.
    inverse: Option<f32>,
    /// A value whose distance from a whole number of steps is less is rounded rightly after a
    /// multiplication. That differs from the division by less than 3 / 2^24 of the number.
    sure: f32,
}

/// The most steps for which few values fall between [`Steps::sure`] and a half.
const FEW_STEPS: f32 = 256.0;

impl Steps {
    pub(in crate::ops) fn new(scale: f32, low: f32, high: f32) -> Self {
        let inverse = 1.0 / scale;
        let most = low.abs().max(high.abs());
        let is_accurate = scale.is_normal() && inverse.is_normal() && most <= FEW_STEPS;
        let sure = 0.5 - most * 4.0e-7;
        Self { scale, low, high, inverse: is_accurate.then_some(inverse), sure }
    }

    /// The float that each value is rounded to.
    pub(in crate::ops) fn round(&self, input: &[f32], output: &mut [f32]) {
        self.in_units(self.scale, input, output);
    }

    pub(in crate::ops) fn round_in_place(&self, values: &mut [f32]) {
        let mut rounded = [0.0; BLOCK];
        for values in values.chunks_mut(BLOCK) {
            let rounded = &mut rounded[..values.len()];
            self.round(values, rounded);
            values.copy_from_slice(rounded);
        }
    }

    /// The whole number of steps, from the zero point, of each value.
    pub(in crate::ops) fn count(&self, input: &[f32], output: &mut [f32]) {
        self.in_units(1.0, input, output);
    }

    pub(in crate::ops) fn scale(&self) -> f32 {
        self.scale
    }

    /// The largest number of steps on either side.
    pub(in crate::ops) fn most(&self) -> f32 {
        self.low.abs().max(self.high.abs())
    }

    fn in_units(&self, unit: f32, input: &[f32], output: &mut [f32]) {
        let Some(inverse) = self.inverse else { return self.divide(unit, input, output) };
        #[cfg(target_arch = "x86_64")]
        if std::is_x86_feature_detected!("avx2") {
            #[expect(unsafe_code, reason = "a function with target features")]
            // SAFETY: the processor has the feature that the function is compiled for; its body
            // is safe code.
            unsafe {
                self.multiply_avx2(inverse, unit, input, output);
            }
            return;
        }
        self.multiply(inverse, unit, input, output);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn multiply_avx2(&self, inverse: f32, unit: f32, input: &[f32], output: &mut [f32]) {
        self.multiply(inverse, unit, input, output);
    }

    #[inline(always)]
    fn multiply(&self, inverse: f32, unit: f32, input: &[f32], output: &mut [f32]) {
        for (input, output) in input.chunks(BLOCK).zip(output.chunks_mut(BLOCK)) {
            let mut doubtful = 0;
            for (x, y) in input.iter().zip(&mut *output) {
                let steps = x * inverse;
                let steps = if steps > self.low { steps } else { self.low };
                let steps = if steps < self.high { steps } else { self.high };
                let whole = (steps + ROUNDER) - ROUNDER;
                doubtful |= u32::from((steps - whole).abs() >= self.sure);
                *y = whole * unit;
            }
            if doubtful != 0 {
                self.divide(unit, input, output);
            }
        }
    }

    fn divide(&self, unit: f32, input: &[f32], output: &mut [f32]) {
        for (x, y) in input.iter().zip(output) {
            *y = to_steps(*x, self.scale, self.low, self.high) * unit;
        }
    }
}

/// Values that are rounded before the doubtful among them are looked for.
const BLOCK: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_half_to_even_and_saturates() {
        let steps = |x: f32| to_steps(x, 0.5, -128.0, 127.0);
        let cases = [
            (0.25, 0.0),
            (0.75, 2.0),
            (-0.25, 0.0),
            (-0.75, -2.0),
            (0.26, 1.0),
            (1e30, 127.0),
            (f32::NEG_INFINITY, -128.0),
            (f32::NAN, -128.0),
        ];
        for (x, wanted) in cases {
            assert_eq!(steps(x), wanted, "{x}");
        }
    }

    /// Halves of steps, their neighbours among the floats, and what is no number.
    #[test]
    fn rounding_by_multiplication_is_that_by_division() {
        for scale in [0.0184, 0.1, 1.0 / 3.0, 0.003_921_57, 1e-30, f32::MIN_POSITIVE, 1e-40, 0.0] {
            let steps = Steps::new(scale, -123.0, 132.0);
            let mut input = vec![f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0, 1e30];
            for half in -270..270 {
                let middle = half as f32 * 0.5 * scale;
                input.extend([middle, middle.next_up(), middle.next_down()]);
            }
            let (mut got, mut wanted) = (vec![9.0; input.len()], vec![9.0; input.len()]);
            steps.round(&input, &mut got);
            steps.divide(scale, &input, &mut wanted);
            let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&got), bits(&wanted), "{scale}");
        }
    }
}
