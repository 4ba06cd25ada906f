//! Log lines: JSON or pretty, to standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
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
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second subscriber in one process (tests) changes nothing.
    let _ = if json {
        builder.json().flatten_event(true).with_current_span(false).try_init()
    } else {
        builder.with_target(false).try_init()
    };
    log_panics();
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
