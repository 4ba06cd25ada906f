//! Which versions are shadows of a model, and by which rules they are compared.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use weighbridge_config::rollout::{OutputTolerance, Percent};
use weighbridge_config::{ModelName, ModelSettings, Version};
use weighbridge_registry::{Model, VersionState};

use crate::rollout::snapshot::EffectiveSettings;
use crate::serving::loaded::LoadedVersion;
use crate::shadow::comparisons::Comparisons;
use crate::shadow::report::{ShadowReport, State};

/// A version that sees copies of a model's requests.
#[derive(Debug, Clone)]
pub struct ShadowTarget {
    pub version: Arc<LoadedVersion>,
    /// The share of the requests that are copied, by a coin of this shadow's own.
    pub share: Percent,
    pub purpose: Purpose,
    pub rules: Arc<Rules>,
    /// Where its pairs are counted.
    pub sink: Arc<Comparisons>,
}

/// Why a version is a shadow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[derive(utoipa::ToSchema)]
#[schema(as = ShadowPurpose)]
pub enum Purpose {
    /// The model's setting `shadows` names it.
    Setting,
    /// It is the canary of a rollout in its shadow stage.
    Rollout,
}

/// How a shadow is run and compared.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rules {
    /// When two outputs are the same.
    pub tolerance: OutputTolerance,
    /// True when NaN and infinities are answers and not failures.
    pub allow_nan: bool,
    /// The most rows of a run, as for live requests.
    pub max_batch_size: usize,
}

impl ShadowTarget {
    /// Why it is not run: the shadow was switched off, or its version is in quarantine.
    pub fn off(&self) -> Option<&str> {
        self.sink.off().or_else(|| self.version.quarantine())
    }

    /// What it has come to. `closed` says why no shadow runs, when none does.
    pub fn report(&self, closed: Option<&str>) -> ShadowReport {
        let reason = self.off().or(closed).map(str::to_owned);
        ShadowReport {
            version: self.version.version,
            percent: self.share,
            purpose: self.purpose,
            state: if reason.is_some() { State::Off } else { State::On },
            reason,
            results: self.sink.results(),
        }
    }
}

/// The counts of the shadows that settings name. They are kept for as long as the setting names
/// the version, whatever else changes.
#[derive(Debug, Default)]
pub struct Sinks(HashMap<(ModelName, Version), Arc<Comparisons>>);

impl Sinks {
    /// The shadows of `model` that can run: those that its setting names and that are loaded.
    pub fn targets(
        &mut self,
        model: &Model,
        settings: &EffectiveSettings,
        loaded: &BTreeMap<Version, Arc<LoadedVersion>>,
    ) -> Vec<ShadowTarget> {
        let named = named(&model.settings);
        if named.is_empty() {
            return Vec::new();
        }
        let rules = Arc::new(Rules {
            tolerance: OutputTolerance::default(),
            allow_nan: model.settings.allow_nan.unwrap_or(false),
            max_batch_size: settings.batching.max_batch_size,
        });
        let target = |(version, share): (&Version, &Percent)| {
            let sink = self.0.entry((model.name.clone(), *version));
            let sink = sink.or_insert_with(|| Arc::new(Comparisons::new(&model.name, *version)));
            Some(ShadowTarget {
                version: Arc::clone(loaded.get(version)?),
                share: *share,
                purpose: Purpose::Setting,
                rules: Arc::clone(&rules),
                sink: Arc::clone(sink),
            })
        };
        named.iter().filter_map(target).collect()
    }

    /// Forgets the counts of what is no shadow any more.
    pub fn retain(&mut self, models: &[Model]) {
        let is_named = |(name, version): &(ModelName, Version)| {
            let model = models.iter().find(|m| m.name == *name);
            model.is_some_and(|m| named(&m.settings).contains_key(version))
        };
        self.0.retain(|key, _| is_named(key));
    }
}

/// The shadows that settings name; none when running a request twice does harm.
pub fn named(settings: &ModelSettings) -> BTreeMap<Version, Percent> {
    match settings.idempotent {
        Some(false) => BTreeMap::new(),
        _ => settings.shadows.clone().unwrap_or_default(),
    }
}

/// Why `settings` cannot have the shadows that they name: a version that the model does not have
/// or that may not run, or a model whose requests may not run twice.
pub fn refusal(model: &Model, settings: &ModelSettings) -> Option<String> {
    let shadows = settings.shadows.as_ref().filter(|shadows| !shadows.is_empty())?;
    let list: Vec<String> =
        shadows.iter().map(|(v, share)| format!("{v}={}", f64::from(*share))).collect();
    let list = list.join(",");
    if settings.idempotent == Some(false) {
        return Some(format!(
            "shadows = \"{list}\" and idempotent = \"false\": a shadow runs requests a second \
             time; wanted one of the two cleared"
        ));
    }
    let wrong = |version: &Version| match model.version(*version).map(|r| &r.state) {
        None => {
            let known: Vec<String> = model.versions.iter().map(|r| r.version.to_string()).collect();
            let known = known.join(", ");
            Some(format!("{} has no version {version} (versions here: {known})", model.name))
        }
        Some(VersionState::Ready) => None,
        Some(state) => Some(format!("version {version} of {} is {}", model.name, state.word())),
    };
    let wrong: Vec<String> = shadows.keys().filter_map(wrong).collect();
    (!wrong.is_empty()).then(|| format!("shadows = \"{list}\": {}", wrong.join("; ")))
}
