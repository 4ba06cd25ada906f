//! Ctrl-C and SIGTERM as a flag that every loop looks at, so that child processes are stopped and
//! what was measured so far is still reported.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result, bail};
use tokio::signal::unix::{SignalKind, signal};

/// Raised once, never lowered.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    raised: Arc<AtomicBool>,
}

impl Stop {
    /// A flag that SIGINT or SIGTERM raises. Further signals change nothing: winding up is bounded,
    /// and ending at once would leave the children behind.
    pub fn on_signal() -> Result<Self> {
        let stop = Self::default();
        let raised = stop.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .context("start the signal runtime")?;
        // The handlers are installed before this returns: no child can start unguarded.
        let (mut interrupt, mut terminate) = {
            let _guard = runtime.enter();
            let install = |kind| signal(kind).context("install a signal handler");
            (install(SignalKind::interrupt())?, install(SignalKind::terminate())?)
        };
        let wait = move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                raised.raise();
            });
        };
        // Detached on purpose: it waits for a signal as long as the process lives.
        thread::Builder::new().name("signals".into()).spawn(wait).context("start a thread")?;
        Ok(stop)
    }

    /// Asks for winding up, as a signal does.
    pub fn raise(&self) {
        self.raised.store(true, Ordering::Relaxed);
    }

    /// Whether to wind up.
    pub fn is_raised(&self) -> bool {
        self.raised.load(Ordering::Relaxed)
    }

    /// An error once raised: for places with nothing to report yet.
    pub fn check(&self) -> Result<()> {
        if self.is_raised() {
            bail!("interrupted");
        }
        Ok(())
    }
}
