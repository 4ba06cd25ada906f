//! What goes on beside requests: metrics upkeep, the use of keys, blobs nobody names.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use weighbridge_config::Digest;
use weighbridge_model_store::ModelStore;
use weighbridge_registry::{MOST_IN_BATCH, QuotaUse, Registry};

use crate::edge::limit::quota::day_of;
use crate::edge::problem::chain;
use crate::gateway::Gateway;
use crate::now_ms;

/// Histograms keep each sample until the upkeep.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);
/// The loss of a crash: when a key was last used may be this old.
const KEY_USE_FLUSH: Duration = Duration::from_secs(15);
/// The loss of a crash: what tenants used of their quotas in so much time.
const QUOTA_FLUSH: Duration = Duration::from_secs(10);
/// How often the keys of issuers are looked at; each knows when it is due.
const ISSUERS_LOOK: Duration = Duration::from_secs(2);
/// How often what is known of answer times counts half.
const LATENCY_HALVING: Duration = Duration::from_secs(60);
/// How often blobs are looked through.
const BLOB_SWEEP: Duration = Duration::from_secs(3600);

/// Starts the background tasks; they end with `stop`.
pub(super) fn start(
    gateway: &Arc<Gateway>,
    store: &Arc<dyn ModelStore>,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) {
    let own = Arc::clone(gateway);
    every(tasks, stop, METRICS_UPKEEP, move || {
        let gateway = Arc::clone(&own);
        async move { gateway.metrics.run_upkeep() }
    });
    let own = Arc::clone(gateway);
    every(tasks, stop, LATENCY_HALVING, move || {
        let gateway = Arc::clone(&own);
        async move {
            for model in gateway.live.load().models.values() {
                let control = model.trial.as_ref().and_then(|trial| trial.control.copy());
                model.loaded.values().chain(control).for_each(|v| v.latencies.halve());
            }
        }
    });
    let own = Arc::clone(gateway);
    every(tasks, stop, KEY_USE_FLUSH, move || {
        let gateway = Arc::clone(&own);
        async move { write_key_use(&gateway).await }
    });
    let own = Arc::clone(gateway);
    every(tasks, stop, QUOTA_FLUSH, move || {
        let gateway = Arc::clone(&own);
        async move { write_quotas(&gateway).await }
    });
    let own = Arc::clone(gateway);
    every(tasks, stop, ISSUERS_LOOK, move || {
        let keys: Vec<_> = own.door.load().issuers.keys().collect();
        async move {
            for keys in keys {
                keys.tend().await;
            }
        }
    });
    let (own, stopped) = (Arc::clone(gateway), stop.clone());
    tasks.spawn(async move { own.mirror.watch(stopped).await });
    let (own, store) = (Arc::clone(gateway), Arc::clone(store));
    every(tasks, stop, BLOB_SWEEP, move || {
        let (gateway, store) = (Arc::clone(&own), Arc::clone(&store));
        async move {
            let grace = gateway.settings.store.blob_grace;
            if let Err(error) =
                sweep_blobs(gateway.control.registry.as_ref(), store.as_ref(), grace).await
            {
                tracing::warn!(error, "cannot clean up the model store");
            }
        }
    });
}

fn every<F, Work>(tasks: &TaskTracker, stop: &CancellationToken, period: Duration, mut work: F)
where
    F: FnMut() -> Work + Send + 'static,
    Work: Future<Output = ()> + Send + 'static,
{
    let stop = stop.clone();
    tasks.spawn(async move {
        loop {
            tokio::select! {
                () = tokio::time::sleep(period) => work().await,
                () = stop.cancelled() => return,
            }
        }
    });
}

/// Writes when keys were last used.
pub(super) async fn write_key_use(gateway: &Gateway) {
    for (id, at) in gateway.key_use.drain() {
        if let Err(error) = gateway.control.registry.touch_key(&id, at).await {
            tracing::debug!(error = chain(&error), "cannot note the use of a key");
        }
    }
}

/// Goes on counting quotas where the last process stopped.
pub(super) async fn recall_quotas(gateway: &Gateway) -> anyhow::Result<()> {
    let day = day_of(now_ms());
    let known = gateway.control.registry.quota_use(day).await;
    gateway.quotas.recall(day, known.context("cannot read the use of quotas")?);
    Ok(())
}

/// Adds what tenants have used of their quotas to the registry.
pub(super) async fn write_quotas(gateway: &Gateway) {
    loop {
        let untold = gateway.quotas.untold(MOST_IN_BATCH);
        if untold.is_empty() {
            return;
        }
        let mut days: BTreeMap<u64, Vec<QuotaUse>> = BTreeMap::new();
        for (day, used) in untold {
            days.entry(day).or_default().push(used);
        }
        let mut failed = Vec::new();
        for (day, used) in days {
            if let Err(error) = gateway.control.registry.add_quota_use(day, &used).await {
                tracing::warn!(error = chain(&error), "cannot note the use of quotas");
                failed.extend(used.into_iter().map(|used| (day, used)));
            }
        }
        if !failed.is_empty() {
            gateway.quotas.give_back(failed);
            return;
        }
    }
}

/// Removes blobs that no version has named for `grace`.
async fn sweep_blobs(
    registry: &dyn Registry,
    store: &dyn ModelStore,
    grace: Duration,
) -> Result<(), String> {
    // Blobs first: one that is put after this list is younger than any grace.
    let blobs = store.list().await.map_err(|e| chain(&e))?;
    let models = registry.snapshot().await.map_err(|e| chain(&e))?.models;
    let versions = models.iter().flat_map(|m| &m.versions);
    let named: HashSet<Digest> =
        versions.flat_map(|v| v.manifest.files()).map(|f| f.sha256).collect();
    let Some(moment) = SystemTime::now().checked_sub(grace) else { return Ok(()) };
    for blob in blobs.iter().filter(|b| !named.contains(&b.digest)) {
        if store.remove_older(blob.digest, moment).await.map_err(|e| chain(&e))? {
            tracing::info!(digest = %blob.digest, bytes = blob.size, "removed a blob that no version names");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use weighbridge_config::Manifest;
    use weighbridge_model_store::{MemoryStore, PutLimits, stream_of};
    use weighbridge_registry::{Actor, NewVersion, SqliteRegistry, VersionInfo};

    use super::*;

    #[tokio::test]
    async fn only_blobs_that_no_version_names_are_removed() {
        let (registry, store) = (SqliteRegistry::in_memory().await.unwrap(), MemoryStore::new());
        let named = store.put(stream_of("named"), PutLimits::at_most(10)).await.unwrap();
        let lost = store.put(stream_of("lost"), PutLimits::at_most(10)).await.unwrap();
        let new = NewVersion {
            model: "m".parse().unwrap(),
            version: None,
            manifest: Manifest::single_onnx(named.size, named.digest),
            info: VersionInfo::default(),
        };
        registry.register_version(new, &Actor::system(), 1).await.unwrap();
        sweep_blobs(&registry, &store, Duration::from_secs(3600)).await.unwrap();
        assert!(store.contains(lost.digest).await.unwrap(), "younger than the grace");
        sweep_blobs(&registry, &store, Duration::ZERO).await.unwrap();
        assert!(!store.contains(lost.digest).await.unwrap());
        assert!(store.contains(named.digest).await.unwrap());
    }
}
