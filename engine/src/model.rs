//! A loaded model, shared by all workers.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use weighbridge_config::{EngineChoice, Signature, Tensor};

use crate::cost::Cost;
use crate::engines::{self, EngineDecision, Ready, Source};
use crate::error::{Error, ErrorKind};
use crate::external::{self, ExternalFiles};
use crate::guard::guarded;
use crate::run::Run;
use crate::{inspect, support};

/// What the operator's settings say about a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadOptions {
    /// The largest batch that is measured, in rows.
    pub max_batch_rows: usize,
    /// Bytes of weights that plans beside the first one may hold: each holds a copy.
    pub extra_plan_bytes: u64,
    /// The engine; `Auto` tries both where there are two.
    pub engine: EngineChoice,
    /// The library of ONNX Runtime, when there is one.
    pub onnxruntime: Option<PathBuf>,
    /// Threads that may run the model at the same time.
    pub workers: usize,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            max_batch_rows: 32,
            extra_plan_bytes: 128 << 20,
            engine: EngineChoice::Auto,
            onnxruntime: None,
            workers: 1,
        }
    }
}

/// What loading found and took.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadReport {
    /// All of loading, warm-up and measuring included, in milliseconds.
    pub load_ms: f64,
    /// The optimiser's part of it, in milliseconds.
    pub optimise_ms: f64,
    /// Domain ("" is the default one), operator, number of nodes.
    pub operators: Vec<(String, String, usize)>,
    /// Version of the default operator set; 0 when the model imports other domains only.
    pub opset: i64,
    /// Exporter and its version, "" when the file does not say.
    pub producer: String,
    /// Which engine serves, and why.
    pub decision: EngineDecision,
    /// By how much the resident memory of the process grew while the engine that serves built
    /// and measured the model, in bytes. It means something in a process that does nothing else.
    pub memory_bytes: u64,
    /// Remarks for the operator: why it is not batched, what was tried in vain.
    pub notes: Vec<String>,
}

/// A model that answers batches. `Send + Sync`: one plan serves all threads.
#[derive(Debug)]
pub struct LoadedModel {
    plan: Arc<dyn Run>,
    signature: Signature,
    cost: Cost,
    report: LoadReport,
}

impl LoadedModel {
    /// Parses, checks the operators, optimises, warms up and measures. Heavy on the CPU: call it
    /// on a thread for loading, never on one that answers requests.
    ///
    /// # Errors
    /// [`ErrorKind::NotOnnx`], [`ErrorKind::TooLarge`], [`ErrorKind::Unsupported`] with all
    /// operators at once, [`ErrorKind::Signature`], [`ErrorKind::Load`], [`ErrorKind::Engine`],
    /// [`ErrorKind::Panicked`].
    /// It never panics itself.
    pub fn load(onnx: &[u8], options: &LoadOptions) -> Result<Self, Error> {
        Self::load_with_files(onnx, &ExternalFiles::new(), options)
    }

    /// Like [`LoadedModel::load`], for a model whose weights lie in files of their own:
    /// [`crate::Inspection::external_files`] says which. Files that it does not name are ignored.
    ///
    /// # Errors
    /// Those of [`LoadedModel::load`]; a file that is missing is [`ErrorKind::Unsupported`], a
    /// weight that does not fit its file [`ErrorKind::Load`].
    pub fn load_with_files(
        onnx: &[u8],
        files: &ExternalFiles<'_>,
        options: &LoadOptions,
    ) -> Result<Self, Error> {
        guarded("loading the model", || Self::load_unguarded(onnx, files, options))
    }

    fn load_unguarded(
        onnx: &[u8],
        files: &ExternalFiles<'_>,
        options: &LoadOptions,
    ) -> Result<Self, Error> {
        let start = Instant::now();
        let (mut proto, inspection) = inspect::read(onnx)?;
        external::resolve(&mut proto, files)?;
        // The other engine reads the file itself, and finds no files beside it.
        let is_for_both = options.onnxruntime.is_some() && options.engine != EngineChoice::Tract;
        let whole = (is_for_both && inspection.external_data)
            .then(|| inspect::with_weights(onnx, files))
            .transpose()?;
        let onnx = whole.as_deref().unwrap_or(onnx);
        let source = Source { onnx, proto: &proto, missing: &inspection.missing };
        let (ready, decision) = engines::load(source, options)?;
        let operators = support::census(&proto);
        drop(proto);
        let Ready { plan, signature, cost, optimise_ms, notes, memory } = ready;
        let default_domain = |(domain, _): &&(String, i64)| support::domain(domain).is_empty();
        let report = LoadReport {
            load_ms: start.elapsed().as_secs_f64() * 1e3,
            optimise_ms,
            operators,
            opset: inspection.opset_imports.iter().find(default_domain).map_or(0, |(_, v)| *v),
            producer: inspection.producer,
            decision,
            memory_bytes: memory,
            notes,
        };
        tracing::debug!(
            load_ms = report.load_ms,
            engine = report.decision.engine.word(),
            batchable = signature.batchable,
            base_us = cost.base_us,
            per_row_us = cost.per_row_us,
            "model loaded"
        );
        Ok(Self { plan, signature, cost, report })
    }

    /// Inputs and outputs with the file's names, in the file's order.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// What a run costs, measured at load.
    pub fn cost(&self) -> Cost {
        self.cost
    }

    /// What loading found and took.
    pub fn load_report(&self) -> &LoadReport {
        &self.report
    }

    /// Runs one batch. `parts[i]` holds all inputs of request `i` in signature order, each with
    /// the same number of rows; the answer holds, per request, its outputs in signature order.
    ///
    /// # Errors
    /// [`ErrorKind::Run`] for inputs that do not fit and for failures of the run,
    /// [`ErrorKind::OutputRows`] when an output has not one row per row put in,
    /// [`ErrorKind::Panicked`]. After an error the model goes on serving other batches.
    pub fn run(&self, parts: &[&[Tensor]]) -> Result<Vec<Vec<Tensor>>, Error> {
        if parts.is_empty() {
            return Ok(vec![]);
        }
        if !self.signature.batchable && parts.len() != 1 {
            let message =
                format!("running the model: it takes one request per run, {} came", parts.len());
            return Err(Error::new(ErrorKind::Run, message));
        }
        self.check_rows(parts)?;
        self.plan.run(&self.signature, parts)
    }

    /// Each request brings all inputs and, for a batchable model, as many rows in each.
    fn check_rows(&self, parts: &[&[Tensor]]) -> Result<(), Error> {
        let wanted = self.signature.inputs.len();
        let refused =
            |detail: String| Error::new(ErrorKind::Run, format!("running the model: {detail}"));
        for part in parts {
            if part.len() != wanted {
                return Err(refused(format!(
                    "a request has {} inputs, the model {wanted}",
                    part.len()
                )));
            }
            let unequal =
                part.iter().zip(&self.signature.inputs).find(|(t, _)| t.rows() != part[0].rows());
            if let (true, Some((tensor, spec))) = (self.signature.batchable, unequal) {
                return Err(refused(format!(
                    "input \"{}\" has {} rows, input \"{}\" {}",
                    spec.name,
                    tensor.rows(),
                    self.signature.inputs[0].name,
                    part[0].rows()
                )));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loaded_model_is_shared_between_threads() {
        fn shared<T: Send + Sync + 'static>() {}
        shared::<LoadedModel>();
        shared::<Error>();
    }
}
