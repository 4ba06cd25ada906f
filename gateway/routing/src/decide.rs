//! The decision for one request.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use weighbridge_config::{AliasName, Split, Version};

use crate::assign::{point_of_coin, point_of_key};

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask<'a> {
    /// Whatever the route says.
    Routed,
    /// This version, by path or header.
    Version(Version),
    /// The version behind an alias; `stable` and `canary` follow from the route.
    Alias(&'a str),
}

/// What the point is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key<'a> {
    /// The model is not sticky: a fresh random number.
    Coin(u64),
    /// The model is sticky and the key came.
    Sticky(&'a [u8]),
    /// The model is sticky and the request carries no key: a fresh random number, counted.
    Missing(u64),
}

/// Whether a version can answer now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Availability {
    Loaded,
    /// On its way or put aside: not now.
    NotLoaded,
    /// Loading was tried and failed, with the reason.
    Failed(String),
}

/// The routing table of one model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelRoute {
    /// Hashed before the key: the model's name, so that two models split callers differently.
    pub salt: String,
    /// `None` until a version has been promoted.
    pub split: Option<Split>,
    pub aliases: BTreeMap<AliasName, Version>,
    /// Every version that may be asked for.
    pub versions: BTreeMap<Version, Availability>,
}

/// The role in which a version answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    Stable,
    Canary,
    /// Any other routed version.
    Other,
    /// Asked for by version or alias.
    Pinned,
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stable => "stable",
            Self::Canary => "canary",
            Self::Other => "variant",
            Self::Pinned => "pinned",
        })
    }
}

/// Why this version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The route has one version.
    Route,
    /// A random point of the split.
    Split {
        point: u32,
    },
    /// The key's point of the split.
    Sticky {
        point: u32,
    },
    /// A random point, since the sticky key did not come.
    NoStickyKey {
        point: u32,
    },
    Pinned,
    Alias(String),
    /// An experiment chose a variant for the unit.
    Experiment {
        name: Arc<str>,
        variant: Arc<str>,
        /// What else there is to say, such as `unit=request`; empty when the unit decided.
        note: &'static str,
    },
    /// The chosen version cannot answer now; another routed version does.
    Fallback {
        instead_of: Version,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Route => f.write_str("route"),
            Self::Split { point } => write!(f, "split; point={point}"),
            Self::Sticky { point } => write!(f, "sticky; point={point}"),
            Self::NoStickyKey { point } => write!(f, "split; no-sticky-key; point={point}"),
            Self::Pinned => f.write_str("pinned"),
            Self::Alias(alias) => write!(f, "alias; name={alias}"),
            Self::Experiment { name, note: "", .. } => write!(f, "experiment; name={name}"),
            Self::Experiment { name, note, .. } => write!(f, "experiment; name={name}; {note}"),
            Self::Fallback { instead_of } => write!(f, "fallback; instead-of={instead_of}"),
        }
    }
}

/// Which version answers, in which role and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    pub version: Version,
    pub variant: Variant,
    pub reason: Reason,
}

impl Decision {
    /// The role as a word: an experiment's own name of the variant, where one decided.
    pub fn variant_name(&self) -> String {
        match &self.reason {
            Reason::Experiment { variant, .. } => variant.to_string(),
            _ => self.variant.to_string(),
        }
    }
}

/// Why no version answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such version.
    UnknownVersion(Version),
    /// There is no such alias, or it names nothing now.
    UnknownAlias(String),
    /// No version has been promoted; the newest that could be is named.
    NotPromoted { newest: Option<Version> },
    /// The version exists and is not loaded.
    NotLoaded(Version),
    /// The version exists and could not be loaded.
    Failed { version: Version, reason: String },
}

/// Chooses the version that answers.
pub fn decide(route: &ModelRoute, ask: Ask<'_>, key: Key<'_>) -> Result<Decision, Refusal> {
    match ask {
        Ask::Version(version) => available(route, version, Variant::Pinned, Reason::Pinned),
        Ask::Alias(alias) => {
            let version = resolve_alias(route, alias)?;
            available(route, version, Variant::Pinned, Reason::Alias(alias.to_owned()))
        }
        Ask::Routed => routed(route, key),
    }
}

/// The versions that may answer what is asked: all that the route gives a share, or the one that
/// is named. Empty when there is none.
pub fn named(route: &ModelRoute, ask: Ask<'_>) -> Vec<Version> {
    match ask {
        Ask::Version(version) => vec![version],
        Ask::Alias(alias) => resolve_alias(route, alias).into_iter().collect(),
        Ask::Routed => {
            route.split.as_ref().map_or(vec![], |split| split.weights().into_keys().collect())
        }
    }
}

fn routed(route: &ModelRoute, key: Key<'_>) -> Result<Decision, Refusal> {
    let Some(split) = &route.split else {
        let newest = route.versions.keys().next_back().copied();
        return Err(Refusal::NotPromoted { newest });
    };
    let (version, reason) = choose(route, split, key);
    or_another(route, split, version, reason)
}

/// The decision for a request that has been given to a version already, by an experiment.
pub fn decide_variant(
    route: &ModelRoute,
    version: Version,
    reason: Reason,
) -> Result<Decision, Refusal> {
    match &route.split {
        Some(split) => or_another(route, split, version, reason),
        None => available(route, version, Variant::Other, reason),
    }
}

fn or_another(
    route: &ModelRoute,
    split: &Split,
    version: Version,
    reason: Reason,
) -> Result<Decision, Refusal> {
    let chosen = available(route, version, variant_of(split, version), reason);
    let Err(refusal) = chosen else { return chosen };
    // A routed version that cannot answer must not cost its share of the callers an error
    // while another one stands ready.
    let weights = split.weights();
    let loaded = |v: &Version| route.versions.get(v) == Some(&Availability::Loaded);
    let heaviest = weights.iter().filter(|(v, _)| loaded(v)).max_by_key(|(_, weight)| **weight);
    match heaviest {
        Some((other, _)) => Ok(Decision {
            version: *other,
            variant: variant_of(split, *other),
            reason: Reason::Fallback { instead_of: version },
        }),
        None => Err(refusal),
    }
}

fn choose(route: &ModelRoute, split: &Split, key: Key<'_>) -> (Version, Reason) {
    if let [only] = split.segments() {
        return (only.version, Reason::Route);
    }
    let (point, reason): (u32, fn(u32) -> Reason) = match key {
        Key::Coin(coin) => (point_of_coin(coin), |point| Reason::Split { point }),
        Key::Missing(coin) => (point_of_coin(coin), |point| Reason::NoStickyKey { point }),
        Key::Sticky(key) => (point_of_key(&route.salt, key), |point| Reason::Sticky { point }),
    };
    (split.version_at(point), reason(point))
}

fn variant_of(split: &Split, version: Version) -> Variant {
    if split.stable() == version {
        Variant::Stable
    } else if split.canary() == Some(version) {
        Variant::Canary
    } else {
        Variant::Other
    }
}

fn resolve_alias(route: &ModelRoute, alias: &str) -> Result<Version, Refusal> {
    let split = route.split.as_ref();
    let version = match alias {
        "stable" => split.map(Split::stable),
        "canary" => split.and_then(Split::canary),
        own => route.aliases.get(own).copied(),
    };
    version.ok_or_else(|| Refusal::UnknownAlias(alias.chars().take(140).collect()))
}

fn available(
    route: &ModelRoute,
    version: Version,
    variant: Variant,
    reason: Reason,
) -> Result<Decision, Refusal> {
    match route.versions.get(&version) {
        Some(Availability::Loaded) => Ok(Decision { version, variant, reason }),
        Some(Availability::NotLoaded) => Err(Refusal::NotLoaded(version)),
        Some(Availability::Failed(reason)) => {
            Err(Refusal::Failed { version, reason: reason.clone() })
        }
        None => Err(Refusal::UnknownVersion(version)),
    }
}

#[cfg(test)]
mod tests;
