//! Changes: the registry is asked, what must be loaded is loaded first, and the new snapshot
//! is in force when the call returns.

use std::collections::BTreeMap;
use std::sync::Arc;

use weighbridge_config::{AliasName, ModelName, ModelSettings, Version};
use weighbridge_registry::{
    Actor, IfRollout, IfRouted, KeyRecord, Model, NewKey, Registry, RouteChange, VersionRecord,
    VersionState,
};

use crate::edge::problem::{Kind, Problem};
use crate::now_ms;
use crate::rollout::sync::Sync;
use crate::shadow::target;
use crate::telemetry::events;

/// Who asks for a change, and the revision that the change is based on.
#[derive(Debug, Clone)]
pub struct By {
    pub actor: Actor,
    /// `If-Match`.
    pub expected: Option<u64>,
}

/// Makes changes.
#[derive(Debug, Clone)]
pub struct Control {
    pub registry: Arc<dyn Registry>,
    pub sync: Arc<Sync>,
}

impl Control {
    /// Sets the weights of a model's route: one atomic switch, after the versions are loaded.
    pub async fn set_route(
        &self,
        model: &ModelName,
        change: RouteChange,
        if_rollout: IfRollout,
        by: &By,
    ) -> Result<Model, Problem> {
        let weighted = change.weights.iter().filter(|(_, weight)| **weight > 0);
        self.load_first(model, weighted.map(|(version, _)| *version)).await?;
        let (expected, actor) = (by.expected, &by.actor);
        let model =
            self.registry.set_route(model, change, if_rollout, expected, actor, now_ms()).await?;
        self.publish().await;
        Ok(model)
    }

    /// Goes back to the route before the one in force.
    pub async fn roll_back(
        &self,
        model: &ModelName,
        if_rollout: IfRollout,
        by: &By,
    ) -> Result<Model, Problem> {
        let now = self.registry.model(model).await?;
        let back_to = now.previous_route.iter().flat_map(|r| r.split.weights().into_keys());
        self.load_first(model, back_to).await?;
        let (expected, actor) = (by.expected, &by.actor);
        let model = self.registry.roll_back(model, if_rollout, expected, actor, now_ms()).await?;
        self.publish().await;
        Ok(model)
    }

    /// Points an alias to a version, or removes it.
    pub async fn set_alias(
        &self,
        model: &ModelName,
        alias: &AliasName,
        version: Option<Version>,
        by: &By,
    ) -> Result<Model, Problem> {
        let now = now_ms();
        let model = match version {
            Some(version) => {
                self.load_first(model, [version]).await?;
                self.registry.set_alias(model, alias, version, by.expected, &by.actor, now).await?
            }
            None => self.registry.remove_alias(model, alias, by.expected, &by.actor, now).await?,
        };
        self.publish().await;
        Ok(model)
    }

    /// Changes settings of a model; all mistakes are told together.
    pub async fn configure(
        &self,
        model: &ModelName,
        changes: &BTreeMap<String, String>,
        by: &By,
    ) -> Result<Model, Problem> {
        let now = self.registry.model(model).await?;
        let settings: ModelSettings = now.settings.with_changes(changes).map_err(|mistakes| {
            let lines: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
            Problem::new(Kind::InvalidRequest, lines.join("; "))
        })?;
        let is_released = now.rollout.as_ref().is_some_and(|rollout| rollout.is_active());
        if settings.loaded == Some(false) && (is_released || now.experiment.is_some()) {
            let detail =
                format!("{model} has a rollout or an experiment, which wants to be ended first");
            return Err(Problem::new(Kind::Conflict, detail));
        }
        let mut shadows = Vec::new();
        if changes.contains_key("shadows") || changes.contains_key("idempotent") {
            if let Some(refusal) = target::refusal(&now, &settings) {
                return Err(Problem::new(Kind::InvalidRequest, refusal));
            }
            shadows.extend(target::named(&settings).into_keys());
            self.load_first(model, shadows.iter().copied()).await?;
        }
        // What was read is what the change is based on, even when the caller names nothing.
        let expected = by.expected.or(Some(now.revision));
        let model = self.registry.configure(model, settings, expected, &by.actor, now_ms()).await?;
        self.publish().await;
        // What was loaded before the setting named it may be gone already. A shadow that cannot
        // be loaded any more changes nothing of what was recorded: its report says so.
        let _ = self.load_first(&model.name, shadows).await;
        Ok(model)
    }

    /// Puts a version away.
    pub async fn archive(
        &self,
        model: &ModelName,
        version: Version,
        by: &By,
    ) -> Result<VersionRecord, Problem> {
        let record =
            self.registry.archive(model, version, by.expected, &by.actor, now_ms()).await?;
        self.publish().await;
        Ok(record)
    }

    /// Deletes a version.
    pub async fn delete_version(
        &self,
        model: &ModelName,
        version: Version,
        by: &By,
    ) -> Result<(), Problem> {
        self.registry.delete_version(model, version, by.expected, &by.actor, now_ms()).await?;
        self.publish().await;
        Ok(())
    }

    /// Deletes a model with its versions.
    pub async fn delete_model(
        &self,
        model: &ModelName,
        if_routed: IfRouted,
        by: &By,
    ) -> Result<(), Problem> {
        self.registry.delete_model(model, if_routed, by.expected, &by.actor, now_ms()).await?;
        self.publish().await;
        Ok(())
    }

    /// Creates a key; it opens doors when the call returns.
    pub async fn create_key(&self, key: NewKey, by: &By) -> Result<KeyRecord, Problem> {
        let record = self.registry.create_key(key, &by.actor, now_ms()).await?;
        self.publish().await;
        Ok(record)
    }

    /// Revokes a key; it opens nothing when the call returns.
    pub async fn revoke_key(&self, id_or_prefix: &str, by: &By) -> Result<KeyRecord, Problem> {
        let record = self.registry.revoke_key(id_or_prefix, &by.actor, now_ms()).await?;
        self.publish().await;
        Ok(record)
    }

    /// Traffic moves only to what can answer. Versions that may not take traffic at all are
    /// left to the registry, which refuses them with the reason.
    pub async fn load_first(
        &self,
        model: &ModelName,
        versions: impl IntoIterator<Item = Version>,
    ) -> Result<(), Problem> {
        let now = self.registry.model(model).await?;
        if now.settings.loaded == Some(false) {
            let detail = format!("{model} was unloaded: weighbridge configure {model} loaded=true");
            return Err(Problem::new(Kind::Conflict, detail));
        }
        let is_ready =
            |v: &Version| now.version(*v).is_some_and(|r| r.state == VersionState::Ready);
        let versions: Vec<Version> = versions.into_iter().filter(is_ready).collect();
        self.sync
            .ensure_loaded(model, versions)
            .await
            .map_err(|reason| Problem::new(Kind::Conflict, reason))
    }

    /// The change is recorded: if it cannot be read back now, the poll brings it.
    pub async fn publish(&self) {
        if let Err(error) = self.sync.refresh().await {
            events::registry_unreadable(&error);
        }
    }
}
