//! From the units of the registry to an analysis.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use weighbridge_config::ExperimentSpec;
use weighbridge_config::experiment::Metric;
use weighbridge_experiment::{Analysis, Observation, Study};
use weighbridge_registry::{Experiment, MOST_UNITS, Registry, UnitQuery, UnitSum};

use super::running::{Logged, Running};
use super::seen::Mark;
use crate::edge::problem::Problem;
use crate::now_ms;

/// An analysis is shown again for this long, and for ten times as long as it took.
const FRESH: Duration = Duration::from_secs(1);

/// Makes analyses, one at a time.
#[derive(Debug)]
pub struct Studies {
    registry: Arc<dyn Registry>,
    /// By id of the experiment.
    last: Mutex<HashMap<String, Made>>,
}

#[derive(Debug)]
struct Made {
    until: Instant,
    analysis: Arc<Analysis>,
}

impl Studies {
    /// Of the experiments in `registry`.
    pub fn new(registry: Arc<dyn Registry>) -> Self {
        Self { registry, last: Mutex::default() }
    }

    /// What an experiment has found.
    ///
    /// # Errors
    /// When the registry cannot be read.
    pub async fn of(
        &self,
        record: &Experiment,
        spec: &ExperimentSpec,
    ) -> Result<Arc<Analysis>, Problem> {
        let mut last = self.last.lock().await;
        last.retain(|_, made| Instant::now() < made.until);
        if let Some(made) = last.get(&record.id) {
            return Ok(Arc::clone(&made.analysis));
        }
        let began = Instant::now();
        let mut study = Study::new(spec, now_ms());
        let mut forced = 0;
        for metric in spec.metrics.all() {
            let units = units(self.registry.as_ref(), &record.id, spec, metric).await?;
            forced = units.forced;
            // A million units take a while.
            tokio::task::block_in_place(|| study.take(metric, units.drawn, &units.held));
        }
        let analysis = Arc::new(study.finish(forced));
        let until = Instant::now() + FRESH.max(began.elapsed() * 10);
        let made = Made { until, analysis: Arc::clone(&analysis) };
        last.insert(record.id.clone(), made);
        Ok(analysis)
    }
}

/// All units of an experiment, with what was reported of one metric.
#[derive(Debug, Default)]
pub(super) struct Units {
    pub drawn: Vec<Observation>,
    pub held: Vec<Observation>,
    pub forced: u64,
}

pub(super) async fn units(
    registry: &dyn Registry,
    experiment: &str,
    spec: &ExperimentSpec,
    metric: &Metric,
) -> weighbridge_registry::Result<Units> {
    let mut units = Units::default();
    let within = u64::try_from(metric.window.as_millis()).ok();
    each(registry, experiment, &metric.name, within, |unit| {
        let observation = |variant| Observation {
            variant,
            share: unit.share,
            epoch: unit.epoch,
            at: unit.first_seen_at,
            count: unit.count,
            sum: unit.sum,
        };
        match Running::logged(spec, &unit.variant) {
            Logged::Drawn(place) => units.drawn.push(observation(place)),
            Logged::Holdout => units.held.push(observation(0)),
            Logged::Forced => units.forced += 1,
        }
    })
    .await?;
    Ok(units)
}

/// Remembers what the units of an experiment have seen.
pub(super) async fn remember(
    registry: &dyn Registry,
    running: &Running,
) -> weighbridge_registry::Result<()> {
    let metric = &running.spec.metrics.primary.name;
    each(registry, &running.record.id, metric, Some(0), |unit| {
        let mark = match Running::logged(&running.spec, &unit.variant) {
            Logged::Drawn(place) => Mark::Variant(place as u8),
            Logged::Holdout | Logged::Forced => Mark::Aside,
        };
        running.seen.insert(&unit.unit, mark);
    })
    .await
}

async fn each(
    registry: &dyn Registry,
    experiment: &str,
    metric: &str,
    within: Option<u64>,
    mut take: impl FnMut(&UnitSum),
) -> weighbridge_registry::Result<()> {
    let mut query = UnitQuery {
        experiment: experiment.to_owned(),
        metric: metric.to_owned(),
        within,
        after: None,
        limit: MOST_UNITS,
    };
    loop {
        let page = registry.units(&query).await?;
        page.iter().for_each(&mut take);
        match page.last() {
            Some(last) if page.len() >= MOST_UNITS as usize => {
                query.after = Some(last.unit.clone());
            }
            _ => return Ok(()),
        }
    }
}
