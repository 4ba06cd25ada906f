//! Starting and stopping experiments.

use std::collections::BTreeSet;

use weighbridge_config::experiment::Layer;
use weighbridge_config::rollout::Percent;
use weighbridge_config::{ExperimentSpec, ModelName, Version};
use weighbridge_registry::{Experiment, ExperimentState, NewExperiment};
use weighbridge_routing::experiment::Slice;

use super::Experiments;
use crate::control::{By, Control};
use crate::edge::problem::{Kind, Problem};
use crate::now_ms;

/// Experiments of a model that are looked through for a name.
const LOOKED_THROUGH: u32 = 1_000;

impl Experiments {
    /// Starts an experiment, once its versions are loaded. `by.expected` is the model's
    /// revision.
    ///
    /// # Errors
    /// When the model has no route, its state forbids it, a version cannot be loaded, or there
    /// is no room in the layer.
    pub async fn start(
        &self,
        control: &Control,
        model: &ModelName,
        mut spec: ExperimentSpec,
        by: &By,
    ) -> Result<Experiment, Problem> {
        // Two starts must not take the same part of a layer.
        let _one_at_a_time = self.starting.lock().await;
        let record = self.registry.model(model).await?;
        if record.route.is_none() {
            let newest = record.versions.last().map_or(1, |v| v.version.get());
            return Err(Problem::new(
                Kind::Conflict,
                format!(
                    "no version of {model} has been promoted, so nothing answers who is in no experiment: weighbridge promote {model} {newest}"
                ),
            ));
        }
        if let Some(layer) = &mut spec.layer {
            let running = self.registry.snapshot().await?;
            let running: Vec<&Experiment> = running.experiments().collect();
            layer.from = Some(free_part(layer, &running)?);
        }
        let versions: BTreeSet<Version> = spec.variants.iter().map(|v| v.version).collect();
        control.load_first(model, versions.iter().copied()).await?;
        let new = NewExperiment {
            id: format!("ex-{:016x}", rand::random::<u64>()),
            name: spec.name.clone(),
            spec: serde_json::to_value(&spec).map_err(Problem::internal)?,
            versions,
        };
        let started =
            self.registry.start_experiment(model, new, by.expected, &by.actor, now_ms()).await?;
        control.publish().await;
        Ok(started)
    }

    /// Stops an experiment: its units go where the route says from now on. `by.expected` is
    /// the experiment's revision.
    pub async fn stop(
        &self,
        control: &Control,
        experiment: &Experiment,
        reason: Option<String>,
        by: &By,
    ) -> Result<Experiment, Problem> {
        let stopped = self
            .registry
            .stop_experiment(&experiment.id, reason, by.expected, &by.actor, now_ms())
            .await?;
        control.publish().await;
        Ok(stopped)
    }

    /// The experiment of a model by its id or its name; of several the newest.
    pub async fn named(&self, model: &ModelName, name: &str) -> Result<Experiment, Problem> {
        let all = self.registry.experiments(model, LOOKED_THROUGH).await?;
        let names: BTreeSet<String> = all.iter().map(|e| e.name.clone()).collect();
        let found = all.into_iter().find(|e| e.id == name || e.name == name);
        found.ok_or_else(|| {
            let name: String = name.chars().take(64).collect();
            let known: Vec<String> = names.into_iter().take(20).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            Problem::new(
                Kind::NotFound,
                format!("{model} has no experiment \"{name}\" (experiments here: {known})"),
            )
        })
    }
}

/// Where in its layer an experiment begins, beside those that run in it.
fn free_part(layer: &Layer, running: &[&Experiment]) -> Result<Percent, Problem> {
    let share = layer.share.as_points();
    let mut taken: Vec<(Slice, String)> = Vec::new();
    for other in running.iter().filter(|e| e.state == ExperimentState::Running) {
        // One that this release cannot read takes no part in assignment either.
        let Ok(spec) = serde_json::from_value::<ExperimentSpec>(other.spec.clone()) else {
            continue;
        };
        if let Some(of) = spec.layer.filter(|of| of.name == layer.name) {
            let from = of.from.map_or(0, Percent::as_points);
            let slice = Slice { from, share: of.share.as_points() };
            let told = format!(
                "{} of {} has {} from {}",
                other.name,
                other.model,
                of.share,
                Percent::points(from)
            );
            taken.push((slice, told));
        }
    }
    let refuse = |why: &str| {
        let told: Vec<&str> = taken.iter().map(|(_, told)| told.as_str()).collect();
        let (name, told) = (&layer.name, told.join(", "));
        Problem::new(Kind::Conflict, format!("spec.layer: {why} of the layer {name}: {told}"))
    };
    let slices: Vec<Slice> = taken.iter().map(|(slice, _)| *slice).collect();
    match layer.from {
        Some(from) => {
            let wanted = Slice { from: from.as_points(), share };
            match slices.iter().any(|slice| slice.overlaps(wanted)) {
                true => Err(refuse(&format!("{} from {from} is not free", layer.share))),
                false => Ok(from),
            }
        }
        None => Slice::first_free(share, &slices)
            .map(|slice| Percent::points(slice.from))
            .ok_or_else(|| refuse(&format!("there is no free {}", layer.share))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn running(name: &str, layer: serde_json::Value) -> Experiment {
        let spec = json!({
            "name": name, "unit": "header:u",
            "variants": [
                {"name": "a", "version": 1, "weight": 50},
                {"name": "b", "version": 2, "weight": 50},
            ],
            "metrics": {"primary": {"name": "m", "kind": "binary", "window": "1s"}},
            "layer": layer,
        });
        serde_json::from_value(json!({
            "id": name, "model": "fraud", "name": name, "spec": spec, "versions": [1, 2],
            "state": "running", "epoch": 0, "shares": null, "revision": 1, "started_at": 0,
            "started_by": "x", "stopped_at": null, "stopped_by": null, "outcome": null,
        }))
        .unwrap()
    }

    #[test]
    fn experiments_of_a_layer_get_parts_of_their_own() {
        let here = running("here", json!({"name": "checkout", "share": 40, "from": 0}));
        let there = running("there", json!({"name": "search", "share": 100, "from": 0}));
        let mut stopped = running("stopped", json!({"name": "checkout", "share": 60, "from": 40}));
        stopped.state = ExperimentState::Stopped;
        let of = |share: u32, from: Option<u32>| {
            let name = "checkout".to_owned();
            let layer =
                Layer { name, share: Percent::whole(share), from: from.map(Percent::whole) };
            free_part(&layer, &[&here, &there, &stopped])
        };
        assert_eq!(of(60, None), Ok(Percent::whole(40)));
        assert_eq!(of(20, Some(80)), Ok(Percent::whole(80)));
        let refused = of(61, None).unwrap_err();
        assert_eq!(refused.kind, Kind::Conflict);
        let told = "there is no free 61% of the layer checkout: here of fraud has 40% from 0%";
        assert!(refused.detail.contains(told), "{}", refused.detail);
        let refused = of(20, Some(30)).unwrap_err();
        assert!(refused.detail.contains("20% from 30% is not free"), "{}", refused.detail);
    }
}
