//! Log lines: JSON or pretty, to standard error.

use std::io::IsTerminal;
use std::sync::OnceLock;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, reload};
use weighbridge_config::settings::{LogFormat, Logging};

/// Makes this process log as the settings say.
pub fn install(logging: &Logging) {
    let json = match logging.format {
        LogFormat::Json => true,
        LogFormat::Pretty => false,
        LogFormat::Auto => !std::io::stderr().is_terminal(),
    };
    // The settings have been checked: the fall-back is for a directive this build does not know.
    let filter = EnvFilter::try_new(&logging.level).unwrap_or_else(|_| EnvFilter::new("info"));
    let (filter, handle) = reload::Layer::new(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    // A second subscriber in one process (tests) changes nothing.
    let installed = if json {
        let lines = lines.json().flatten_event(true).with_current_span(false);
        tracing_subscriber::registry().with(filter).with(lines).try_init()
    } else {
        tracing_subscriber::registry().with(filter).with(lines.with_target(false)).try_init()
    };
    if installed.is_ok() {
        let _ = FILTER.set(handle);
    }
    log_panics();
}

/// The filter in force.
static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl Level {
    /// As a filter.
    pub fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// The most that the filter in force lets through.
pub fn level() -> Level {
    use tracing::level_filters::LevelFilter as F;
    let hint = FILTER.get().and_then(|handle| handle.with_current(EnvFilter::max_level_hint).ok());
    match hint.flatten() {
        Some(F::OFF) => Level::Off,
        Some(F::ERROR) => Level::Error,
        Some(F::WARN) => Level::Warn,
        Some(F::DEBUG) => Level::Debug,
        Some(F::TRACE) => Level::Trace,
        _ => Level::Info,
    }
}

/// Changes what is logged from now on.
pub fn set_level(level: &str) {
    if let (Some(handle), Ok(filter)) = (FILTER.get(), EnvFilter::try_new(level)) {
        // Fails when the subscriber is gone, and then nothing is logged anyway.
        let _ = handle.reload(filter);
    }
}

/// A panic is one log line like any other: model code may panic on what a client sends, and a
/// log that machines read must stay readable. The answer of the request says the rest.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("no message");
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("unnamed");
        tracing::error!(cause = message, place, thread, "panicked");
    }));
}
