//! What happens once, between binding the ports and being ready.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use weighbridge_config::{Digest, Manifest, ModelName, Version};
use weighbridge_model_store::stream_of;
use weighbridge_registry::{
    Actor, Grant, IfRollout, Registry, Role, RouteChange, SqliteRegistry, VersionInfo, VersionState,
};

use super::Startup;
use crate::control::By;
use crate::data_dir::DataDir;
use crate::demo;
use crate::gateway::Gateway;
use crate::now_ms;
use crate::push::{Announced, Wanted};
use crate::secrets;

/// A request with a real image, for the commands that `--demo` prints.
const DEMO_REQUEST: &str = include_str!("../../demo/requests/digits.json");

/// Makes the first admin key if the registry has none. The file comes first: a process killed
/// in between finds it at its next start and registers it.
pub(super) async fn ensure_admin_key(
    gateway: &Gateway,
    data_dir: &DataDir,
) -> anyhow::Result<(PathBuf, Option<String>)> {
    let file = data_dir.path().join(weighbridge_config::client::KEY_FILE);
    let registry = &gateway.control.registry;
    let keys = registry.keys().await.context("cannot read the keys")?;
    if !keys.is_empty() {
        return Ok((file, None));
    }
    let found = data_dir.admin_key().context("cannot read the admin key")?;
    let is_new = found.is_none();
    let secret = found.unwrap_or_else(secrets::fresh_key);
    if is_new {
        data_dir.write_admin_key(&secret).context("cannot write the admin key")?;
    }
    let key = secrets::record_of(&secret, "first admin key", Grant::Role(Role::Admin), None);
    registry
        .create_key(key, &Actor::system(), now_ms())
        .await
        .context("cannot register the admin key")?;
    Ok((file, is_new.then_some(secret)))
}

/// A key made without a running server, for who has lost the last one: only possible while
/// nobody serves the data folder.
pub async fn offline_key(
    data_dir: &std::path::Path,
    name: &str,
    role: Role,
) -> anyhow::Result<String> {
    let data_dir = DataDir::hold(data_dir)?;
    let registry =
        SqliteRegistry::open(&data_dir.registry()).await.context("cannot open the registry")?;
    let secret = secrets::fresh_key();
    let key = secrets::record_of(&secret, name, Grant::Role(role), None);
    let actor = Actor { id: "offline".to_owned(), name: "keys create --offline".to_owned() };
    registry.create_key(key, &actor, now_ms()).await.context("cannot register the key")?;
    if role == Role::Admin {
        data_dir.write_admin_key(&secret).context("cannot write the admin key")?;
    }
    Ok(secret)
}

/// Finishes what an earlier process left, then sees to the models of the command line. Returns
/// what cannot be served, with reasons: it stops nothing else.
pub(super) async fn prepare(
    gateway: &Arc<Gateway>,
    data_dir: &DataDir,
    startup: Startup,
) -> anyhow::Result<Vec<String>> {
    gateway.pushes.resume();
    let mut failures = Vec::new();
    if startup.demo {
        let folder = data_dir.path().join("demo");
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("digits.json"), DEMO_REQUEST)?;
        for model in demo::models()? {
            let wanted = wanted(model.name, Some(model.version), model.info);
            let is_first = model.version.get() == 1;
            let onnx = Bytes::from_static(model.onnx);
            failures.extend(publish(gateway, wanted, onnx, is_first).await.err());
        }
    }
    for (name, path) in startup.models {
        let onnx = match std::fs::read(&path) {
            Ok(onnx) => Bytes::from(onnx),
            Err(error) => {
                failures.push(format!("{name}: cannot read {}: {error}", path.display()));
                continue;
            }
        };
        let info =
            VersionInfo { source: Some(path.display().to_string()), ..VersionInfo::default() };
        failures.extend(publish(gateway, wanted(name, None, info), onnx, true).await.err());
    }
    settle(gateway).await;
    Ok(failures)
}

fn wanted(model: ModelName, version: Option<Version>, info: VersionInfo) -> Wanted {
    // Who starts the gateway with a model wants it served: there is nobody to push it again.
    let info = VersionInfo { allow_incompatible: true, ..info };
    Wanted { model, version, info }
}

/// Pushes a model and, if `promote`, gives it all traffic, unless an operator has set a route.
async fn publish(
    gateway: &Gateway,
    wanted: Wanted,
    onnx: Bytes,
    promote: bool,
) -> Result<(), String> {
    let model = wanted.model.clone();
    let failed = |text: String| format!("{model}: {text}");
    let actor = Actor::system();
    // A number that is taken by other bytes (an operator's own push) is left alone.
    let wanted = with_free_number(gateway, wanted, &onnx).await;
    let registered = async {
        let blob = gateway.pushes.keep_model(stream_of(onnx), Announced::default()).await?;
        gateway.pushes.register(wanted, blob.into(), &actor).await
    };
    let registered = registered.await.map_err(|p| failed(p.detail.into_owned()))?;
    let (mut record, needs_check) = (registered.record.clone(), registered.needs_check);
    if needs_check {
        let operation = crate::push::operation_for(&record, &actor.id);
        gateway.pushes.finish(registered.record, operation).await;
        let model = gateway
            .control
            .registry
            .model(&record.model)
            .await
            .map_err(|e| failed(e.to_string()))?;
        record = model.version(record.version).cloned().unwrap_or(record);
    }
    if let VersionState::Rejected { reason } = &record.state {
        return Err(failed(reason.clone()));
    }
    if promote {
        promote_unless_set(gateway, &record.model, record.version, registered.is_new)
            .await
            .map_err(failed)?;
    }
    Ok(())
}

async fn with_free_number(gateway: &Gateway, mut wanted: Wanted, onnx: &Bytes) -> Wanted {
    let Some(version) = wanted.version else { return wanted };
    let Ok(model) = gateway.control.registry.model(&wanted.model).await else { return wanted };
    let digest = Manifest::single_onnx(onnx.len() as u64, Digest::of(onnx)).digest();
    let is_other = |r: &weighbridge_registry::VersionRecord| r.digest != digest;
    if model.version(version).is_some_and(is_other) {
        wanted.version = None;
    }
    wanted
}

async fn promote_unless_set(
    gateway: &Gateway,
    model: &ModelName,
    version: Version,
    is_new: bool,
) -> Result<(), String> {
    let registry = &gateway.control.registry;
    let now = registry.model(model).await.map_err(|e| e.to_string())?;
    let by = By { actor: Actor::system(), expected: Some(now.revision) };
    match &now.route {
        None => {
            gateway.control.sync.ensure_loaded(model, [version]).await?;
            registry
                .set_initial_route(model, version, &by.actor, now_ms())
                .await
                .map_err(|e| e.to_string())?;
            gateway.control.publish().await;
        }
        // A new file under a name whose route nobody but us has touched.
        Some(route) if route.set_by == by.actor.id && is_new => {
            let change = RouteChange::promote(version);
            let set = gateway.control.set_route(model, change, IfRollout::Refuse, &by).await;
            set.map_err(|p| p.detail.into_owned())?;
        }
        Some(_) => {}
    }
    Ok(())
}

/// Waits until each routed version is loaded or has failed.
async fn settle(gateway: &Gateway) {
    while !gateway.live.load().is_settled {
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
}

/// A line for each model: what answers, and what else is there.
pub(super) fn described(gateway: &Gateway) -> Vec<String> {
    let snapshot = gateway.live.load();
    let mut lines: Vec<String> = snapshot
        .models
        .values()
        .map(|m| {
            let route = m
                .route
                .split
                .as_ref()
                .map_or("no version promoted".to_owned(), ToString::to_string);
            let versions: Vec<String> = m.route.versions.keys().map(ToString::to_string).collect();
            format!("{} (route {route}; versions {})", m.name, versions.join(", "))
        })
        .collect();
    lines.sort_unstable();
    lines
}
