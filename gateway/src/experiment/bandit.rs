//! Moves the weights of the experiments that learn. Each change is an epoch of its own in the
//! registry; units that have been exposed keep their variant.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use weighbridge_config::experiment::{Bandit, Thompson};
use weighbridge_experiment::mismatch::{Split, is_wrong};
use weighbridge_experiment::thompson::{Situation, Step, period, step};
use weighbridge_registry::Actor;

use super::Experiments;
use super::running::{Running, Shares};
use super::study;
use crate::now_ms;
use crate::rollout::sync::Sync;
use crate::telemetry::experiments as events;

/// How often is looked whether a change is due.
const LOOK: Duration = Duration::from_secs(1);

impl Experiments {
    /// Takes the steps that are due until `stop`. `sync` publishes the weights.
    pub async fn follow(self: Arc<Self>, sync: Arc<Sync>, stop: CancellationToken) {
        // After a restart the first step waits for a whole period, too.
        let mut last: HashMap<String, Instant> = HashMap::new();
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = stop.cancelled() => return,
            }
            let running = self.all();
            last.retain(|id, _| running.iter().any(|r| r.record.id == *id));
            for running in running {
                let Bandit::Thompson(thompson) = &running.spec.bandit else { continue };
                let period = period(thompson, &running.spec.metrics.primary);
                let last = last.entry(running.record.id.clone()).or_insert_with(Instant::now);
                if last.elapsed() < period {
                    continue;
                }
                *last = Instant::now();
                let told = match self.take_step(&running, thompson, &sync).await {
                    Ok(told) => told,
                    Err(error) => format!("the weights stay: {error}"),
                };
                if running.told.say(&told) {
                    events::bandit_moved(&running.record, &told);
                }
            }
        }
    }

    async fn take_step(
        &self,
        running: &Running,
        thompson: &Thompson,
        sync: &Arc<Sync>,
    ) -> weighbridge_registry::Result<String> {
        if self.is_frozen() {
            return Ok("the weights stay: everything is frozen".to_owned());
        }
        if running.seen.is_full() {
            return Ok("the weights stay: there are more units than can be remembered, \
                       and none may change its variant"
                .to_owned());
        }
        let (record, spec) = (&running.record, &running.spec);
        let registry = self.registry.as_ref();
        let units = study::units(registry, &record.id, spec, &spec.metrics.primary).await?.drawn;
        let mut split = Split::default();
        units.iter().for_each(|unit| split.add(unit.epoch, unit.variant, unit.share));
        let points = running.intervals().points();
        let situation = Situation {
            now: now_ms(),
            started_at: record.started_at,
            points: &points,
            split_is_wrong: is_wrong(split.log_evidence()),
        };
        let step = tokio::task::block_in_place(|| {
            step(spec, thompson, units, situation, &mut rand::random::<u64>)
        });
        let next = match step {
            Step::Stay(stay) => return Ok(format!("the weights stay: {}", stay.reason())),
            Step::Settled(winner) => {
                let name = spec.variants.get(winner).map_or("?", |v| v.name.as_str());
                return Ok(format!("the weights stay: {name} is the best variant"));
            }
            Step::Reweight(next) => next,
        };
        let Ok(intervals) = running.intervals().reweighted(&next) else {
            return Ok("the weights stay: the new ones are no whole".to_owned());
        };
        let shares = serde_json::json!(Shares { segments: intervals.segments() });
        let (expected, actor) = (Some(record.revision), Actor::system());
        registry.reshare_experiment(&record.id, shares, expected, &actor, now_ms()).await?;
        if let Err(error) = sync.refresh().await {
            // The poll brings it.
            crate::telemetry::events::registry_unreadable(&error);
        }
        let words = spec.variants.iter().zip(next).map(|(variant, points)| {
            let weight = weighbridge_config::split::percent(u64::from(points));
            format!("{}={weight}", variant.name)
        });
        Ok(format!("the weights became {}", words.collect::<Vec<_>>().join(" ")))
    }
}
