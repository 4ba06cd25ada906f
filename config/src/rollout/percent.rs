//! A share of the traffic.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::split::{POINTS, percent};

/// A percentage with at most two decimals, held in basis points. In documents a number: `5`,
/// `0.25`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = f64, minimum = 0, maximum = 100, example = 5))]
pub struct Percent(u32);

impl Percent {
    /// A whole percentage.
    pub const fn whole(percent: u32) -> Self {
        Self(percent * 100)
    }

    /// From basis points.
    pub const fn points(points: u32) -> Self {
        Self(points)
    }

    /// As basis points, as in a route.
    pub const fn as_points(self) -> u32 {
        self.0
    }

    /// As a share between 0 and 1.
    pub fn share(self) -> f64 {
        f64::from(self.0) / f64::from(POINTS)
    }
}

impl TryFrom<f64> for Percent {
    type Error = String;

    fn try_from(number: f64) -> Result<Self, String> {
        let points = (number * 100.0).round();
        let is_exact = (points / 100.0 - number).abs() < 1e-9;
        if is_exact && (0.0..=f64::from(POINTS)).contains(&points) {
            // In range: checked on the line above.
            return Ok(Self(points as u32));
        }
        Err(format!("{number}: wanted a percentage from 0 to 100 with at most two decimals"))
    }
}

impl From<Percent> for f64 {
    fn from(of: Percent) -> f64 {
        f64::from(of.0) / 100.0
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&percent(u64::from(self.0)))
    }
}
