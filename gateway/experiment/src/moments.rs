//! Mean and variance in one pass.

/// Welford's running mean and sum of squared deviations.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Moments {
    pub n: f64,
    pub mean: f64,
    squares: f64,
}

impl Moments {
    pub fn add(&mut self, value: f64) {
        self.add_weighted(value, 1.0);
    }

    /// `weight` above 0: how many times the value counts.
    pub fn add_weighted(&mut self, value: f64, weight: f64) {
        self.n += weight;
        let off = value - self.mean;
        self.mean += off * weight / self.n;
        self.squares += weight * off * (value - self.mean);
    }

    /// The mean squared deviation; 0 of nothing.
    pub fn variance(&self) -> f64 {
        if self.n > 0.0 { self.squares / self.n } else { 0.0 }
    }

    /// The sum of squared deviations.
    pub fn squares(&self) -> f64 {
        self.squares
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_pass_is_as_good_as_two() {
        let values: Vec<f64> = (0..1000).map(|n| 1e6 + f64::from(n * n % 17)).collect();
        let mut moments = Moments::default();
        values.iter().for_each(|v| moments.add(*v));
        let mean = values.iter().sum::<f64>() / 1000.0;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 1000.0;
        assert!((moments.mean - mean).abs() < 1e-7);
        assert!((moments.variance() - variance).abs() < 1e-7);
        let mut twice = Moments::default();
        values.iter().for_each(|v| twice.add_weighted(*v, 2.0));
        assert!((twice.variance() - variance).abs() < 1e-7 && twice.n == 2000.0);
        assert_eq!(Moments::default().variance(), 0.0);
    }
}
