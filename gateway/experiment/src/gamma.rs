//! The logarithm of the gamma function.

/// `ln Γ(x)` for `x > 0`, with a relative error below 1e-13: Stirling's series, moved up to
/// where it converges.
pub(crate) fn ln_gamma(x: f64) -> f64 {
    const FROM: f64 = 16.0;
    const TERMS: [f64; 6] =
        [1.0 / 12.0, -1.0 / 360.0, 1.0 / 1260.0, -1.0 / 1680.0, 1.0 / 1188.0, -691.0 / 360_360.0];
    let (mut at, mut below) = (x, 1.0);
    while at < FROM {
        below *= at;
        at += 1.0;
    }
    let step = 1.0 / (at * at);
    let series = TERMS.iter().rev().fold(0.0, |sum, term| sum * step + term) / at;
    (at - 0.5) * at.ln() - at + 0.5 * (2.0 * std::f64::consts::PI).ln() + series - below.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From Python's `math.lgamma`.
    #[test]
    fn known_values() {
        for (x, wanted) in [
            (1e-3, 6.907_178_885_383_853),
            (0.1, 2.252_712_651_734_206),
            (0.5, 0.572_364_942_924_700_1),
            (1.0, 0.0),
            (2.5, 0.284_682_870_472_919_2),
            (15.999, 27.896_530_402_760_15),
            (16.0, 27.899_271_383_840_89),
            (50.0, 144.565_743_946_344_9),
            (1450.0, 9_102.291_647_937_96),
            (1e6, 12_815_504.569_147_612),
        ] {
            let off = (ln_gamma(x) - wanted).abs();
            assert!(off <= 1e-12 * wanted.abs().max(1.0), "{x}: {} wanted {wanted}", ln_gamma(x));
        }
    }
}
