//! An asymptotic confidence sequence: an interval around a running mean that covers the true
//! one at all times at once, however often somebody looks (Waudby-Smith, Arbour, Sinha, Kennedy
//! and Ramdas, "Time-uniform central limit theory and asymptotic confidence sequences", 2024,
//! the form that allows the mean and the variance to drift).

/// `ρ²`: makes the interval narrowest after `n0` observations of variance 1.
pub fn rho_squared(alpha: f64, n0: f64) -> f64 {
    let twice = -2.0 * alpha.ln();
    (twice + twice.ln() + 1.0) / n0
}

/// Half the width of the interval after `n` observations with mean squared deviation
/// `variance`.
pub fn half_width(n: f64, variance: f64, rho_squared: f64, alpha: f64) -> f64 {
    let grown = n * variance * rho_squared + 1.0;
    (grown / (n * n * rho_squared) * (grown / (alpha * alpha)).ln()).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed with Python from the formulas of `docs/experiments.md`.
    #[test]
    fn golden_widths() {
        for (alpha, n0, wanted) in [
            (0.05, 1e3, 0.008_781_800_428_032_876),
            (0.05, 5e3, 0.001_756_360_085_606_575),
            (0.01, 5e3, 0.002_486_133_435_668_805_5),
            (0.2, 1e5, 5.387_908_000_755_257e-5),
        ] {
            assert!((rho_squared(alpha, n0) / wanted - 1.0).abs() < 1e-13, "{alpha} {n0}");
        }
        for (n, variance, alpha, n0, wanted) in [
            (200.0, 1.0, 0.05, 1e3, 0.234_456_301_561_170_28),
            (1000.0, 1.0, 0.05, 1e3, 0.095_989_243_287_204_1),
            (5000.0, 1.0, 0.05, 5e3, 0.042_927_694_619_790_75),
            (5000.0, 0.19, 0.05, 5e3, 0.020_585_905_654_755_658),
            (100_000.0, 4.0, 0.01, 5e3, 0.025_400_584_301_005_225),
            (1e6, 1e-4, 0.05, 1e3, 3.763_256_346_384_13e-5),
        ] {
            let width = half_width(n, variance, rho_squared(alpha, n0), alpha);
            assert!((width / wanted - 1.0).abs() < 1e-12, "{n} {variance}: {width}");
        }
    }

    #[test]
    fn it_is_narrowest_in_standard_errors_around_n0_and_shrinks_with_n() {
        let (alpha, n0) = (0.05, 5000.0);
        let rho_squared = rho_squared(alpha, n0);
        let errors = |n: f64| half_width(n, 1.0, rho_squared, alpha) * n.sqrt();
        assert!(errors(n0) < errors(n0 / 4.0) && errors(n0) < errors(n0 * 4.0));
        assert!(errors(n0) < 3.1, "{}", errors(n0));
        let mut last = f64::INFINITY;
        for n in [10.0, 100.0, 1e3, 1e4, 1e5, 1e6] {
            let width = half_width(n, 1.0, rho_squared, alpha);
            assert!(width < last);
            last = width;
        }
    }
}
