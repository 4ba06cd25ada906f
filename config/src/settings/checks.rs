//! Values that are right alone and wrong together.

use std::collections::BTreeMap;

use super::mistakes::closest;
use super::{Algorithm, KeySource, Settings};

/// Settings that do not fit each other.
pub(super) struct Clash {
    /// The setting or the group that is blamed.
    pub(super) key: String,
    /// The settings that it does not fit; any of several could be changed instead.
    pub(super) with: Vec<String>,
    /// What is wanted of the first, as a phrase that ends in front of the second one's name, if
    /// there is one.
    pub(super) wanted: String,
}

impl Clash {
    fn new(key: impl Into<String>, wanted: impl Into<String>, with: &[&str]) -> Self {
        let with = with.iter().map(|key| (*key).to_owned()).collect();
        Self { key: key.into(), with, wanted: wanted.into() }
    }
}

/// Every clash of `settings`.
pub(super) fn clashes(settings: &Settings) -> Vec<Clash> {
    let mut clashes = of_sections(settings);
    clashes.extend(of_issuers(settings));
    clashes.extend(of_clients(settings));
    clashes.extend(of_tiers(settings));
    clashes
}

fn of_sections(settings: &Settings) -> Vec<Clash> {
    let Settings { limits, serving, engine, store, .. } = settings;
    let mut clashes = Vec::new();
    let mut want = |holds: bool, key: &str, wanted: &str, with: &str| {
        if !holds {
            clashes.push(Clash::new(key, wanted, &[with]));
        }
    };
    let Settings { server, admin, .. } = settings;
    let pair = "wanted if and only if there is";
    want(
        server.tls_key.is_some() == server.tls_certificate.is_some(),
        "server.tls_key",
        pair,
        "server.tls_certificate",
    );
    want(
        admin.tls_key.is_some() == admin.tls_certificate.is_some(),
        "admin.tls_key",
        pair,
        "admin.tls_certificate",
    );
    let beside = "wanted only beside a file in";
    want(
        server.tls_client_ca.is_none() || server.tls_certificate.is_some(),
        "server.tls_client_ca",
        beside,
        "server.tls_certificate",
    );
    want(
        admin.tls_client_ca.is_none() || admin.tls_certificate.is_some(),
        "admin.tls_client_ca",
        beside,
        "admin.tls_certificate",
    );
    want(limits.body_memory >= limits.body, "limits.body_memory", "wanted at least", "limits.body");
    want(!same_socket(settings), "admin.listen", "wanted another port than", "server.listen");
    want(
        serving.timeout <= limits.max_timeout,
        "serving.timeout",
        "wanted at most",
        "limits.max_timeout",
    );
    // A batch that waits as long as its requests may take would answer none of them.
    want(
        serving.max_queue_delay < serving.timeout,
        "serving.max_queue_delay",
        "wanted less than",
        "serving.timeout",
    );
    // A blob is stored before its version is vetted and gets its row.
    want(
        store.blob_grace > engine.vet_timeout,
        "store.blob_grace",
        "wanted more than",
        "engine.vet_timeout",
    );
    clashes
}

/// Whether binding the second listener must fail. An unspecified address takes its port on all
/// addresses. Port 0 is a new port each time.
fn same_socket(settings: &Settings) -> bool {
    let (data, admin) = (settings.server.listen, settings.admin.listen);
    let overlap =
        data.ip() == admin.ip() || data.ip().is_unspecified() || admin.ip().is_unspecified();
    data.port() == admin.port() && data.port() != 0 && overlap
}

fn of_issuers(settings: &Settings) -> Vec<Clash> {
    let mut clashes = Vec::new();
    for (name, issuer) in &settings.issuers {
        // A secret that others can ask for is none.
        let is_shared = issuer.algorithms.contains(&Algorithm::Hs256);
        if is_shared && matches!(issuer.keys, KeySource::Url(_)) {
            let with = format!("issuers.{name}.algorithms");
            let wanted = "wanted a file, for a secret, with";
            clashes.push(Clash::new(format!("issuers.{name}.keys"), wanted, &[&with]));
        }
    }
    // A token must not be judged by two rules.
    let named = settings.issuers.iter().map(|(name, issuer)| (name, issuer.issuer.as_str()));
    clashes.extend(repeated("issuers", "issuer", named));
    clashes
}

fn of_clients(settings: &Settings) -> Vec<Clash> {
    let mut clashes = Vec::new();
    let Settings { server, admin, clients, .. } = settings;
    if server.tls_client_ca.is_none() && admin.tls_client_ca.is_none() {
        // One mistake is enough: all clients have the same.
        clashes.extend(clients.keys().next().map(|name| {
            let with = ["server.tls_client_ca", "admin.tls_client_ca"];
            Clash::new(format!("clients.{name}"), "wanted a file in", &with)
        }));
    }
    let named = clients.iter().map(|(name, client)| (name, client.subject.as_str()));
    clashes.extend(repeated("clients", "subject", named));
    clashes
}

/// A clash for each group whose `field` has the value that an earlier group has.
fn repeated<'a>(
    kind: &str,
    field: &str,
    values: impl Iterator<Item = (&'a String, &'a str)>,
) -> Vec<Clash> {
    let key = |name: &str| format!("{kind}.{name}.{field}");
    let mut first: BTreeMap<&str, &str> = BTreeMap::new();
    let mut clashes = Vec::new();
    for (name, value) in values {
        match first.get(value) {
            Some(earlier) => {
                clashes.push(Clash::new(key(name), "wanted another than", &[&key(earlier)]));
            }
            None => {
                first.insert(value, name);
            }
        }
    }
    clashes
}

/// Tiers that are named and not there.
fn of_tiers(settings: &Settings) -> Vec<Clash> {
    let issuers = settings.issuers.iter().map(|(name, i)| (format!("issuers.{name}"), &i.tier));
    let clients = settings.clients.iter().map(|(name, c)| (format!("clients.{name}"), &c.tier));
    let missing = issuers.chain(clients).filter(|(_, tier)| !settings.tiers.contains_key(*tier));
    missing
        .map(|(group, tier)| {
            let known = settings.tiers.keys().map(String::as_str);
            let wanted = match closest(tier, known) {
                Some(meant) => format!("no such tier; did you mean {meant}?"),
                None => format!("no such tier: wanted [tiers.{tier}], or the name of another"),
            };
            Clash::new(format!("{group}.tier"), wanted, &[])
        })
        .collect()
}
