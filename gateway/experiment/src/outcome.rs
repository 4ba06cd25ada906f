//! What a metric says of a unit.

use weighbridge_config::experiment::{Metric, MetricKind, PerUnit};

/// A unit that was exposed, and what was reported about it within the metric's window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Observation {
    /// The place of its variant in the spec.
    pub variant: usize,
    /// The probability with which it got this variant, above 0 and at most 1.
    pub share: f64,
    pub epoch: u64,
    /// When it was exposed first: Unix milliseconds.
    pub at: u64,
    /// How many values were reported.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
}

/// What a metric says of a unit at some moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Outcome {
    /// Its window has not passed: anything said now could still change.
    Pending,
    /// Nothing was reported, and nothing is not zero.
    Missing,
    Value(f64),
}

impl Outcome {
    /// What `metric` says of the unit at `now` (Unix milliseconds).
    pub fn of(metric: &Metric, unit: &Observation, now: u64) -> Self {
        let window = u64::try_from(metric.window.as_millis()).unwrap_or(u64::MAX);
        if unit.at.saturating_add(window) > now {
            return Self::Pending;
        }
        match (metric.kind, metric.per_unit.unwrap_or_default()) {
            (MetricKind::Binary, _) => Self::Value(if unit.sum > 0.0 { 1.0 } else { 0.0 }),
            (MetricKind::Real, PerUnit::Sum) => Self::Value(unit.sum),
            (MetricKind::Real, PerUnit::Mean) if unit.count == 0 => Self::Missing,
            (MetricKind::Real, PerUnit::Mean) => Self::Value(unit.sum / unit.count as f64),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use weighbridge_config::experiment::Better;

    use super::*;

    fn metric(kind: MetricKind, per_unit: Option<PerUnit>) -> Metric {
        let window = Duration::from_millis(100);
        let name = "m".to_owned();
        Metric { name, kind, better: Better::Up, window, margin: 0.0, per_unit }
    }

    #[test]
    fn missing_is_zero_only_where_it_means_so_and_only_after_the_window() {
        let unit =
            |count, sum| Observation { variant: 0, share: 0.5, epoch: 0, at: 50, count, sum };
        let binary = metric(MetricKind::Binary, None);
        let mean = metric(MetricKind::Real, None);
        let sum = metric(MetricKind::Real, Some(PerUnit::Sum));
        for metric in [&binary, &mean, &sum] {
            assert_eq!(Outcome::of(metric, &unit(2, 3.0), 149), Outcome::Pending);
        }
        assert_eq!(Outcome::of(&binary, &unit(2, 2.0), 150), Outcome::Value(1.0));
        assert_eq!(Outcome::of(&binary, &unit(2, 0.0), 150), Outcome::Value(0.0));
        assert_eq!(Outcome::of(&binary, &unit(0, 0.0), 150), Outcome::Value(0.0));
        assert_eq!(Outcome::of(&mean, &unit(0, 0.0), 150), Outcome::Missing);
        assert_eq!(Outcome::of(&mean, &unit(2, 3.0), 150), Outcome::Value(1.5));
        assert_eq!(Outcome::of(&sum, &unit(0, 0.0), 150), Outcome::Value(0.0));
        assert_eq!(Outcome::of(&sum, &unit(2, 3.0), 150), Outcome::Value(3.0));
    }
}
