//! How the admin API shows an experiment.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use weighbridge_config::{ExperimentSpec, Version};
use weighbridge_experiment::Analysis;
use weighbridge_registry::{Experiment, ExperimentState, Millis, Revision};
use weighbridge_routing::experiment::Intervals;

use super::Experiments;
use super::running::Shares;
use crate::edge::problem::Problem;

/// An experiment, with its analysis where it was asked for.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = Experiment)]
pub struct View {
    pub id: String,
    pub model: String,
    pub name: String,
    pub state: ExperimentState,
    pub spec: Value,
    pub epoch: u64,
    /// The weights in force, in the order of the spec; empty when this release cannot read it.
    pub weights: Vec<Weight>,
    /// What the bandit did last.
    pub bandit: Option<String>,
    pub revision: Revision,
    pub started_at: Millis,
    pub started_by: String,
    pub stopped_at: Option<Millis>,
    pub stopped_by: Option<String>,
    pub outcome: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub analysis: Option<Analysis>,
}

/// The weight of a variant.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = VariantWeight)]
pub struct Weight {
    pub variant: String,
    pub version: Version,
    /// In percent.
    pub weight: f64,
}

impl Experiments {
    /// An experiment without its analysis.
    pub fn view(&self, record: &Experiment) -> View {
        let spec = serde_json::from_value(record.spec.clone());
        View {
            id: record.id.clone(),
            model: record.model.to_string(),
            name: record.name.clone(),
            state: record.state,
            spec: record.spec.clone(),
            epoch: record.epoch,
            weights: spec.map_or_else(|_| Vec::new(), |spec| weights(record, &spec)),
            bandit: self.find(&record.id).and_then(|running| running.told.last()),
            revision: record.revision,
            started_at: record.started_at,
            started_by: record.started_by.clone(),
            stopped_at: record.stopped_at,
            stopped_by: record.stopped_by.clone(),
            outcome: record.outcome.clone(),
            analysis: None,
        }
    }

    /// An experiment with its analysis.
    ///
    /// # Errors
    /// When its units cannot be read, or this release cannot read its spec.
    pub async fn analysed(&self, record: &Experiment) -> Result<View, Problem> {
        let spec: ExperimentSpec =
            serde_json::from_value(record.spec.clone()).map_err(Problem::internal)?;
        // What was logged a moment ago is part of it.
        self.flush().await;
        let analysis = self.studies.of(record, &spec).await?;
        Ok(View { analysis: Some((*analysis).clone()), ..self.view(record) })
    }
}

fn weights(record: &Experiment, spec: &ExperimentSpec) -> Vec<Weight> {
    let changed = record.shares.as_ref().and_then(|shares| {
        let shares: Shares = serde_json::from_value(shares.clone()).ok()?;
        Intervals::from_segments(&shares.segments, spec.variants.len()).ok()
    });
    let points = changed.map_or_else(|| spec.points(), |intervals| intervals.points());
    let weight = |points: u32| f64::from(points) / 100.0;
    spec.variants
        .iter()
        .zip(points)
        .map(|(v, points)| Weight {
            variant: v.name.clone(),
            version: v.version,
            weight: weight(points),
        })
        .collect()
}
