//! What another look at the settings finds changed, and which of it a running server takes over.

use std::collections::{BTreeMap, BTreeSet};

use super::Settings;
use super::table::TABLE;

/// A setting, or a named group of them, with another value than before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Such as `limits.body` or `tiers.gold`.
    pub key: String,
    /// Whether a running server takes it over; else it counts from the next start.
    pub is_live: bool,
}

impl Settings {
    /// What `new` has other than this, in the order of the example file. A group that came or
    /// went is one difference, and so is a group in which something changed.
    pub fn differences(&self, new: &Self) -> Vec<Difference> {
        let changed = TABLE.iter().filter(|setting| !(setting.is_same)(self, new));
        let mut differences: Vec<_> = changed
            .map(|setting| Difference { key: setting.key.to_owned(), is_live: setting.is_live })
            .collect();
        differences.extend(of_groups("issuers", &self.issuers, &new.issuers));
        differences.extend(of_groups("clients", &self.clients, &new.clients));
        differences.extend(of_groups("tiers", &self.tiers, &new.tiers));
        differences
    }

    /// These settings with the live values of `new`: what a running server goes by after a
    /// reload.
    ///
    /// All bounds and cross checks hold, but one: there may be clients although this process
    /// asks for no certificates, if `new` has authorities for the first time.
    #[must_use]
    pub fn with_live(&self, new: &Self) -> Self {
        let mut taken = self.clone();
        for setting in TABLE.iter().filter(|setting| setting.is_live) {
            (setting.take)(&mut taken, new);
        }
        taken.issuers.clone_from(&new.issuers);
        taken.clients.clone_from(&new.clients);
        taken.tiers.clone_from(&new.tiers);
        taken
    }
}

fn of_groups<T: PartialEq>(
    kind: &str,
    old: &BTreeMap<String, T>,
    new: &BTreeMap<String, T>,
) -> Vec<Difference> {
    let names: BTreeSet<_> = old.keys().chain(new.keys()).collect();
    let changed = names.into_iter().filter(|name| old.get(*name) != new.get(*name));
    changed.map(|name| Difference { key: format!("{kind}.{name}"), is_live: true }).collect()
}
