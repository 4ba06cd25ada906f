//! What holds when nobody sets anything: the types' `Default`. The reasons stand in `table`,
//! beside each setting, and so in the example file.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::engine::EngineChoice;

use super::{
    AccessLog, Admin, ByteSize, Engine, Limits, LogFormat, Logging, RegistrySettings, Server,
    Serving, Shadow, Store,
};

/// Nothing is reachable from another machine until an operator says so.
fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: loopback(8080),
            data_dir: "./weighbridge-data".into(),
            drain_timeout: Duration::from_secs(30),
            name: "weighbridge".into(),
            tls_certificate: None,
            tls_key: None,
        }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self { listen: loopback(8081), tls_certificate: None, tls_key: None }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: ByteSize::mib(64),
            upload: ByteSize::gib(2),
            header_read_timeout: Duration::from_secs(10),
            body_read_timeout: Duration::from_secs(30),
            max_connections: 10_000,
            max_timeout: Duration::from_secs(5 * 60),
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
