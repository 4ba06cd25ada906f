//! An ONNX file becomes a loaded model that answers batches of tensors.
//!
//! This is the only crate that names the runtimes: tract, and ONNX Runtime where an operator has
//! installed it ([`EngineDecision`] says which one serves). Its three promises:
//!
//! 1. **Nothing is refused silently and nothing is answered wrongly.** Before anything is built,
//!    every operator is looked up ([`inspect`]); those that are missing, or that the runtime is
//!    known to compute wrongly, are listed all at once with what to do. Tree ensembles and the
//!    other `ai.onnx.ml` operators are our own (module `ops`), because the runtime's are wrong or
//!    missing.
//! 2. **Rows of different callers never mix.** A model is batchable only when axis 0 of each
//!    output is exactly the number of rows, the number of rows appears nowhere else, and two
//!    probe rows give the same answers together as alone. Output rows are counted at each run.
//! 3. **Model code may panic; the caller may not.** Loading and running catch panics.
//!
//! The way of a model: [`inspect`] (the file decoded, and rewritten into what the runtime reads
//! rightly) → `engines` (which one) → `load` (candidates for the batch axis, tried in order) →
//! `warm_up` (first runs, independence of rows, cost) → [`LoadedModel`], shared by all workers.

mod cost;
mod engines;
mod error;
mod exchange;
mod external;
mod guard;
mod inspect;
mod load;
mod model;
#[cfg(feature = "onnxruntime")]
mod onnxruntime;
mod ops;
mod probe;
mod rewrite;
mod run;
mod support;
#[doc(hidden)]
pub mod trees;
mod warm_up;

pub use cost::Cost;
pub use engines::{EngineDecision, EngineTiming};
pub use error::{Error, ErrorKind};
pub use external::{ExternalFiles, is_external_name};
pub use inspect::{Inspection, inspect};
pub use model::{LoadOptions, LoadReport, LoadedModel};
pub use probe::probe_inputs;
pub use support::MissingOperator;
