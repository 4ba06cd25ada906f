//! Models that are loaded on demand: what a request asks for is in memory before it is routed.

use std::sync::Arc;
use std::time::Instant;

use http::HeaderMap;
use weighbridge_config::Version;
use weighbridge_routing::{Ask, Availability, named};

use crate::api::ask::{self, PathAsk};
use crate::edge::problem::{Kind, Problem};
use crate::gateway::Gateway;
use crate::rollout::snapshot::{ServedModel, Snapshot};
use crate::telemetry::events;

/// A version may be put away between its load and the look at the table: a busy gateway with too
/// little memory. More often than this the request is better told so.
const MOST_LOADS: usize = 16;

/// The model of a path, with all that the request may be answered by in memory if the model is
/// loaded on demand. Waits for loads until the request's deadline.
pub async fn model(
    gateway: &Gateway,
    name: &str,
    path: PathAsk<'_>,
    headers: &HeaderMap,
    arrived: Instant,
) -> Result<Arc<ServedModel>, Problem> {
    let model = known(&gateway.live.load(), name)?;
    if !model.settings.is_on_demand() {
        return Ok(model);
    }
    let asked = ask::version_asked(path, headers)?;
    let ceiling = gateway.settings.limits.max_timeout;
    let deadline = ask::deadline(headers, arrived, model.settings.timeout, ceiling)?;
    let name = model.name.clone();
    let loaded = load(gateway, model, asked, deadline).await;
    loaded.inspect_err(|problem| events::refused(&name, problem.kind))
}

/// Loads what may answer `asked`, until `deadline`.
pub async fn load(
    gateway: &Gateway,
    mut model: Arc<ServedModel>,
    asked: Ask<'_>,
    deadline: Instant,
) -> Result<Arc<ServedModel>, Problem> {
    for _ in 0..MOST_LOADS {
        let missing = missing(&model, asked);
        if missing.is_empty() || !model.settings.is_on_demand() {
            break;
        }
        let fetched = gateway.control.sync.fetch(&model.name, missing);
        match tokio::time::timeout_at(deadline.into(), fetched).await {
            Ok(Ok(())) => {}
            Ok(Err(reason)) => return Err(Problem::new(Kind::NotReady, reason)),
            Err(_) => {
                let detail = format!(
                    "{} is not in memory, and loading it takes longer than the request may: \
                     it goes on, try again",
                    model.name
                );
                return Err(Problem::new(Kind::NotReady, detail));
            }
        }
        model = known(&gateway.live.load(), model.name.as_str())?;
    }
    Ok(model)
}

fn known(snapshot: &Snapshot, name: &str) -> Result<Arc<ServedModel>, Problem> {
    ask::model(snapshot, name).cloned()
}

/// The versions that may answer and are not in memory.
fn missing(model: &ServedModel, asked: Ask<'_>) -> Vec<Version> {
    let is_missing = |v: &Version| model.route.versions.get(v) == Some(&Availability::NotLoaded);
    named(&model.route, asked).into_iter().filter(is_missing).collect()
}
