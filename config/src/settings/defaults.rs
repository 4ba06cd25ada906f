//! What holds when nobody sets anything: the types' `Default`. The reasons stand in `table`,
//! beside each setting, and so in the example file.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::engine::EngineChoice;
use crate::scope::Scopes;

use super::{
    AccessLog, Admin, Auth, ByteSize, Client, DEFAULT_TIER, Engine, Issuer, KeySource, Limits,
    LogFormat, Logging, Priority, RegistrySettings, Server, Serving, Settings, Shadow, Store, Tier,
    Triton, Webhooks,
};

/// Nothing is reachable from another machine until an operator says so.
fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            server: Server::default(),
            admin: Admin::default(),
            auth: Auth::default(),
            limits: Limits::default(),
            serving: Serving::default(),
            engine: Engine::default(),
            shadow: Shadow::default(),
            registry: RegistrySettings::default(),
            store: Store::default(),
            webhooks: Webhooks::default(),
            triton: Triton::default(),
            logging: Logging::default(),
            issuers: BTreeMap::new(),
            clients: BTreeMap::new(),
            tiers: BTreeMap::from([(DEFAULT_TIER.to_owned(), Tier::default())]),
        }
    }
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: loopback(8080),
            grpc_listen: None,
            data_dir: "./weighbridge-data".into(),
            drain_timeout: Duration::from_secs(30),
            name: "weighbridge".into(),
            tls_certificate: None,
            tls_key: None,
            tls_client_ca: None,
        }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self { listen: loopback(8081), tls_certificate: None, tls_key: None, tls_client_ca: None }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: ByteSize::mib(64),
            upload: ByteSize::gib(2),
            header_read_timeout: Duration::from_secs(10),
            body_read_timeout: Duration::from_secs(30),
            answer_timeout: Duration::from_secs(60),
            max_connections: 10_000,
            max_timeout: Duration::from_secs(5 * 60),
            headers: ByteSize::kib(32),
            max_streams: 256,
            max_in_flight: 4096,
            body_memory: ByteSize::gib(1),
            decompression_ratio: 100,
        }
    }
}

impl Default for Serving {
    fn default() -> Self {
        Self {
            max_batch_size: 64,
            max_queue_delay: Duration::ZERO,
            max_queue_size: 4096,
            timeout: Duration::from_secs(30),
        }
    }
}

impl Default for Engine {
    fn default() -> Self {
        Self {
            threads: 0,
            load_threads: 1,
            vet_timeout: Duration::from_secs(60),
            vet_memory: ByteSize::gib(4),
            loaded_versions_per_model: 4,
            memory: ByteSize::new(0),
            min_stay: Duration::from_secs(60),
            default: EngineChoice::Auto,
            onnxruntime_library: None,
        }
    }
}

impl Default for Shadow {
    fn default() -> Self {
        Self {
            cpu_share: 20,
            queue: 256,
            memory: ByteSize::mib(64),
            run_limit: Duration::from_secs(10),
            exemplars: 16,
        }
    }
}

impl Default for RegistrySettings {
    fn default() -> Self {
        Self { poll_interval: Duration::from_secs(10) }
    }
}

impl Default for Store {
    fn default() -> Self {
        Self { blob_grace: Duration::from_secs(24 * 3600) }
    }
}

impl Default for Logging {
    fn default() -> Self {
        Self { level: "info".into(), format: LogFormat::Auto, access: AccessLog::Errors }
    }
}

impl Issuer {
    /// One of which nothing is set. What is required is empty: no settings with such a group
    /// leave this module.
    pub(super) fn empty() -> Self {
        Self {
            issuer: String::new(),
            audience: Vec::new(),
            algorithms: Vec::new(),
            keys: KeySource::File("".into()),
            leeway: Duration::from_secs(30),
            scope_claim: "scope".into(),
            scopes: None,
            tenant_claim: "sub".into(),
            tier_claim: "tier".into(),
            tier: DEFAULT_TIER.into(),
        }
    }
}

impl Client {
    /// As [`Issuer::empty`].
    pub(super) fn empty() -> Self {
        Self {
            subject: String::new(),
            tenant: None,
            tier: DEFAULT_TIER.into(),
            scopes: Scopes::default(),
        }
    }
}

impl Default for Tier {
    fn default() -> Self {
        Self {
            requests: None,
            rows: None,
            requests_per_day: None,
            rows_per_day: None,
            priority: Priority::Normal,
            weight: 1,
        }
    }
}
