//! Figures over runs, and what they may be.

use std::fmt;

use serde::Serialize;

/// Something a scenario has to fulfil.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Bound {
    pub what: String,
    pub wanted: String,
    pub came: String,
    pub met: bool,
}

impl Bound {
    /// A bound and whether it is met.
    pub fn new(
        what: impl Into<String>,
        wanted: impl Into<String>,
        came: impl Into<String>,
        met: bool,
    ) -> Self {
        Self { what: what.into(), wanted: wanted.into(), came: came.into(), met }
    }

    /// A figure of at most `most`; one that could not be had is a miss.
    pub fn at_most(what: impl Into<String>, most: f64, came: Option<f64>) -> Self {
        let told = came.map_or_else(|| "no figure".to_owned(), |came| format!("{came:.2}"));
        Self::new(what, format!("at most {most}"), told, came.is_some_and(|came| came <= most))
    }

    /// A figure of at least `least`; one that could not be had is a miss.
    pub fn at_least(what: impl Into<String>, least: f64, came: Option<f64>) -> Self {
        let told = came.map_or_else(|| "no figure".to_owned(), |came| format!("{came:.1}"));
        Self::new(what, format!("at least {least}"), told, came.is_some_and(|came| came >= least))
    }

    /// Something that should have happened in all of so many runs.
    pub fn in_all(what: impl Into<String>, came: usize, runs: usize) -> Self {
        let all = came == runs && runs > 0;
        Self::new(what, "in every run", format!("{came} of {runs}"), all)
    }

    /// Something that should never have happened.
    pub fn none(what: impl Into<String>, came: u64) -> Self {
        Self::new(what, "none", came.to_string(), came == 0)
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let met = if self.met { "ok    " } else { "MISSED" };
        write!(f, "{met}  {}: {} (wanted {})", self.what, self.came, self.wanted)
    }
}

/// A figure over runs, by nearest rank: one of the values that occurred.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Figure {
    pub median: f64,
    pub p95: f64,
    pub min: f64,
    pub max: f64,
    pub runs: usize,
}

impl Figure {
    /// `None` of nothing.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (&min, &max) = (sorted.first()?, sorted.last()?);
        // At least that share of the values is not greater.
        let at = |share: f64| sorted[((sorted.len() as f64 * share).ceil() as usize).max(1) - 1];
        Some(Self { median: at(0.5), p95: at(0.95), min, max, runs: sorted.len() })
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { median, p95, min, max, runs } = self;
        write!(f, "median {median:.1}, p95 {p95:.1} ({min:.1} to {max:.1}, {runs} runs)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_values_that_occurred() {
        let figure = Figure::of((1..=20).map(f64::from)).unwrap();
        assert_eq!((figure.median, figure.p95), (10.0, 19.0));
        assert_eq!((figure.min, figure.max, figure.runs), (1.0, 20.0, 20));
        let one = Figure::of([7.0]).unwrap();
        assert_eq!((one.median, one.p95), (7.0, 7.0));
        assert_eq!(Figure::of([]), None);
    }

    #[test]
    fn a_missing_figure_and_no_runs_are_misses() {
        assert!(Bound::at_most("x", 6.0, Some(6.0)).met);
        assert!(!Bound::at_most("x", 6.0, Some(6.5)).met);
        assert!(!Bound::at_most("x", 6.0, None).met);
        assert!(Bound::at_least("x", 90.0, Some(90.0)).met);
        assert!(!Bound::at_least("x", 90.0, Some(89.9)).met);
        assert!(!Bound::at_least("x", 90.0, None).met);
        assert!(Bound::in_all("x", 3, 3).met);
        assert!(!Bound::in_all("x", 2, 3).met);
        assert!(!Bound::in_all("x", 0, 0).met);
        assert!(Bound::none("x", 0).met && !Bound::none("x", 1).met);
        let text = Bound::at_most("canary requests", 6.0, Some(9.0)).to_string();
        assert_eq!(text, "MISSED  canary requests: 9.00 (wanted at most 6)");
    }
}
