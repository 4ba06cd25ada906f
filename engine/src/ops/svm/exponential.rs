//! e^x in plain arithmetic, so that the compiler can work on several numbers at once.
//!
//! The way of the Cephes library: x = k ln 2 + r with |r| <= ln 2 / 2, a polynomial for e^r, and
//! 2^k put into the exponent. Within 2 units of the last place.

/// e^x; 0 below the smallest normal number, infinite above the largest, NaN for NaN.
pub(super) fn exp(x: f32) -> f32 {
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    /// Adding this leaves a whole number in the low bits.
    const ROUND: f32 = 12_582_912.0;
    const LOWEST: f32 = -87.336_54;
    const HIGHEST: f32 = 88.722_83;
    // Keeps NaN.
    let within = if x < LOWEST { LOWEST } else { x };
    let within = if within > HIGHEST { HIGHEST } else { within };
    let rounded = within * std::f32::consts::LOG2_E + ROUND;
    let k = rounded - ROUND;
    let r = within - k * LN_2_HIGH - k * LN_2_LOW;
    let mut p = 1.987_569_1e-4;
    for coefficient in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_65, 0.5] {
        p = p * r + coefficient;
    }
    let e = p * r * r + r + 1.0;
    // In two steps, for 2^128 is not a number of its own.
    let power = rounded.to_bits().wrapping_sub(ROUND.to_bits()) as i32;
    let half = power >> 1;
    let scaled = e * two_to_the(half) * two_to_the(power - half);
    if x < LOWEST {
        0.0
    } else if x > HIGHEST {
        f32::INFINITY
    } else {
        scaled
    }
}

/// 2^k for -126 <= k <= 127.
fn two_to_the(k: i32) -> f32 {
    f32::from_bits(((k + 127) as u32) << 23)
}

#[cfg(test)]
mod tests {
    use super::exp;

    #[test]
    fn it_is_as_close_as_floats_are() {
        for step in -87_300..88_700 {
            let x = step as f32 * 1e-3;
            let exact = f64::from(x).exp();
            let error = (f64::from(exp(x)) / exact - 1.0).abs();
            assert!(error < 2.5e-7, "e^{x}: {} for {exact}", exp(x));
        }
    }

    #[test]
    fn the_ends_are_zero_and_infinite() {
        assert_eq!((exp(0.0), exp(-0.0)), (1.0, 1.0));
        assert_eq!((exp(-90.0), exp(f32::NEG_INFINITY)), (0.0, 0.0));
        assert_eq!((exp(89.0), exp(f32::INFINITY)), (f32::INFINITY, f32::INFINITY));
        assert!(exp(f32::NAN).is_nan());
        assert!(exp(88.722_8).is_finite() && exp(-87.336) > 0.0);
    }
}
