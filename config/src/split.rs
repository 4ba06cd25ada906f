//! The weights of a route, and which part of the key space each version owns.
//!
//! A key's hash falls on one of [`POINTS`] points (a basis point of traffic each). A split
//! holds contiguous segments of points, each owned by a version. A change of weights moves as
//! few points as it can: a version whose weight does not shrink keeps every point it had, so
//! raising a canary never moves a key away from it, and the keys of a third version stay where
//! they are. That is why the segments, and not only the weights, are part of a route.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::names::Version;

/// The number of points in the key space: weights are basis points, 1/100 of a percent.
pub const POINTS: u32 = 10_000;

/// `weight` points from the end of the previous segment, owned by `version`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Segment {
    pub version: Version,
    /// Length in basis points.
    pub weight: u32,
}

/// Why a set of weights is not a split.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    #[error("the weights sum to {}, wanted 100 %", percent(*.0))]
    Sum(u64),
    #[error("version {0} is named twice")]
    Twice(Version),
    #[error(
        "\"{0}\" is not VERSION=PERCENT, such as 2=5 or 2=0.25 (percent, at most two decimals)"
    )]
    Syntax(String),
}

/// Basis points as a percentage, such as `5%` or `0.25%`.
pub fn percent(points: u64) -> String {
    match (points / 100, points % 100) {
        (whole, 0) => format!("{whole}%"),
        (whole, part) if part % 10 == 0 => format!("{whole}.{}%", part / 10),
        (whole, part) => format!("{whole}.{part:02}%"),
    }
}

/// A division of all traffic between versions. Weights sum to [`POINTS`]; no weight is zero.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Segment>", into = "Vec<Segment>")]
pub struct Split {
    segments: Vec<Segment>,
}

impl Split {
    /// All traffic to one version.
    pub fn all_to(version: Version) -> Self {
        let segments = vec![Segment { version, weight: POINTS }];
        Self { segments }
    }

    /// A split from nothing: the highest version first from point 0, the lowest last.
    pub fn new(weights: &BTreeMap<Version, u32>) -> Result<Self, SplitError> {
        check_sum(weights)?;
        let segments = weights
            .iter()
            .rev()
            .filter(|(_, weight)| **weight > 0)
            .map(|(version, weight)| Segment { version: *version, weight: *weight })
            .collect();
        Ok(Self { segments })
    }

    /// The split with new weights that moves the fewest points.
    ///
    /// Versions that lose weight give points up, the owner of the last point from its low end
    /// and the others from their high end, so that a canary grows from point 0 and shrinks back
    /// to it; versions that gain take what was given up, low points first, the highest version
    /// first.
    pub fn reweighted(&self, weights: &BTreeMap<Version, u32>) -> Result<Self, SplitError> {
        check_sum(weights)?;
        let old = self.weights();
        let anchor = self.segments.last().map(|s| s.version);
        let mut owners = self.owners();
        for (version, had) in &old {
            let keeps = weights.get(version).copied().unwrap_or(0);
            let mut gives = had.saturating_sub(keeps);
            let mut points: Vec<usize> = (0..owners.len()).collect();
            if Some(*version) != anchor {
                points.reverse();
            }
            for point in points {
                if gives == 0 {
                    break;
                }
                if owners[point] == Some(*version) {
                    owners[point] = None;
                    gives -= 1;
                }
            }
        }
        let mut free =
            (0..owners.len()).filter(|p| owners[*p].is_none()).collect::<Vec<_>>().into_iter();
        for (version, weight) in weights.iter().rev() {
            let had = old.get(version).copied().unwrap_or(0);
            for point in free.by_ref().take(weight.saturating_sub(had) as usize) {
                owners[point] = Some(*version);
            }
        }
        Ok(Self { segments: segments_of(owners.into_iter().flatten()) })
    }

    /// The version that owns `point`; points past the end belong to the last segment.
    pub fn version_at(&self, point: u32) -> Version {
        let mut end = 0;
        for segment in &self.segments {
            end += segment.weight;
            if point < end {
                return segment.version;
            }
        }
        self.segments[self.segments.len() - 1].version
    }

    /// The weight of each version in basis points.
    pub fn weights(&self) -> BTreeMap<Version, u32> {
        let mut weights = BTreeMap::new();
        for segment in &self.segments {
            *weights.entry(segment.version).or_insert(0) += segment.weight;
        }
        weights
    }

    /// The segments from point 0 upwards.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// True when the split sends traffic to `version`.
    pub fn includes(&self, version: Version) -> bool {
        self.segments.iter().any(|s| s.version == version)
    }

    /// The version with the most traffic; of equals the older.
    pub fn stable(&self) -> Version {
        let weights = self.weights();
        let first = self.segments[0].version;
        weights
            .iter()
            .rev()
            .max_by_key(|(_, weight)| **weight)
            .map_or(first, |(version, _)| *version)
    }

    /// The newest version besides the stable one, when traffic is split.
    pub fn canary(&self) -> Option<Version> {
        let stable = self.stable();
        self.weights().into_keys().rev().find(|v| *v != stable)
    }

    fn owners(&self) -> Vec<Option<Version>> {
        self.segments
            .iter()
            .flat_map(|s| std::iter::repeat_n(Some(s.version), s.weight as usize))
            .collect()
    }
}

impl TryFrom<Vec<Segment>> for Split {
    type Error = SplitError;

    fn try_from(segments: Vec<Segment>) -> Result<Self, SplitError> {
        let sum = segments.iter().map(|s| u64::from(s.weight)).sum::<u64>();
        if sum != u64::from(POINTS) {
            return Err(SplitError::Sum(sum));
        }
        let segments = segments.into_iter().filter(|s| s.weight > 0).collect();
        Ok(Self { segments })
    }
}

impl From<Split> for Vec<Segment> {
    fn from(split: Split) -> Self {
        split.segments
    }
}

/// For people: `1=95% 2=5%`.
impl std::fmt::Display for Split {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (place, (version, weight)) in self.weights().into_iter().enumerate() {
            let gap = if place == 0 { "" } else { " " };
            write!(f, "{gap}{version}={}", percent(u64::from(weight)))?;
        }
        Ok(())
    }
}

/// Reads `["1=95", "2=5"]`: percentages with at most two decimals, into basis points.
pub fn parse_weights<S: AsRef<str>>(words: &[S]) -> Result<BTreeMap<Version, u32>, SplitError> {
    let mut weights = BTreeMap::new();
    for word in words.iter().map(AsRef::as_ref) {
        let syntax = || SplitError::Syntax(word.chars().take(80).collect());
        let (version, share) = word.split_once('=').ok_or_else(syntax)?;
        let version = version.parse::<Version>().map_err(|_| syntax())?;
        let weight = parse_percent(share).ok_or_else(syntax)?;
        if weights.insert(version, weight).is_some() {
            return Err(SplitError::Twice(version));
        }
    }
    check_sum(&weights)?;
    Ok(weights)
}

/// `5`, `0.25` or `5%` as basis points; `None` when it is anything else or above 100 %.
pub fn parse_percent(text: &str) -> Option<u32> {
    let text = text.strip_suffix('%').unwrap_or(text);
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(part) || whole.len() > 3 || part.len() > 2 {
        return None;
    }
    let hundredths = part.parse::<u32>().ok()? * if part.len() == 1 { 10 } else { 1 };
    let points = whole.parse::<u32>().ok()? * 100 + hundredths;
    (points <= POINTS).then_some(points)
}

fn check_sum(weights: &BTreeMap<Version, u32>) -> Result<(), SplitError> {
    let sum = weights.values().map(|w| u64::from(*w)).sum::<u64>();
    if sum == u64::from(POINTS) { Ok(()) } else { Err(SplitError::Sum(sum)) }
}

fn segments_of(owners: impl Iterator<Item = Version>) -> Vec<Segment> {
    let mut segments: Vec<Segment> = Vec::new();
    for version in owners {
        match segments.last_mut() {
            Some(last) if last.version == version => last.weight += 1,
            _ => segments.push(Segment { version, weight: 1 }),
        }
    }
    segments
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn v(n: u32) -> Version {
        Version::try_from(n).unwrap()
    }

    fn weights(pairs: &[(u32, u32)]) -> BTreeMap<Version, u32> {
        pairs.iter().map(|(n, w)| (v(*n), *w)).collect()
    }

    #[test]
    fn a_canary_starts_at_point_zero_and_grows_upwards() {
        let split = Split::all_to(v(1)).reweighted(&weights(&[(1, 9500), (2, 500)])).unwrap();
        assert_eq!(split.version_at(0), v(2));
        assert_eq!(split.version_at(499), v(2));
        assert_eq!(split.version_at(500), v(1));
        assert_eq!(split.version_at(9999), v(1));
        assert_eq!(split.version_at(u32::MAX), v(1));
        let split = split.reweighted(&weights(&[(1, 4000), (2, 6000)])).unwrap();
        assert_eq!(split.segments().len(), 2);
        assert_eq!(split.version_at(5999), v(2));
        let split = split.reweighted(&weights(&[(1, 9900), (2, 100)])).unwrap();
        assert_eq!(split.to_string(), "1=99% 2=1%");
        assert_eq!((split.version_at(99), split.version_at(100)), (v(2), v(1)));
    }

    #[test]
    fn stable_and_canary_follow_from_the_weights() {
        let split = Split::new(&weights(&[(1, 9000), (2, 500), (3, 500)])).unwrap();
        assert_eq!((split.stable(), split.canary()), (v(1), Some(v(3))));
        let even = Split::new(&weights(&[(1, 5000), (2, 5000)])).unwrap();
        assert_eq!((even.stable(), even.canary()), (v(1), Some(v(2))));
        assert_eq!(Split::all_to(v(4)).canary(), None);
    }

    #[test]
    fn percentages_are_read_to_the_basis_point() {
        let parsed = parse_weights(&["1=99.75", "2=0.25%"]).unwrap();
        assert_eq!(parsed, weights(&[(1, 9975), (2, 25)]));
        for bad in ["1", "1=", "1=x", "x=5", "1=-5", "1=1e1", "1=0.001", "1=101", "0=100", "1=.5"] {
            assert!(matches!(parse_weights(&[bad]), Err(SplitError::Syntax(_))), "{bad}");
        }
        assert_eq!(parse_weights(&["1=50", "1=50"]), Err(SplitError::Twice(v(1))));
        assert_eq!(parse_weights(&["1=50", "2=5"]), Err(SplitError::Sum(5500)));
        assert_eq!(percent(9975), "99.75%");
        assert_eq!(percent(50), "0.5%");
    }

    #[test]
    fn stored_segments_must_cover_everything() {
        assert!(serde_json::from_str::<Split>(r#"[{"version":1,"weight":9999}]"#).is_err());
        assert!(serde_json::from_str::<Split>(r#"[]"#).is_err());
        let split = serde_json::from_str::<Split>(r#"[{"version":1,"weight":10000}]"#).unwrap();
        assert_eq!(split, Split::all_to(v(1)));
    }

    fn any_weights() -> impl Strategy<Value = BTreeMap<Version, u32>> {
        proptest::collection::vec(0u32..=POINTS, 0..4).prop_map(|mut cuts| {
            cuts.extend([0, POINTS]);
            cuts.sort_unstable();
            let shares = cuts.windows(2).map(|w| w[1] - w[0]);
            shares.enumerate().map(|(i, w)| (v(i as u32 + 1), w)).collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn versions_that_do_not_shrink_keep_every_point(
            from in any_weights(), to in any_weights(), then in any_weights()
        ) {
            let mut before = Split::new(&from).unwrap();
            for target in [&to, &then] {
                let after = before.reweighted(target).unwrap();
                let wanted: BTreeMap<_, _> =
                    target.iter().filter(|(_, w)| **w > 0).map(|(v, w)| (*v, *w)).collect();
                prop_assert_eq!(after.weights(), wanted);
                let old = before.weights();
                for point in 0..POINTS {
                    let owner = before.version_at(point);
                    let keeps = target.get(&owner).copied().unwrap_or(0) >= old[&owner];
                    if keeps {
                        prop_assert_eq!(after.version_at(point), owner);
                    }
                }
                before = after;
            }
        }
    }
}
