//! How large errors are, over many pairs: a histogram whose buckets grow by a factor.

use serde::{Deserialize, Serialize};

/// Buckets of a factor of ten: a quantile is known within a factor of 1.8.
const PER_DECADE: i32 = 4;
/// Errors below this count as it.
const SMALLEST_DECADE: i32 = -12;
const DECADES: i32 = 24;
const BUCKETS: usize = (PER_DECADE * DECADES) as usize;

/// The sizes of errors.
#[derive(Debug, Clone)]
pub struct Spread {
    zeros: u64,
    buckets: [u64; BUCKETS],
    infinite: u64,
    largest: f64,
}

/// Quantiles of errors. `null` where one of the two answers is no number: such an error has no
/// size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = ErrorQuantiles)]
pub struct Quantiles {
    pub p50: Option<f64>,
    pub p90: Option<f64>,
    pub p99: Option<f64>,
    pub max: Option<f64>,
}

impl Default for Spread {
    fn default() -> Self {
        Self { zeros: 0, buckets: [0; BUCKETS], infinite: 0, largest: 0.0 }
    }
}

impl Spread {
    /// Counts one error, of 0 or more.
    pub fn add(&mut self, error: f64) {
        self.largest = self.largest.max(error);
        if error == 0.0 {
            self.zeros += 1;
        } else if !error.is_finite() {
            self.infinite += 1;
        } else {
            let place = (error.log10() - f64::from(SMALLEST_DECADE)) * f64::from(PER_DECADE);
            // Floats saturate: what is too small goes to the first bucket.
            self.buckets[(place as usize).min(BUCKETS - 1)] += 1;
        }
    }

    /// Quantiles, as the upper end of their bucket and at most the largest error.
    pub fn quantiles(&self) -> Quantiles {
        let largest = Some(self.largest).filter(|e| e.is_finite());
        Quantiles { p50: self.at(0.5), p90: self.at(0.9), p99: self.at(0.99), max: largest }
    }

    fn at(&self, quantile: f64) -> Option<f64> {
        let all = self.zeros + self.buckets.iter().sum::<u64>() + self.infinite;
        let wanted = (quantile * all as f64).ceil() as u64;
        let mut seen = self.zeros;
        if seen >= wanted {
            return Some(0.0);
        }
        for (place, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                let exponent = (place as f64 + 1.0) / f64::from(PER_DECADE);
                let upper = 10f64.powf(exponent + f64::from(SMALLEST_DECADE));
                return Some(upper.min(self.largest));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn errors_without_a_size_are_no_numbers() {
        let mut spread = Spread::default();
        assert_eq!(spread.quantiles().p99, Some(0.0));
        for error in [0.0, 0.0, 1e-3, f64::INFINITY] {
            spread.add(error);
        }
        let found = spread.quantiles();
        assert_eq!((found.p50, found.p99, found.max), (Some(0.0), None, None));
        let json = serde_json::to_string(&found).unwrap();
        assert_eq!(serde_json::from_str::<Quantiles>(&json).unwrap(), found);
    }

    proptest! {
        #[test]
        fn a_quantile_lies_within_a_bucket_of_the_true_one(
            mut errors in proptest::collection::vec(-11.0f64..11.0, 1..200)
        ) {
            let mut spread = Spread::default();
            errors.iter().for_each(|e| spread.add(10f64.powf(*e)));
            errors.sort_by(f64::total_cmp);
            let found = spread.quantiles();
            for (quantile, came) in [(0.5, found.p50), (0.9, found.p90), (0.99, found.p99)] {
                let place = (quantile * errors.len() as f64).ceil() as usize - 1;
                let (wanted, came) = (10f64.powf(errors[place]), came.unwrap());
                prop_assert!((wanted * 0.999..wanted * 1.8).contains(&came), "{came} for {wanted}");
            }
            prop_assert!(found.max.unwrap() >= found.p99.unwrap());
        }
    }
}
