//! The process settings: one TOML file, overridden by environment variables, overridden by a
//! few flags.
//!
//! * [`units`]: durations and sizes, which always carry a unit.
//! * `rules`: what each kind of value must look like, with its bounds.
//! * `defaults`: the value of each setting that nobody sets.
//! * `table`: every setting once; the file, the environment, `print-config` and the example
//!   file all follow it.
//! * [`groups`]: settings that there may be several of, each under a name.
//! * `group_table`: every field of them once, as `table` for the others.
//! * `place`: where one value goes, in either table.
//! * `difference`: what changed, and what of it a running server takes over.
//! * `sources`: where values come from, and in which order.
//! * [`mistakes`]: what is wrong, where, and what is wanted instead.
//! * [`example`]: the text of `weighbridge.example.toml`.
//!
//! Invariants: a [`Settings`] that [`Settings::load`] returned has passed every bound and every
//! cross check, so nobody downstream checks again; a mistake never hides another one.

mod checks;
mod defaults;
mod difference;
pub mod example;
mod file;
mod group_table;
pub mod groups;
pub mod mistakes;
mod place;
mod rules;
mod sources;
mod table;
pub mod units;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use difference::Difference;
pub use groups::{Algorithm, Client, DEFAULT_TIER, Issuer, KeySource, Priority, Rate, Tier};
pub use mistakes::{Mistake, Mistakes, Source};
pub use units::ByteSize;

use crate::engine::EngineChoice;
use crate::network::Networks;

/// Everything an operator sets for one process. Live state (models, routes, rollouts, keys)
/// belongs to the registry and is never here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub server: Server,
    pub admin: Admin,
    pub auth: Auth,
    pub limits: Limits,
    pub serving: Serving,
    pub engine: Engine,
    pub shadow: Shadow,
    pub registry: RegistrySettings,
    pub store: Store,
    pub webhooks: Webhooks,
    pub triton: Triton,
    pub logging: Logging,
    /// Who signs tokens, by the name of the group.
    pub issuers: BTreeMap<String, Issuer>,
    /// Whose certificates are accepted, by the name of the group.
    pub clients: BTreeMap<String, Client>,
    /// What tenants may use, by the name that issuers, clients and keys say. There is always
    /// one called [`DEFAULT_TIER`].
    pub tiers: BTreeMap<String, Tier>,
}

/// The data listener and the process itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Where predictions, health and metadata are served. Port 0 picks a free one.
    pub listen: SocketAddr,
    /// A second address for the same, for platforms that want gRPC on a port of its own.
    pub grpc_listen: Option<SocketAddr>,
    /// The folder of the registry, the blobs and the admin key; a relative one is relative to
    /// the working folder of the process.
    pub data_dir: PathBuf,
    /// How long requests that have begun may take to finish after a signal to stop.
    pub drain_timeout: Duration,
    /// What the server calls itself in its metadata.
    pub name: String,
    /// The certificate chain of the data listener, PEM; without one it speaks plain HTTP.
    pub tls_certificate: Option<PathBuf>,
    /// The key of that certificate, PEM.
    pub tls_key: Option<PathBuf>,
    /// The authorities whose client certificates are accepted, PEM; without any no client is
    /// asked for a certificate.
    pub tls_client_ca: Option<PathBuf>,
}

/// What clients of Triton may do beyond predictions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Triton {
    pub model_control: ModelControl,
}

/// Whether models are loaded and unloaded by Triton's extension "model repository".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ModelControl {
    /// No: routes say what is in memory.
    #[default]
    None,
    /// By credentials with the scope `admin:rollout`.
    Explicit,
}

/// The admin listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Where the admin API, the metrics and the dashboard are served. Port 0 picks a free one.
    pub listen: SocketAddr,
    /// The certificate chain of the admin listener, PEM; without one it speaks plain HTTP.
    pub tls_certificate: Option<PathBuf>,
    /// The key of that certificate, PEM.
    pub tls_key: Option<PathBuf>,
    /// The authorities whose client certificates are accepted, PEM; without any no client is
    /// asked for a certificate.
    pub tls_client_ca: Option<PathBuf>,
}

/// Who may ask.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Auth {
    /// Whether the data listener asks for a key; see [`Settings::data_plane_open`].
    pub data_plane: DataPlane,
}

/// Whether the data listener asks for a key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DataPlane {
    /// Open on loopback, keys elsewhere.
    #[default]
    Auto,
    /// Anyone who can connect may predict.
    Open,
    /// Each request needs a key.
    Keys,
}

/// What one connection or request may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The largest body of a prediction.
    pub body: ByteSize,
    /// The largest file of an uploaded artifact.
    pub upload: ByteSize,
    /// How long the head of a request may take to arrive.
    pub header_read_timeout: Duration,
    /// How long a body may stand still while it arrives.
    pub body_read_timeout: Duration,
    /// How long an answer may wait for its client to read on.
    pub answer_timeout: Duration,
    /// The most connections that are open at once, per listener.
    pub max_connections: u32,
    /// The ceiling of `x-request-timeout-ms`.
    pub max_timeout: Duration,
    /// The largest head of a request.
    pub headers: ByteSize,
    /// The most requests at once on one HTTP/2 connection.
    pub max_streams: u32,
    /// The most requests that are read or answered at once.
    pub max_in_flight: u32,
    /// The memory of the bodies that are read and decoded at once; at least [`Limits::body`].
    pub body_memory: ByteSize,
    /// How many times its own size a compressed body may grow to.
    pub decompression_ratio: u32,
}

/// Defaults for what a model leaves unset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Serving {
    /// The most rows that share one run of a model.
    pub max_batch_size: u32,
    /// How long the first row of a batch may wait for others.
    pub max_queue_delay: Duration,
    /// The most rows that may wait for one model.
    pub max_queue_size: u32,
    /// The deadline of a request that names none; at most [`Limits::max_timeout`].
    pub timeout: Duration,
}

/// Compute threads, and what loading a model may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Engine {
    /// Compute threads, shared by all models; 0 means the CPU quota of the process.
    pub threads: u32,
    /// Threads that load, optimise and warm up, apart from the compute threads.
    pub load_threads: u32,
    /// How long the vetting of a pushed version may take.
    pub vet_timeout: Duration,
    /// The memory that the vetting of a pushed version may use.
    pub vet_memory: ByteSize,
    /// The most versions of one model that stay loaded.
    pub loaded_versions_per_model: u32,
    /// The memory that loaded versions may take together; 0 means a part of what the process
    /// may have.
    pub memory: ByteSize,
    /// How long a version stays that was loaded because a request asked for it.
    pub min_stay: Duration,
    /// The engine of versions whose push and model name none.
    pub default: EngineChoice,
    /// The library of ONNX Runtime; `None`: there is the built-in engine alone.
    pub onnxruntime_library: Option<PathBuf>,
}

/// What copies of requests to shadow versions may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shadow {
    /// The part of the compute threads' time that copies may take, in percent.
    pub cpu_share: u32,
    /// The most copies that wait, or whose request is still being answered.
    pub queue: u32,
    /// The most memory of their inputs and answers.
    pub memory: ByteSize,
    /// A run of a shadow that takes longer is written off, and the shadow switched off.
    pub run_limit: Duration,
    /// The disagreements that are kept for each shadow; 0 keeps no data of requests.
    pub exemplars: u32,
}

/// How this process follows the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistrySettings {
    /// How often the registry is asked for changes that nobody announced.
    pub poll_interval: Duration,
}

/// The bytes of models.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    /// How long a blob that no version names is kept; longer than [`Engine::vet_timeout`].
    pub blob_grace: Duration,
}

/// Whom webhooks may reach, and with which secret they are signed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Webhooks {
    /// Addresses that webhooks may reach although they are not public, also over plain `http://`.
    pub allow: Networks,
    pub secret_file: SecretFile,
}

/// Where the secret that signs webhooks lives.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum SecretFile {
    /// A file of the data folder, which the server makes.
    #[default]
    Auto,
    /// A file that somebody else makes; a relative one is relative to the working folder of the
    /// process.
    At(PathBuf),
}

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logging {
    /// Levels as `LEVEL` or `TARGET=LEVEL`, separated by commas: a `tracing` filter.
    pub level: String,
    pub format: LogFormat,
    pub access: AccessLog,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Pretty on a terminal, JSON elsewhere.
    #[default]
    Auto,
    Pretty,
    Json,
}

/// Which requests get a line in the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AccessLog {
    Off,
    /// Those that were answered with an error.
    #[default]
    Errors,
    All,
}

/// What flags override. Addresses stay text, so that a bad one is reported together with the
/// mistakes of the file and of the environment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--listen`
    pub listen: Option<String>,
    /// `--admin-listen`
    pub admin_listen: Option<String>,
    /// `--data-dir`
    pub data_dir: Option<PathBuf>,
}

/// A setting as `print-config` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effective {
    /// Such as `server.listen` or `tiers.gold.requests`.
    pub key: String,
    /// The value in its canonical form, such as `64MiB`.
    pub value: String,
    pub source: Source,
    quoted: bool,
}

impl fmt::Display for Effective {
    /// A line of TOML, with the source as its comment: the lines of all settings are a file
    /// that means the same.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, value, source, quoted } = self;
        write!(f, "{key} = {}  # {source}", toml_value(value, *quoted))
    }
}

impl Settings {
    /// The settings of this process: defaults, then `file`, then the environment variables
    /// `WEIGHBRIDGE__SECTION__KEY`, then `overrides`; later ones win. Called again it reads all
    /// of them again: [`Settings::differences`] says what changed, [`Settings::with_live`] what
    /// a running server makes of it.
    ///
    /// # Errors
    /// All mistakes of all sources together, those of values that are overridden included.
    pub fn load(file: Option<&Path>, overrides: &Overrides) -> Result<Self, Mistakes> {
        sources::of_process(file, overrides).map(|loaded| loaded.settings)
    }

    /// Every setting of this process with its value and where that came from, in the order of
    /// the example file.
    ///
    /// # Errors
    /// As [`Settings::load`].
    pub fn with_sources(
        file: Option<&Path>,
        overrides: &Overrides,
    ) -> Result<Vec<Effective>, Mistakes> {
        sources::of_process(file, overrides).map(|loaded| loaded.effective())
    }

    /// As [`Settings::load`], from a named text and the given variables: reads nothing else.
    ///
    /// # Errors
    /// As [`Settings::load`].
    pub fn load_from(
        file: Option<(&str, &str)>,
        env: impl IntoIterator<Item = (String, String)>,
        overrides: &Overrides,
    ) -> Result<Self, Mistakes> {
        sources::of_texts(file, env, overrides).map(|loaded| loaded.settings)
    }

    /// Whether the data listener answers without a key.
    pub fn data_plane_open(&self) -> bool {
        match self.auth.data_plane {
            DataPlane::Open => true,
            DataPlane::Keys => false,
            // `::ffff:127.0.0.1` is loopback too.
            DataPlane::Auto => self.server.listen.ip().to_canonical().is_loopback(),
        }
    }
}

/// A value as TOML writes it. One that could be a number and is a word needs quotes all the same.
fn toml_value(value: &str, quoted: bool) -> String {
    let is_number = value.bytes().all(|b| b.is_ascii_digit());
    if quoted || !is_number { toml::Value::from(value).to_string() } else { value.to_owned() }
}
