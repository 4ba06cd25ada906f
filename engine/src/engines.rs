//! Two engines, and which of them serves a model.
//!
//! tract is built in. ONNX Runtime is a library that an operator may name: it knows more
//! operators and is faster on some models. `auto` tries both, once, where a version is checked:
//!
//! 1. What only one of them loads is served by that one.
//! 2. Where their answers to made-up rows differ, ONNX Runtime serves: what it does is what
//!    exporters test against.
//! 3. Else tract serves, when it takes at most [`race::SLOWER`] times ONNX Runtime's time for one
//!    row and for a full batch.
//!
//! The decision is stored with the version, so that each later load names its engine.

mod compare;
mod memory;
mod race;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use tract_onnx::pb::ModelProto;
use weighbridge_config::{EngineChoice, EngineName, Signature};

use crate::cost::{self, Cost};
use crate::error::{Error, ErrorKind};
use crate::load::{self, Loaded};
use crate::model::LoadOptions;
use crate::run::Run;
use crate::support;

/// Which engine serves a model, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct EngineDecision {
    pub engine: EngineName,
    /// A clause that follows the engine's name and a colon.
    pub reason: String,
    /// The times of both, where both were measured.
    pub timings: Vec<EngineTiming>,
}

/// How long a run of so many rows takes in both engines: medians of interleaved runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EngineTiming {
    pub rows: usize,
    pub tract_us: f64,
    pub onnxruntime_us: f64,
}

impl EngineTiming {
    /// The microseconds of one of them.
    pub fn of(&self, engine: EngineName) -> f64 {
        match engine {
            EngineName::Tract => self.tract_us,
            EngineName::OnnxRuntime => self.onnxruntime_us,
        }
    }
}

/// A model that an engine has ready to serve.
#[derive(Debug)]
pub(crate) struct Ready {
    pub plan: Arc<dyn Run>,
    pub signature: Signature,
    pub cost: Cost,
    pub optimise_ms: f64,
    pub notes: Vec<String>,
    /// By how much the resident memory of the process grew, in bytes.
    pub memory: u64,
}

/// What the engines load from.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    #[cfg_attr(not(feature = "onnxruntime"), expect(dead_code, reason = "for that engine"))]
    pub onnx: &'a [u8],
    pub proto: &'a ModelProto,
    pub missing: &'a [support::MissingOperator],
}

/// Loads with the engine that the options name, or chooses one.
///
/// # Errors
/// That of the engine; of both, when neither loads it.
pub(crate) fn load(
    source: Source<'_>,
    options: &LoadOptions,
) -> Result<(Ready, EngineDecision), Error> {
    let asked = |engine, ready| {
        let reason = "it was asked for".to_owned();
        (ready, EngineDecision { engine, reason, timings: Vec::new() })
    };
    match options.engine {
        EngineChoice::Tract => Ok(asked(EngineName::Tract, tract(source, options)?)),
        EngineChoice::OnnxRuntime => {
            Ok(asked(EngineName::OnnxRuntime, onnxruntime(source, options)?))
        }
        EngineChoice::Auto => auto(source, options),
    }
}

fn auto(source: Source<'_>, options: &LoadOptions) -> Result<(Ready, EngineDecision), Error> {
    let decided = |engine, reason: String| EngineDecision { engine, reason, timings: Vec::new() };
    let usable = match &options.onnxruntime {
        None => Err("ONNX Runtime is not configured".to_owned()),
        Some(path) => open(path).map_err(|error| format!("ONNX Runtime is not used: {error}")),
    };
    if let Err(reason) = usable {
        return Ok((tract(source, options)?, decided(EngineName::Tract, reason)));
    }
    match (tract(source, options), onnxruntime(source, options)) {
        (Ok(ready), Err(error)) => {
            let reason = format!("ONNX Runtime does not load it: {error}");
            Ok((ready, decided(EngineName::Tract, reason)))
        }
        (Err(error), Ok(ready)) => {
            let reason = format!("tract does not load it: {error}");
            Ok((ready, decided(EngineName::OnnxRuntime, reason)))
        }
        (Err(tract), Err(other)) => {
            Err(Error::new(tract.kind(), format!("{tract}; with ONNX Runtime: {other}")))
        }
        (Ok(tract), Ok(other)) => {
            let decision = choose(&tract, &other);
            let chosen = match decision.engine {
                EngineName::Tract => tract,
                EngineName::OnnxRuntime => other,
            };
            Ok((chosen, decision))
        }
    }
}

/// The better one of two that both load.
fn choose(tract: &Ready, other: &Ready) -> EngineDecision {
    let decided = |engine, reason| EngineDecision { engine, reason, timings: Vec::new() };
    match compare::compare(tract, other) {
        compare::Found::Different(how) => {
            let reason = format!("tract's answers differ from ONNX Runtime's: {how}");
            return decided(EngineName::OnnxRuntime, reason);
        }
        compare::Found::Nothing(why) => {
            let reason = format!("its answers could not be compared with ONNX Runtime's: {why}");
            return decided(EngineName::Tract, reason);
        }
        compare::Found::Alike => {}
    }
    let timings = race::race(tract, other);
    let (engine, reason) = race::verdict(&timings);
    EngineDecision { engine, reason, timings }
}

fn tract(source: Source<'_>, options: &LoadOptions) -> Result<Ready, Error> {
    ready(options, || {
        support::refuse(source.missing)?;
        load::load(source.proto, options)
    })
}

fn onnxruntime(source: Source<'_>, options: &LoadOptions) -> Result<Ready, Error> {
    let unset = || {
        let message = "loading the model: its engine is onnxruntime, and no library is configured \
                       (engine.onnxruntime_library)";
        Error::new(ErrorKind::Engine, message)
    };
    let path = options.onnxruntime.as_deref().ok_or_else(unset)?;
    // The library stays; it is not what the model takes.
    open(path)?;
    ready(options, || load_onnxruntime(path, source, options))
}

#[cfg(feature = "onnxruntime")]
fn open(path: &Path) -> Result<(), Error> {
    crate::onnxruntime::open(path)
}

#[cfg(feature = "onnxruntime")]
fn load_onnxruntime(
    path: &Path,
    source: Source<'_>,
    options: &LoadOptions,
) -> Result<Loaded, Error> {
    crate::onnxruntime::load(path, source.onnx, source.proto, options.workers)
}

#[cfg(not(feature = "onnxruntime"))]
fn open(path: &Path) -> Result<(), Error> {
    let message = format!(
        "opening ONNX Runtime at {} (engine.onnxruntime_library): this program was built without \
         that engine (cargo feature onnxruntime)",
        path.display()
    );
    Err(Error::new(ErrorKind::Engine, message))
}

#[cfg(not(feature = "onnxruntime"))]
fn load_onnxruntime(path: &Path, _: Source<'_>, _: &LoadOptions) -> Result<Loaded, Error> {
    open(path).and_then(|()| Err(Error::new(ErrorKind::Engine, "loading the model: no engine")))
}

/// Loads and measures.
fn ready(
    options: &LoadOptions,
    load: impl FnOnce() -> Result<Loaded, Error>,
) -> Result<Ready, Error> {
    let before = memory::resident_bytes();
    let Loaded { built, notes } = load()?;
    let cost = cost::measure(&*built.plan, &built.signature, options.max_batch_rows);
    let memory = memory::resident_bytes().saturating_sub(before);
    let load::Built { plan, signature, optimise_ms, .. } = built;
    Ok(Ready { plan, signature, cost, optimise_ms, notes, memory })
}
