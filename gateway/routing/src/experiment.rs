//! Which variant of an experiment a unit gets.
//!
//! Three points of a unit decide, each hashed with a salt of its own, so that they are
//! independent of each other, of those of other experiments and of the route's split:
//!
//! | Point | Salt | Decides |
//! |---|---|---|
//! | layer | `layer/NAME` | whether the unit is in the experiment's part of its layer |
//! | holdout | `holdout/ID` | whether stable answers it for comparison |
//! | variant | `experiment/ID` | its variant |
//!
//! An experiment that is started again has another id: its units are drawn afresh.

mod intervals;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use intervals::{Intervals, InvalidIntervals};

use weighbridge_config::split::POINTS;

use crate::assign::point_of_key;

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit<'a> {
    Key(&'a str),
    /// The request names no unit: a fresh random number stands for it.
    Missing(u64),
}

/// Where a unit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In another part of the layer: the route decides as if there were no experiment.
    Outside,
    /// Answered by stable, for comparison.
    Holdout,
    /// In the variant at this place of the spec.
    Variant(usize, Chosen),
}

/// What chose a variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chosen {
    /// The unit's point. Only these are analysed.
    Unit,
    /// A random point, since the request names no unit.
    Request,
    /// The spec's list of overrides.
    Override,
    /// The request itself.
    Forced,
}

/// The part of a layer that an experiment has for itself: points `from` up to `from + share`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice {
    pub from: u32,
    pub share: u32,
}

impl Slice {
    fn holds(self, point: u32) -> bool {
        (self.from..self.from.saturating_add(self.share)).contains(&point)
    }

    /// True when the two have a point in common.
    pub fn overlaps(self, other: Self) -> bool {
        self.from < other.from.saturating_add(other.share)
            && other.from < self.from.saturating_add(self.share)
    }

    /// The first part of a layer with `share` points that none of `taken` touches.
    pub fn first_free(share: u32, taken: &[Self]) -> Option<Self> {
        let ends = taken.iter().map(|slice| slice.from.saturating_add(slice.share));
        let mut starts: Vec<u32> = std::iter::once(0).chain(ends).collect();
        starts.sort_unstable();
        starts.into_iter().map(|from| Self { from, share }).find(|slice| {
            slice.from.saturating_add(share) <= POINTS && !taken.iter().any(|t| t.overlaps(*slice))
        })
    }
}

/// The assignment table of one experiment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    salt: String,
    holdout_salt: String,
    /// In basis points.
    holdout: u32,
    layer: Option<(String, Slice)>,
    intervals: Intervals,
    /// Units that always get the variant at this place.
    overrides: BTreeMap<String, usize>,
}

impl Assignment {
    /// The table of the experiment with this id. `holdout` is in basis points; places of
    /// `overrides` are those of `intervals`.
    pub fn new(
        id: &str,
        layer: Option<(&str, Slice)>,
        holdout: u32,
        intervals: Intervals,
        overrides: BTreeMap<String, usize>,
    ) -> Self {
        Self {
            salt: format!("experiment/{id}"),
            holdout_salt: format!("holdout/{id}"),
            holdout,
            layer: layer.map(|(name, slice)| (format!("layer/{name}"), slice)),
            intervals,
            overrides,
        }
    }

    /// Where a unit is; `forced` is the variant that the request itself asks for.
    pub fn place(&self, unit: Unit<'_>, forced: Option<usize>) -> Place {
        if let Some(place) = forced {
            return Place::Variant(place, Chosen::Forced);
        }
        let coin;
        let (key, chosen) = match unit {
            Unit::Key(key) => {
                if let Some(place) = self.overrides.get(key) {
                    return Place::Variant(*place, Chosen::Override);
                }
                (key.as_bytes(), Chosen::Unit)
            }
            Unit::Missing(drawn) => {
                coin = drawn.to_le_bytes();
                (&coin[..], Chosen::Request)
            }
        };
        if let Some((salt, slice)) = &self.layer
            && !slice.holds(point_of_key(salt, key))
        {
            return Place::Outside;
        }
        if self.holdout > 0 && point_of_key(&self.holdout_salt, key) < self.holdout {
            return Place::Holdout;
        }
        Place::Variant(self.intervals.variant_at(point_of_key(&self.salt, key)), chosen)
    }

    /// Who owns which points.
    pub fn intervals(&self) -> &Intervals {
        &self.intervals
    }
}
