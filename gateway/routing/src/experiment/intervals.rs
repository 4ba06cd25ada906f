//! Which points each variant owns, and how that changes with the weights.

use std::fmt;

use weighbridge_config::split::{POINTS, percent};

/// The owner of each point of the key space: the variant at this place of the spec.
///
/// A change of weights moves as few points as it can: a variant whose weight does not shrink
/// keeps every point it had, and grows at the ends of its intervals where they are free.
#[derive(Clone, PartialEq, Eq)]
pub struct Intervals {
    owners: Box<[u8]>,
    variants: usize,
}

/// Weights or segments that do not cover the key space exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidIntervals {
    /// Basis points in all.
    pub sum: u64,
}

impl fmt::Display for InvalidIntervals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the weights sum to {}, wanted 100 %", percent(self.sum))
    }
}

impl std::error::Error for InvalidIntervals {}

impl Intervals {
    /// From the weights in basis points: the first variant from point 0, the last up to the
    /// end.
    pub fn new(points: &[u32]) -> Result<Self, InvalidIntervals> {
        let segments: Vec<(u8, u32)> = (0..).zip(points.iter().copied()).collect();
        Self::from_segments(&segments, points.len())
    }

    /// From segments of (variant, points), as [`Intervals::segments`] gave them.
    pub fn from_segments(
        segments: &[(u8, u32)],
        variants: usize,
    ) -> Result<Self, InvalidIntervals> {
        let sum = segments.iter().map(|(_, points)| u64::from(*points)).sum();
        let are_known = segments.iter().all(|(variant, _)| usize::from(*variant) < variants);
        if sum != u64::from(POINTS) || !are_known {
            return Err(InvalidIntervals { sum });
        }
        let owners = segments
            .iter()
            .flat_map(|(variant, points)| std::iter::repeat_n(*variant, *points as usize));
        Ok(Self { owners: owners.collect(), variants })
    }

    /// With new weights in basis points, moving the fewest points.
    pub fn reweighted(&self, points: &[u32]) -> Result<Self, InvalidIntervals> {
        let sum = points.iter().map(|p| u64::from(*p)).sum();
        if sum != u64::from(POINTS) || points.len() != self.variants {
            return Err(InvalidIntervals { sum });
        }
        let had = self.points();
        let mut owners: Vec<Option<u8>> = self.owners.iter().copied().map(Some).collect();
        let changes = || (0u8..).zip(had.iter().zip(points));
        for (variant, (had, keeps)) in changes() {
            give_up(&mut owners, variant, had.saturating_sub(*keeps));
        }
        for (variant, (had, wants)) in changes() {
            grow(&mut owners, variant, wants.saturating_sub(*had));
        }
        // Each point that was given up has been taken: both sums are the whole.
        Ok(Self { owners: owners.into_iter().flatten().collect(), variants: self.variants })
    }

    /// The variant that owns `point`; points past the end belong to the last owner.
    pub fn variant_at(&self, point: u32) -> usize {
        let last = self.owners.len() - 1;
        usize::from(self.owners[(point as usize).min(last)])
    }

    /// The weight of each variant in basis points.
    pub fn points(&self) -> Vec<u32> {
        let mut points = vec![0; self.variants];
        for owner in &self.owners {
            points[usize::from(*owner)] += 1;
        }
        points
    }

    /// Runs of (variant, points) from point 0 upwards.
    pub fn segments(&self) -> Vec<(u8, u32)> {
        let runs = self.owners.chunk_by(|one, next| one == next);
        runs.map(|run| (run[0], run.len() as u32)).collect()
    }
}

/// Frees `count` points of `variant`: at the low end for who owns the last point, else at the
/// high end, so that neighbours grow into each other.
fn give_up(owners: &mut [Option<u8>], variant: u8, count: u32) {
    let owns_last = owners.last() == Some(&Some(variant));
    let mut own: Vec<usize> = (0..owners.len()).filter(|p| owners[*p] == Some(variant)).collect();
    if !owns_last {
        own.reverse();
    }
    for point in own.into_iter().take(count as usize) {
        owners[point] = None;
    }
}

/// Takes `count` free points for `variant`, first those at the ends of what it has.
fn grow(owners: &mut [Option<u8>], variant: u8, count: u32) {
    let mut left = count;
    for point in 1..owners.len() {
        if left > 0 && owners[point].is_none() && owners[point - 1] == Some(variant) {
            owners[point] = Some(variant);
            left -= 1;
        }
    }
    for point in (0..owners.len() - 1).rev() {
        if left > 0 && owners[point].is_none() && owners[point + 1] == Some(variant) {
            owners[point] = Some(variant);
            left -= 1;
        }
    }
    for owner in owners.iter_mut().filter(|o| o.is_none()).take(left as usize) {
        *owner = Some(variant);
    }
}

impl fmt::Debug for Intervals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Intervals").field(&self.segments()).finish()
    }
}
