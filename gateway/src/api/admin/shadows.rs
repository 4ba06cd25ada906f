//! What a model's shadow versions have come to.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde_json::json;
use weighbridge_config::Version;
use weighbridge_config::rollout::Percent;
use weighbridge_registry::{Model, VersionState};
use weighbridge_routing::Availability;

use super::{json_response, model_name, version_number};
use crate::api::extract::Path;
use crate::api::openapi::answers::{Exemplars, Shadows};
use crate::api::openapi::params::{ModelPath, VersionPath};
use crate::edge::problem::{Kind, Problem};
use crate::gateway::Gateway;
use crate::rollout::snapshot::ServedModel;
use crate::shadow::report::{self, Results, ShadowReport};
use crate::shadow::target::{self, Purpose};

/// `GET /models/{model}/shadows`
#[utoipa::path(
    get, path = "/admin/v1/models/{model}/shadows", operation_id = "listShadows", tag = "shadows",
    summary = "What the shadow versions of a model have come to",
    params(ModelPath),
    responses((status = 200, body = Shadows), (status = 404)),
)]
pub async fn list(
    State(gateway): State<Arc<Gateway>>,
    Path(model): Path<String>,
) -> Result<Response, Problem> {
    let model = gateway.control.registry.model(&model_name(&model)?).await?;
    let mirror = gateway.mirror.status();
    let snapshot = gateway.live.load_full();
    let served = snapshot.models.get(&model.name);
    let shadows = reports(&model, served.map(Arc::as_ref), mirror.off.as_deref());
    json_response(&json!({"model": model.name, "shadows": shadows, "mirror": mirror}))
}

/// `GET /models/{model}/shadows/{version}/exemplars`
#[utoipa::path(
    get, path = "/admin/v1/models/{model}/shadows/{version}/exemplars",
    operation_id = "listExemplars", tag = "shadows",
    summary = "Disagreements of a shadow, the worst first: data of users",
    params(VersionPath),
    responses((status = 200, body = Exemplars), (status = 404)),
)]
pub async fn exemplars(
    State(gateway): State<Arc<Gateway>>,
    Path((model, version)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let version = version_number(&version)?;
    let model = gateway.control.registry.model(&model_name(&model)?).await?;
    let snapshot = gateway.live.load_full();
    let served = snapshot.models.get(&model.name);
    let shadows = reports(&model, served.map(Arc::as_ref), None);
    if !shadows.iter().any(|shadow| shadow.version == version) {
        let known: Vec<String> = shadows.iter().map(|s| s.version.to_string()).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        let name = &model.name;
        let detail = format!("version {version} is no shadow of {name} (shadows here: {known})");
        return Err(Problem::new(Kind::NotFound, detail));
    }
    let targets = served.into_iter().flat_map(|served| &served.shadows);
    let exemplars: Vec<_> = targets
        .filter(|target| target.version.version == version)
        .flat_map(|target| target.sink.exemplars())
        .collect();
    json_response(&json!({"exemplars": exemplars}))
}

/// The shadows that run, and those that the settings name and that do not.
fn reports(model: &Model, served: Option<&ServedModel>, closed: Option<&str>) -> Vec<ShadowReport> {
    let targets = served.map(|served| served.shadows.as_slice()).unwrap_or_default();
    let mut reports: Vec<ShadowReport> = targets.iter().map(|t| t.report(closed)).collect();
    for (version, percent) in target::named(&model.settings) {
        let is_there = |r: &ShadowReport| r.version == version && r.purpose == Purpose::Setting;
        if !reports.iter().any(is_there) {
            reports.push(not_loaded(model, served, version, percent));
        }
    }
    reports
}

fn not_loaded(
    model: &Model,
    served: Option<&ServedModel>,
    version: Version,
    percent: Percent,
) -> ShadowReport {
    let availability = served.and_then(|served| served.route.versions.get(&version));
    let reason = match (model.version(version).map(|r| &r.state), availability) {
        (None, _) => format!("{} has no version {version}", model.name),
        (Some(VersionState::Ready), Some(Availability::Failed(reason))) => {
            format!("version {version} cannot be loaded: {reason}")
        }
        (Some(VersionState::Ready), _) => format!("version {version} is not loaded yet"),
        (Some(state), _) => format!("version {version} is {}", state.word()),
    };
    ShadowReport {
        version,
        percent,
        purpose: Purpose::Setting,
        state: report::State::NotLoaded,
        reason: Some(reason),
        results: Results::default(),
    }
}
