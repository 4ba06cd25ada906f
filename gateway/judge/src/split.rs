//! Whether the counted requests are split as their coins were drawn: outcomes of one variant
//! that get lost would make any comparison a lie.

use crate::counts::Pair;

/// The prior weight of the drawn split, in requests.
const PRIOR: f64 = 1000.0;

/// log E against "each request was the canary's with probability `share`": a beta mixture.
pub(crate) fn log_e(share: f64, n: Pair<u64>) -> f64 {
    let (canary, stable) = (n.canary as f64, n.stable as f64);
    let (a, b) = (PRIOR * share, PRIOR * (1.0 - share));
    let likelihood = canary * share.ln() + stable * (1.0 - share).ln();
    ln_beta(a + canary, b + stable) - ln_beta(a, b) - likelihood
}

fn ln_beta(a: f64, b: f64) -> f64 {
    ln_gamma(a) + ln_gamma(b) - ln_gamma(a + b)
}

/// ln Γ(x) for x > 0: Stirling's series after moving x to at least 10.
fn ln_gamma(x: f64) -> f64 {
    const SERIES: [f64; 6] =
        [1.0 / 12.0, -1.0 / 360.0, 1.0 / 1260.0, -1.0 / 1680.0, 1.0 / 1188.0, -691.0 / 360_360.0];
    let mut below = 0.0;
    let mut x = x;
    while x < 10.0 {
        below += x.ln();
        x += 1.0;
    }
    let square = x * x;
    let mut power = x;
    let mut series = 0.0;
    for term in SERIES {
        series += term / power;
        power *= square;
    }
    (x - 0.5) * x.ln() - x + 0.5 * (2.0 * std::f64::consts::PI).ln() + series - below
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ln_gamma_is_that_of_the_tables() {
        // Python: math.lgamma.
        let known = [
            (0.1, 2.2527126517342055),
            (0.5, 0.5723649429247004),
            (1.0, 0.0),
            (2.0, 0.0),
            (9.5, 11.689333420797269),
            (10.0, 12.801827480081467),
            (1000.0, 5905.220423209181),
            (1e9, 19723265827.503716),
        ];
        for (x, wanted) in known {
            let off = (ln_gamma(x) - wanted).abs();
            assert!(off <= 1e-12 * wanted.abs().max(1.0), "ln Γ({x}) is off by {off}");
        }
    }
}
