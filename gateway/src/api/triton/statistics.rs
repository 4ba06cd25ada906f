//! Extension "statistics": what each version has answered since it was loaded.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde_json::{Value, json};
use weighbridge_config::Version;
use weighbridge_grpc::inference::{
    InferBatchStatistics, InferStatistics, ModelStatistics, StatisticDuration,
};

use crate::api::ask;
use crate::api::extract::Path;
use crate::api::openapi::params::{ModelPath, VersionPath};
use crate::api::openapi::triton::Statistics;
use crate::edge::auth::Principal;
use crate::edge::problem::Problem;
use crate::gateway::Gateway;
use crate::serving::loaded::LoadedVersion;
use crate::telemetry::tally::{Told, Total};

/// `GET /v2/models/stats`
#[utoipa::path(
    get, path = "/v2/models/stats", operation_id = "statistics", tag = "models",
    summary = "Statistics of all loaded versions",
    responses((status = 200, body = Statistics)),
    security(("bearer" = ["predict"])),
)]
pub async fn all(
    State(gateway): State<Arc<Gateway>>,
    Extension(principal): Extension<Principal>,
) -> Result<Response, Problem> {
    Ok(json_of(&of(&gateway, &principal, None, None)?))
}

/// `GET /v2/models/{model}/stats`
#[utoipa::path(
    get, path = "/v2/models/{model}/stats", operation_id = "modelStatistics", tag = "models",
    summary = "Statistics of the loaded versions of a model",
    params(ModelPath),
    responses((status = 200, body = Statistics), (status = 404)),
    security(("bearer" = ["predict"])),
)]
pub async fn model(
    State(gateway): State<Arc<Gateway>>,
    Extension(principal): Extension<Principal>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    Ok(json_of(&of(&gateway, &principal, Some(&name), None)?))
}

/// `GET /v2/models/{model}/versions/{version}/stats`
#[utoipa::path(
    get, path = "/v2/models/{model}/versions/{version}/stats", operation_id = "versionStatistics", tag = "models",
    summary = "Statistics of one version",
    params(VersionPath),
    responses((status = 200, body = Statistics), (status = 404)),
    security(("bearer" = ["predict"])),
)]
pub async fn version(
    State(gateway): State<Arc<Gateway>>,
    Extension(principal): Extension<Principal>,
    Path((name, version)): Path<(String, String)>,
) -> Result<Response, Problem> {
    Ok(json_of(&of(&gateway, &principal, Some(&name), Some(&version))?))
}

/// The statistics of one version, of the loaded versions of one model, or of all that the
/// principal may ask.
pub fn of(
    gateway: &Gateway,
    principal: &Principal,
    name: Option<&str>,
    version: Option<&str>,
) -> Result<Vec<ModelStatistics>, Problem> {
    let snapshot = gateway.live.load_full();
    let version: Option<Version> = version.map(ask::parse_version).transpose()?;
    let Some(name) = name else {
        let is_open = gateway.door.load().is_data_plane_open();
        let may = |name: &str| is_open || principal.0.scopes.may_predict(name);
        let mut models: Vec<_> =
            snapshot.models.values().filter(|m| may(m.name.as_str())).collect();
        models.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        return Ok(models.into_iter().flat_map(|m| m.loaded.values().map(|v| told(v))).collect());
    };
    let model = ask::model(&snapshot, name)?;
    match version {
        None => Ok(model.loaded.values().map(|v| told(v)).collect()),
        Some(version) => match model.loaded.get(&version) {
            Some(loaded) => Ok(vec![told(loaded)]),
            None if model.route.versions.contains_key(&version) => {
                Err(ask::refusal(model, weighbridge_routing::Refusal::NotLoaded(version)))
            }
            None => Err(ask::refusal(model, weighbridge_routing::Refusal::UnknownVersion(version))),
        },
    }
}

fn told(version: &LoadedVersion) -> ModelStatistics {
    let Told { success, fail, queue, compute, rows, last_ms, batches } =
        version.metrics.tally.told();
    let duration = |total: Total| Some(StatisticDuration { count: total.count, ns: total.ns });
    // Inputs are taken over and outputs handed on within the run.
    let within = |count| Some(StatisticDuration { count, ns: 0 });
    let runs = batches.values().map(|total| total.count).sum();
    let batch = |(rows, total): (&usize, &Total)| InferBatchStatistics {
        batch_size: *rows as u64,
        compute_input: within(total.count),
        compute_infer: duration(*total),
        compute_output: within(total.count),
    };
    ModelStatistics {
        name: version.model.to_string(),
        version: version.version_text.clone(),
        last_inference: last_ms,
        inference_count: rows,
        execution_count: runs,
        inference_stats: Some(InferStatistics {
            success: duration(success),
            fail: duration(fail),
            queue: duration(queue),
            compute_input: within(compute.count),
            compute_infer: duration(compute),
            compute_output: within(compute.count),
            cache_hit: within(0),
            cache_miss: within(0),
        }),
        batch_stats: batches.iter().map(batch).collect(),
        // What a version takes is measured where it is vetted; its report has it.
        memory_usage: Vec::new(),
    }
}

fn json_of(statistics: &[ModelStatistics]) -> Response {
    let of = |duration: &Option<StatisticDuration>| {
        let StatisticDuration { count, ns } = duration.unwrap_or_default();
        json!({"count": count, "ns": ns})
    };
    let batch = |b: &InferBatchStatistics| {
        json!({
            "batch_size": b.batch_size,
            "compute_input": of(&b.compute_input),
            "compute_infer": of(&b.compute_infer),
            "compute_output": of(&b.compute_output),
        })
    };
    let one = |s: &ModelStatistics| {
        let sums = s.inference_stats.unwrap_or_default();
        json!({
            "name": s.name,
            "version": s.version,
            "last_inference": s.last_inference,
            "inference_count": s.inference_count,
            "execution_count": s.execution_count,
            "inference_stats": {
                "success": of(&sums.success),
                "fail": of(&sums.fail),
                "queue": of(&sums.queue),
                "compute_input": of(&sums.compute_input),
                "compute_infer": of(&sums.compute_infer),
                "compute_output": of(&sums.compute_output),
                "cache_hit": of(&sums.cache_hit),
                "cache_miss": of(&sums.cache_miss),
            },
            "batch_stats": s.batch_stats.iter().map(batch).collect::<Vec<Value>>(),
            "memory_usage": [],
        })
    };
    Json(json!({"model_stats": statistics.iter().map(one).collect::<Vec<Value>>()})).into_response()
}
