//! Takes over settings that change while the gateway runs: on SIGHUP, and when the file's
//! contents change.
//!
//! New settings come into force whole or not at all. What counts only from the next start (the
//! addresses, the threads) stays as it is, which is said.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio_util::sync::CancellationToken;
use weighbridge_config::{Digest, Overrides, Settings};

use crate::edge::door::Door;
use crate::gateway::{Gateway, Reloaded};
use crate::now_ms;
use crate::telemetry::{events, logging};

/// How often the file is looked at. A look reads a few kilobytes; watching the folder instead
/// would miss a file that is mounted from elsewhere.
const LOOK: Duration = Duration::from_secs(2);

/// Where the settings of this process come from.
#[derive(Debug, Clone, Default)]
pub struct SettingsSource {
    pub file: Option<PathBuf>,
    pub overrides: Overrides,
}

impl SettingsSource {
    /// What tells whether the file has changed; none where there is no file, or it is being
    /// replaced just now.
    async fn seen(&self) -> Option<Digest> {
        let file = self.file.clone()?;
        let read = tokio::task::spawn_blocking(move || std::fs::read(file)).await;
        read.ok()?.ok().map(|bytes| Digest::of(&bytes))
    }
}

/// Takes over new settings until `stop`.
pub(super) async fn follow(
    gateway: Arc<Gateway>,
    source: SettingsSource,
    mut asked: Signal,
    stop: CancellationToken,
) {
    let mut seen = source.seen().await;
    // What has changed since the start read it.
    take_over(&gateway, source.clone(), true).await;
    loop {
        let is_asked = tokio::select! {
            signal = asked.recv() => signal.is_some(),
            () = tokio::time::sleep(LOOK), if source.file.is_some() => false,
            () = stop.cancelled() => return,
        };
        let now = source.seen().await;
        let is_changed = now.is_some() && now != seen;
        if is_changed {
            seen = now;
        }
        if is_asked || is_changed {
            take_over(&gateway, source.clone(), false).await;
        }
    }
}

/// With `only_news` nothing is said where nothing has changed.
async fn take_over(gateway: &Gateway, source: SettingsSource, only_news: bool) {
    let loaded = tokio::task::spawn_blocking(move || {
        Settings::load(source.file.as_deref(), &source.overrides).map_err(|e| e.to_string())
    });
    let loaded = loaded.await.unwrap_or_else(|error| Err(error.to_string()));
    let outcome = loaded.and_then(|new| adopt(gateway, &new).map_err(|e| format!("{e:#}")));
    let reloaded = match outcome {
        Ok(Reloaded { changed, needs_restart, .. })
            if only_news && changed.is_empty() && needs_restart.is_empty() =>
        {
            return;
        }
        Ok(reloaded) => {
            let (changed, needs_restart) =
                (reloaded.changed.join(", "), reloaded.needs_restart.join(", "));
            tracing::info!(changed, needs_restart, "the settings were read again");
            reloaded
        }
        Err(error) => {
            tracing::error!(error, "the new settings cannot be used: the old ones stay");
            let (changed, needs_restart) = (Vec::new(), Vec::new());
            Reloaded { at: now_ms(), changed, needs_restart, error: Some(error) }
        }
    };
    events::reloaded(reloaded.error.is_none());
    gateway.reload.note(reloaded);
}

fn adopt(gateway: &Gateway, new: &Settings) -> anyhow::Result<Reloaded> {
    let before = gateway.door.load_full();
    let (changed, needs_restart): (Vec<_>, Vec<_>) =
        before.settings.differences(new).into_iter().partition(|difference| difference.is_live);
    let door = Door::open(before.settings.with_live(new), &before)?;
    logging::set_level(&door.settings.logging.level);
    gateway.door.store(Arc::new(door));
    let keys = |of: Vec<weighbridge_config::settings::Difference>| {
        of.into_iter().map(|difference| difference.key).collect()
    };
    Ok(Reloaded {
        at: now_ms(),
        changed: keys(changed),
        needs_restart: keys(needs_restart),
        error: None,
    })
}
