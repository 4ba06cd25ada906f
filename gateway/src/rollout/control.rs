//! Whose answer times a canary's are compared with.
//!
//! Beside 95 % of the traffic, the 5 % of a canary meet smaller batches and colder caches than
//! the others, even if it is the same version. So a second copy of stable, the control, is given
//! as many requests as the canary, drawn by chance from those of stable, and they go the same
//! way. What then differs between the two is the version. (A matched baseline, as in Graff and
//! Sanden, *Automated Canary Analysis at Netflix with Kayenta*, 2018, within one process.)

use std::sync::Arc;

use crate::serving::loaded::LoadedVersion;

/// The requests of stable whose answer times are compared.
#[derive(Debug, Clone)]
pub enum Control {
    /// Those that a second copy of stable answers.
    Copy {
        version: Arc<LoadedVersion>,
        /// The share of stable's requests that it gets, from 0 to 1.
        share: f64,
    },
    /// The copy is not there yet: none.
    Awaited,
    /// All.
    Stable,
}

impl Control {
    /// The second copy, if there is one.
    pub fn copy(&self) -> Option<&Arc<LoadedVersion>> {
        match self {
            Self::Copy { version, .. } => Some(version),
            Self::Awaited | Self::Stable => None,
        }
    }

    /// True when there are answer times to compare with: a copy that is run no more gives none.
    pub fn is_there(&self) -> bool {
        match self {
            Self::Copy { version, .. } => version.quarantine().is_none(),
            Self::Awaited => false,
            Self::Stable => true,
        }
    }

    /// True when answer times that are compared with `other` mean the same.
    pub fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Copy { version, .. }, Self::Copy { version: other, .. }) => {
                Arc::ptr_eq(version, other)
            }
            (Self::Awaited, Self::Awaited) | (Self::Stable, Self::Stable) => true,
            _ => false,
        }
    }

    /// Whether a request of stable is one of them. Requests of one sticky key (`unit` is its
    /// hash) stay together, as they do on the canary.
    pub fn takes(&self, unit: Option<u64>) -> bool {
        match self {
            Self::Stable => true,
            Self::Awaited => false,
            Self::Copy { share, .. } => {
                // The hash itself has decided already between canary and stable.
                let coin = unit.map_or_else(rand::random::<f64>, |unit| uniform(mixed(unit)));
                coin < *share && self.is_there()
            }
        }
    }
}

/// Another hash of a hash: the finalizer of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
fn mixed(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

/// A number from 0 up to 1 from the upper 53 bits.
fn uniform(hash: u64) -> f64 {
    (hash >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use weighbridge_config::split::POINTS;
    use weighbridge_routing::hash_of_key;

    use super::*;
    use crate::serving::testing::{Echo, version as loaded};

    #[test]
    fn a_copy_takes_its_share_of_keys_whatever_their_hash_and_the_same_ones_each_time() {
        let control =
            Control::Copy { version: loaded(Arc::new(Echo::default()), false), share: 0.1 };
        let hashes = (0..100_000).map(|n| hash_of_key("m", format!("user-{n}").as_bytes()));
        // Stable has the upper 95 % of the hashes; look at each fifth of them.
        let (mut all, mut taken) = ([0_u32; 5], [0_u32; 5]);
        for hash in hashes {
            let place = (u128::from(hash) * 100) >> 64;
            if place < 5 {
                continue;
            }
            let fifth = (place as usize - 5) / 19;
            all[fifth] += 1;
            taken[fifth] += u32::from(control.takes(Some(hash)));
            assert_eq!(control.takes(Some(hash)), control.takes(Some(hash)));
        }
        for (taken, all) in taken.into_iter().zip(all) {
            let share = f64::from(taken) / f64::from(all);
            // Five standard deviations of 19 000 draws.
            assert!((share - 0.1).abs() < 0.011, "{share}");
        }
        let drawn = (0..POINTS).filter(|_| control.takes(None)).count();
        assert!((800..1200).contains(&drawn), "{drawn} of 10000");
    }

    #[test]
    fn a_copy_that_is_run_no_more_takes_nothing() {
        let copy = loaded(Arc::new(Echo::default()), false);
        let control = Control::Copy { version: Arc::clone(&copy), share: 1.0 };
        assert!(control.takes(None));
        copy.put_in_quarantine("it hung".to_owned());
        assert!(!control.takes(None) && !Control::Awaited.takes(None));
        assert!(Control::Stable.takes(None));
    }
}
