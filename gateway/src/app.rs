//! Builds the rooms in order, runs until a signal comes, and ends without losing a request.

mod background;
mod reload;
mod startup;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use weighbridge_config::{ModelName, Settings};
use weighbridge_engine::LoadOptions;
use weighbridge_model_store::{LocalStore, ModelStore};
use weighbridge_registry::{Registry, SqliteRegistry};

use crate::api::routes;
use crate::control::Control;
use crate::data_dir::DataDir;
use crate::edge::auth::KeyUse;
use crate::edge::auth::keyset::Keys;
use crate::edge::door::Door;
use crate::edge::drain::Drain;
use crate::edge::limit::quota::Quotas;
use crate::edge::listener::{self, ConnectionLimits};
use crate::edge::tls::{Files, Tls};
use crate::experiment::Experiments;
use crate::gateway::{Gateway, Reload, Urls};
use crate::loading::loader::Loader;
use crate::notify::Notifier;
use crate::now_ms;
use crate::push::Pushes;
use crate::rollout::controller::Controller;
use crate::rollout::moves::Moves;
use crate::rollout::snapshot::Snapshot;
use crate::rollout::sync::Sync;
use crate::rollout::trials::Trials;
use crate::serving::compute::Compute;
use crate::shadow::Mirror;
use crate::telemetry::names;

pub use reload::SettingsSource;
pub use startup::offline_key;

/// How long clients on idle connections have to notice that the server is going away.
const LEAVE_GRACE: Duration = Duration::from_millis(500);
/// How long background tasks may take to stop once nobody is served any more.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// What the command line asks for beyond the settings.
#[derive(Debug, Default)]
pub struct Startup {
    pub demo: bool,
    pub models: Vec<(ModelName, PathBuf)>,
}

/// Things to tell the person who started the server.
#[derive(Debug)]
pub struct Greeting {
    pub urls: Urls,
    pub data_dir: PathBuf,
    /// A key that was made just now.
    pub new_admin_key: Option<String>,
    pub admin_key_file: PathBuf,
    /// Predictions want a credential.
    pub needs_key: bool,
    /// Models that were asked for and cannot be served, with the reason.
    pub failures: Vec<String>,
    pub models: Vec<String>,
}

/// Runs the gateway until a signal comes and the last request has ended. `greet` is called
/// once, when the server is ready.
pub async fn serve(
    source: SettingsSource,
    settings: Settings,
    startup: Startup,
    greet: impl FnOnce(&Greeting),
) -> anyhow::Result<()> {
    // Signals count from the beginning: one that comes while models load is not lost.
    let mut stop_signals = StopSignals::new()?;
    let reload_signals = signal(SignalKind::hangup()).context("cannot wait for SIGHUP")?;
    let data_dir = DataDir::hold(&settings.server.data_dir)?;
    let metrics = names::install().context("cannot record metrics")?;
    let (server, admin) = (&settings.server, &settings.admin);
    let files = [&server.tls_certificate, &server.tls_key, &server.tls_client_ca];
    let data_tls = tls("data", files, "server.tls_certificate")?;
    let files = [&admin.tls_certificate, &admin.tls_key, &admin.tls_client_ca];
    let admin_tls = tls("admin", files, "admin.tls_certificate")?;
    let data_listener = bind(settings.server.listen, "server.listen").await?;
    let grpc_listener = match settings.server.grpc_listen {
        Some(address) => Some(bind(address, "server.grpc_listen").await?),
        None => None,
    };
    let admin_listener = bind(settings.admin.listen, "admin.listen").await?;
    let urls = Urls {
        data: url_of(&data_listener, data_tls.is_some())?,
        grpc: match &grpc_listener {
            Some(listener) => Some(url_of(listener, data_tls.is_some())?),
            None => None,
        },
        admin: url_of(&admin_listener, admin_tls.is_some())?,
    };

    let (connections, tasks, stop) =
        (TaskTracker::new(), TaskTracker::new(), CancellationToken::new());
    let rooms = assemble(settings, &data_dir, metrics, urls.clone(), &tasks, &stop).await?;
    let Rooms { gateway, sync, store } = &rooms;

    let (admin_key_file, new_admin_key) = startup::ensure_admin_key(gateway, &data_dir).await?;
    sync.refresh().await.context("cannot read the registry")?;
    tasks.spawn(Arc::clone(sync).follow(gateway.settings.registry.poll_interval, stop.clone()));
    tasks.spawn(Arc::clone(&gateway.rollouts).follow());
    tasks.spawn(Arc::clone(&gateway.experiments).follow(Arc::clone(sync), stop.clone()));
    background::recall_quotas(gateway).await?;
    background::start(gateway, store, &tasks, &stop);
    tasks.spawn(reload::follow(Arc::clone(gateway), source, reload_signals, stop.clone()));
    let limits = ConnectionLimits {
        max_connections: gateway.settings.limits.max_connections,
        header_read_timeout: gateway.settings.limits.header_read_timeout,
        answer_timeout: gateway.settings.limits.answer_timeout,
        headers: gateway.settings.limits.headers.as_usize(),
        max_streams: gateway.settings.limits.max_streams,
    };
    for tls in [&data_tls, &admin_tls].into_iter().flatten() {
        tasks.spawn(Arc::clone(tls).follow(stop.clone()));
    }
    let data = routes::data(gateway);
    let listeners = grpc_listener.map(|listener| (listener, data.clone(), data_tls.clone()));
    for (listener, router, tls) in listeners.into_iter().chain([
        (data_listener, data, data_tls),
        (admin_listener, routes::admin(gateway), admin_tls),
    ]) {
        let drain = gateway.drain.clone();
        connections.spawn(listener::serve(listener, router, limits, tls, drain));
    }
    data_dir.write_urls(&urls.data, &urls.admin).context("cannot write the addresses")?;

    let prepare = startup::prepare(gateway, &data_dir, startup);
    let failures = tokio::select! {
        failures = prepare => failures?,
        () = stop_signals.first() => return finish(gateway, &connections, &tasks, &stop, stop_signals).await,
    };
    gateway.has_started.store(true, Ordering::Release);
    greet(&Greeting {
        urls,
        data_dir: data_dir.path().to_owned(),
        new_admin_key,
        admin_key_file,
        needs_key: !gateway.door.load().is_data_plane_open(),
        failures,
        models: startup::described(gateway),
    });
    stop_signals.first().await;
    finish(gateway, &connections, &tasks, &stop, stop_signals).await
}

/// The parts of a gateway that stands and does not listen yet.
#[derive(Debug)]
pub struct Rooms {
    pub gateway: Arc<Gateway>,
    pub sync: Arc<Sync>,
    pub store: Arc<dyn ModelStore>,
}

/// Builds the rooms in order. Tasks that they start are in `tasks` and end with `stop`.
pub async fn assemble(
    settings: Settings,
    data_dir: &DataDir,
    metrics: PrometheusHandle,
    urls: Urls,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> anyhow::Result<Rooms> {
    let door = Door::open(settings.clone(), &Door::default())?;
    let registry: Arc<dyn Registry> = Arc::new(
        SqliteRegistry::open(&data_dir.registry()).await.context("cannot open the registry")?,
    );
    let store: Arc<dyn ModelStore> =
        Arc::new(LocalStore::open(data_dir.store()).context("cannot open the model store")?);
    store.sweep_temporary().await.context("cannot clean up the model store")?;

    let live = Arc::new(ArcSwap::from_pointee(Snapshot::default()));
    let slots = compute_slots(&settings);
    let load_threads = settings.engine.load_threads as usize;
    let loader = Loader::start(Arc::clone(&store), load_threads, load_options(&settings, slots)?)?;
    let experiments = Experiments::new(Arc::clone(&registry), tasks, stop);
    let sync = Sync::new(
        Arc::clone(&registry),
        loader.clone(),
        Arc::clone(&live),
        &settings,
        Arc::new(Trials::new(settings.limits.max_timeout, slots)),
        Arc::clone(&experiments),
        tasks.clone(),
    );
    let notifier = Notifier::open(&settings.webhooks, data_dir, tasks.clone(), stop.clone())
        .context("cannot sign webhooks")?;
    let moves = Moves::new(Arc::clone(&registry), Arc::clone(&sync), notifier);
    let rollouts = Controller::new(
        Arc::clone(&registry),
        moves,
        Arc::clone(&sync),
        Arc::clone(&live),
        tasks.clone(),
        stop.clone(),
    );
    let control = Control { registry: Arc::clone(&registry), sync: Arc::clone(&sync) };
    let pushes = Pushes::new(
        control.clone(),
        Arc::clone(&store),
        loader,
        &settings,
        tasks.clone(),
        stop.clone(),
    );
    let gateway = Arc::new(Gateway {
        compute: Compute::start(slots, tasks.clone())?,
        mirror: Mirror::start(settings.shadow.clone(), slots)?,
        live,
        control,
        pushes,
        rollouts,
        experiments,
        drain: Drain::default(),
        key_use: KeyUse::default(),
        metrics,
        urls,
        started_at: now_ms(),
        has_started: AtomicBool::new(false),
        door: ArcSwap::from_pointee(door),
        permits: Arc::default(),
        quotas: Quotas::default(),
        reload: Reload::default(),
        settings,
    });
    Ok(Rooms { gateway, sync, store })
}

/// Not ready → clients leave → no new connections → what is in flight ends → all else stops.
async fn finish(
    gateway: &Arc<Gateway>,
    connections: &TaskTracker,
    tasks: &TaskTracker,
    stop: &CancellationToken,
    mut stop_signals: StopSignals,
) -> anyhow::Result<()> {
    let limit = gateway.settings.server.drain_timeout;
    tracing::info!(limit = %humantime::format_duration(limit), "stopping: finishing what is in flight");
    gateway.drain.start();
    let drained = async {
        tokio::time::sleep(LEAVE_GRACE).await;
        gateway.drain.close();
        connections.close();
        tokio::time::timeout(limit, connections.wait()).await.is_ok()
    };
    let is_drained = tokio::select! {
        is_drained = drained => is_drained,
        () = stop_signals.first() => false,
    };
    if !is_drained {
        tracing::warn!(connections = connections.len(), "stopped before all connections had ended");
    }
    stop.cancel();
    tasks.close();
    if tokio::time::timeout(STOP_GRACE, tasks.wait()).await.is_err() {
        tracing::warn!(tasks = tasks.len(), "stopped before all background tasks had ended");
    }
    background::write_key_use(gateway).await;
    background::write_quotas(gateway).await;
    tracing::info!("stopped");
    Ok(())
}

/// The processors that this process may really use: its cgroup quota and affinity.
pub fn compute_slots(settings: &Settings) -> usize {
    match settings.engine.threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        threads => threads as usize,
    }
}

/// What holds for every load. A library that is not there is told now, and not when the first
/// model needs it.
fn load_options(settings: &Settings, slots: usize) -> anyhow::Result<LoadOptions> {
    let onnxruntime = settings.engine.onnxruntime_library.clone();
    if let Some(library) = &onnxruntime {
        let found = std::fs::metadata(library).and_then(|found| match found.is_file() {
            true => Ok(()),
            false => Err(std::io::Error::other("not a file")),
        });
        let path = library.display();
        found.with_context(|| format!("cannot use {path} (engine.onnxruntime_library)"))?;
    }
    // The compute threads, and the one of the shadows.
    let (max_batch_rows, workers) = (settings.serving.max_batch_size as usize, slots + 1);
    Ok(LoadOptions { max_batch_rows, onnxruntime, workers, ..LoadOptions::default() })
}

async fn bind(address: SocketAddr, setting: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address} ({setting})"))
}

/// The certificate of a listener, if `setting` and its key are set.
fn tls(
    listener: &'static str,
    files: [&Option<PathBuf>; 3],
    setting: &str,
) -> anyhow::Result<Option<Arc<Tls>>> {
    let [Some(certificate), Some(key), client_ca] = files.map(Clone::clone) else {
        return Ok(None);
    };
    let opened = Tls::open(listener, Files { certificate, key, client_ca });
    opened.map(Some).with_context(|| format!("cannot serve TLS ({setting})"))
}

/// What is wrong with the files that `settings` name, by setting: a certificate that is not there
/// would otherwise be found at the start.
pub fn mistakes_in_files(settings: &Settings) -> Vec<(String, String)> {
    let (server, admin) = (&settings.server, &settings.admin);
    let files = [
        ("server", [&server.tls_certificate, &server.tls_key, &server.tls_client_ca]),
        ("admin", [&admin.tls_certificate, &admin.tls_key, &admin.tls_client_ca]),
    ];
    let mut mistakes = Vec::new();
    for (section, files) in files {
        let setting = format!("{section}.tls_certificate");
        if let Err(error) = tls(section, files, &setting) {
            // The first cause names the setting once more.
            let causes: Vec<String> = error.chain().skip(1).map(ToString::to_string).collect();
            mistakes.push((setting, causes.join(": ")));
        }
    }
    for (name, issuer) in &settings.issuers {
        if let Err(error) = Keys::open(name, issuer) {
            mistakes.push((format!("issuers.{name}.keys"), format!("{error:#}")));
        }
    }
    mistakes
}

fn url_of(listener: &TcpListener, has_tls: bool) -> anyhow::Result<String> {
    let scheme = if has_tls { "https" } else { "http" };
    Ok(format!("{scheme}://{}", listener.local_addr()?))
}

struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    fn new() -> anyhow::Result<Self> {
        let terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
        let interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
        Ok(Self { terminate, interrupt })
    }

    /// Resolves at the next signal to stop.
    async fn first(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
