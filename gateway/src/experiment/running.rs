//! An experiment as requests see it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use http::request::Parts;
use serde::{Deserialize, Serialize};
use weighbridge_config::ExperimentSpec;
use weighbridge_config::experiment::{Bandit, HOLDOUT, LONGEST_UNIT, UnitSource};
use weighbridge_protocol::v2::InferRequest;
use weighbridge_registry::{Experiment, Exposure, RequestUnit};
use weighbridge_routing::experiment::{Assignment, Chosen, Intervals, Place, Slice, Unit};
use weighbridge_routing::{Ask, Decision, ModelRoute, Reason, Refusal, decide_variant};

use super::log::{Entry, Log};
use super::seen::{Mark, Seen};
use crate::edge::problem::{Kind, Problem};
use crate::edge::request_id::RequestId;
use crate::now_ms;
use crate::telemetry::experiments::RequestMetrics;

/// Asks for a variant by name.
const OVERRIDE: &str = "weighbridge-variant-override";
/// How a variant is logged that the request or the spec's list asked for.
const FORCED: &str = "forced/";

/// The shares of an experiment whose weights have changed, as the registry keeps them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shares {
    /// Runs of (place of the variant, basis points) from point 0 upwards.
    pub segments: Vec<(u8, u32)>,
}

/// What a logged variant means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Logged {
    /// At this place of the spec, drawn: the only ones that are analysed.
    Drawn(usize),
    Holdout,
    /// By request or by the spec's list, or of a spec that is not this one.
    Forced,
}

/// An experiment that runs, at one of its epochs.
#[derive(Debug)]
pub struct Running {
    pub record: Experiment,
    pub spec: ExperimentSpec,
    /// What its bandit did last, in words; shared by all epochs.
    pub told: Arc<Told>,
    table: Assignment,
    /// By variant, 0 to 1.
    shares: Vec<f64>,
    name: Arc<str>,
    variants: Vec<Arc<str>>,
    holdout: Arc<str>,
    pub(super) seen: Arc<Seen>,
    log: Arc<Log>,
    metrics: RequestMetrics,
}

/// One sentence that changes.
#[derive(Debug, Default)]
pub struct Told(Mutex<Option<String>>);

impl Told {
    /// Replaces it; false when it was the same.
    pub fn say(&self, text: &str) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = told.as_deref() != Some(text);
        if is_new {
            *told = Some(text.to_owned());
        }
        is_new
    }

    /// What was said last.
    pub fn last(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Running {
    /// As the registry has it; `before` is the same experiment at its epoch before.
    ///
    /// # Errors
    /// When this release cannot read it.
    pub fn new(record: &Experiment, before: Option<&Self>, log: Arc<Log>) -> Result<Self, String> {
        let spec: ExperimentSpec =
            serde_json::from_value(record.spec.clone()).map_err(|e| e.to_string())?;
        let intervals = intervals(record, &spec)?;
        let shares = intervals.points().iter().map(|p| f64::from(*p) / 10_000.0).collect();
        let layer = spec.layer.as_ref().map(|layer| {
            let from = layer.from.map_or(0, |from| from.as_points());
            (layer.name.as_str(), Slice { from, share: layer.share.as_points() })
        });
        let overrides: BTreeMap<String, usize> = spec
            .overrides
            .iter()
            .filter_map(|(unit, variant)| Some((unit.clone(), spec.place_of(variant)?)))
            .collect();
        let holdout = spec.holdout.as_points();
        let table = Assignment::new(&record.id, layer, holdout, intervals, overrides);
        Ok(Self {
            metrics: RequestMetrics::new(record, &spec),
            told: before.map_or_else(Arc::default, |b| Arc::clone(&b.told)),
            seen: before.map_or_else(Arc::default, |b| Arc::clone(&b.seen)),
            name: record.name.as_str().into(),
            variants: spec.variants.iter().map(|v| v.name.as_str().into()).collect(),
            holdout: HOLDOUT.into(),
            record: record.clone(),
            spec,
            table,
            shares,
            log,
        })
    }

    /// True when the unit is in the body of the request.
    pub fn wants_body(&self) -> bool {
        matches!(self.spec.unit, UnitSource::Parameter(_))
    }

    /// The points that each variant owns.
    pub fn intervals(&self) -> &Intervals {
        self.table.intervals()
    }

    /// What was logged as `variant`.
    pub fn logged(spec: &ExperimentSpec, variant: &str) -> Logged {
        match variant {
            HOLDOUT => Logged::Holdout,
            name => spec.place_of(name).map_or(Logged::Forced, Logged::Drawn),
        }
    }

    /// The decision for a request, unless the route decides: because the request asks for a
    /// version, or because its unit is not in this experiment. What was decided is logged.
    ///
    /// # Errors
    /// When the request asks for a variant that there is not.
    pub fn place(
        &self,
        route: &ModelRoute,
        asked: Ask<'_>,
        request: &Parts,
        body: Option<&InferRequest>,
    ) -> Result<Option<Result<Decision, Refusal>>, Problem> {
        if asked != Ask::Routed {
            return Ok(None);
        }
        let forced = self.forced(request)?;
        let parameter;
        let unit = match &self.spec.unit {
            UnitSource::Header(name) => request
                .headers
                .get(name.as_str())
                .and_then(|value| std::str::from_utf8(value.as_bytes()).ok()),
            UnitSource::Parameter(name) => {
                parameter = body.and_then(|body| body.parameter(name));
                parameter.as_deref()
            }
        };
        // Each is a row of the registry: one that is longer is taken as missing.
        let unit = unit.filter(|unit| !unit.is_empty() && unit.len() <= LONGEST_UNIT);
        let known = unit.and_then(|unit| self.seen.get(unit));
        let place = match (forced, known) {
            // A unit keeps its variant when the weights change.
            (None, Some(Mark::Variant(place))) => Place::Variant(usize::from(place), Chosen::Unit),
            _ => {
                let unit = unit.map_or_else(|| Unit::Missing(rand::random()), Unit::Key);
                self.table.place(unit, forced)
            }
        };
        let Some(decision) = self.decide(route, place) else { return Ok(None) };
        let is_served =
            decision.as_ref().is_ok_and(|d| matches!(d.reason, Reason::Experiment { .. }));
        if !is_served {
            self.metrics.fell_back();
            return Ok(Some(decision));
        }
        self.metrics.placed(place);
        if let Some(unit) = unit {
            self.note(unit, place, known.is_none(), request);
        }
        Ok(Some(decision))
    }

    fn forced(&self, request: &Parts) -> Result<Option<usize>, Problem> {
        let Some(value) = request.headers.get(OVERRIDE) else { return Ok(None) };
        let name = String::from_utf8_lossy(value.as_bytes());
        let place = self.spec.place_of(name.trim());
        place.map(Some).ok_or_else(|| {
            let name: String = name.chars().take(64).collect();
            let known = self.variants.join(", ");
            Problem::new(
                Kind::InvalidRequest,
                format!(
                    "{OVERRIDE} is \"{name}\": wanted a variant of the experiment {} ({known})",
                    self.name
                ),
            )
        })
    }

    fn decide(&self, route: &ModelRoute, place: Place) -> Option<Result<Decision, Refusal>> {
        let (version, variant, note) = match place {
            Place::Outside => return None,
            // Without a route there is no stable version: the route's refusal says so.
            Place::Holdout => (route.split.as_ref()?.stable(), &self.holdout, "holdout"),
            Place::Variant(at, chosen) => {
                let variant = self.spec.variants.get(at)?;
                (variant.version, self.variants.get(at)?, note_of(chosen))
            }
        };
        let reason =
            Reason::Experiment { name: Arc::clone(&self.name), variant: Arc::clone(variant), note };
        Some(decide_variant(route, version, reason))
    }

    /// Logs that the unit was here, and its exposure if it is new.
    fn note(&self, unit: &str, place: Place, is_new: bool, request: &Parts) {
        let at = now_ms();
        let exposure = is_new.then(|| self.exposure(unit, place, at));
        let mark = match place {
            Place::Variant(at, Chosen::Unit) => Mark::Variant(at as u8),
            _ => Mark::Aside,
        };
        let request = request.extensions.get::<RequestId>().map_or("-", RequestId::as_str);
        let request = RequestUnit {
            request: request.to_owned(),
            experiment: self.record.id.clone(),
            unit: unit.to_owned(),
            at,
        };
        if is_new {
            if self.seen.is_full() && self.spec.bandit == Bandit::Off {
                self.seen.clear();
            }
            self.seen.insert(unit, mark);
        }
        if !self.log.note(Entry { request, exposure }) {
            self.metrics.dropped();
            if is_new {
                self.seen.remove(unit);
            }
        }
    }

    fn exposure(&self, unit: &str, place: Place, at: u64) -> Exposure {
        let (variant, share) = match place {
            Place::Variant(at, Chosen::Unit) => (self.variants[at].to_string(), self.shares[at]),
            Place::Variant(at, _) => (format!("{FORCED}{}", self.variants[at]), 1.0),
            Place::Holdout | Place::Outside => (HOLDOUT.to_owned(), self.spec.holdout.share()),
        };
        let (experiment, epoch) = (self.record.id.clone(), self.record.epoch);
        Exposure { experiment, unit: unit.to_owned(), variant, share, epoch, at }
    }
}

fn note_of(chosen: Chosen) -> &'static str {
    match chosen {
        Chosen::Unit => "",
        Chosen::Request => "unit=request",
        Chosen::Override => "override",
        Chosen::Forced => "forced",
    }
}

fn intervals(record: &Experiment, spec: &ExperimentSpec) -> Result<Intervals, String> {
    let intervals = match &record.shares {
        None => Intervals::new(&spec.points()),
        Some(shares) => {
            let shares: Shares =
                serde_json::from_value(shares.clone()).map_err(|e| format!("its shares: {e}"))?;
            Intervals::from_segments(&shares.segments, spec.variants.len())
        }
    };
    intervals.map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests;
