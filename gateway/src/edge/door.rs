//! What may change while the gateway runs: limits, tiers, issuers, clients. Immutable, and
//! swapped in whole, so that a request sees the old settings or the new ones and never a mix.

use std::collections::HashMap;
use std::sync::Arc;

use weighbridge_config::Settings;
use weighbridge_config::settings::Client;
use weighbridge_registry::Actor;

use crate::edge::auth::certificate::PeerNames;
use crate::edge::auth::issuers::Issuers;
use crate::edge::auth::{Principal, Who};
use crate::edge::limit::Tiers;

/// The settings in force, as requests use them.
#[derive(Debug, Default)]
pub struct Door {
    pub settings: Settings,
    pub issuers: Issuers,
    pub tiers: Tiers,
    /// By a name of their certificate.
    clients: HashMap<String, Principal>,
}

impl Door {
    /// The door of `settings`. What `before` has counted and fetched is kept where the settings
    /// for it are the same.
    ///
    /// # Errors
    /// A file of an issuer's keys that cannot be used.
    pub fn open(settings: Settings, before: &Self) -> anyhow::Result<Self> {
        let clients = settings
            .clients
            .iter()
            .map(|(name, client)| (client.subject.clone(), principal(name, client)));
        Ok(Self {
            issuers: Issuers::open(&settings, &before.issuers)?,
            tiers: Tiers::new(&settings.tiers, &before.tiers),
            clients: clients.collect(),
            settings,
        })
    }

    /// Whether the data listener answers without a credential.
    pub fn is_data_plane_open(&self) -> bool {
        self.settings.data_plane_open()
    }

    /// The client whose certificate has one of these names.
    pub fn client(&self, names: &PeerNames) -> Option<Principal> {
        names.names.iter().find_map(|name| self.clients.get(name)).cloned()
    }
}

fn principal(name: &str, client: &Client) -> Principal {
    Principal(Arc::new(Who {
        actor: Actor { id: format!("client:{name}"), name: name.to_owned() },
        tenant: client.tenant_or(name).into(),
        tier: client.tier.clone(),
        scopes: client.scopes.clone(),
    }))
}
