//! A loaded model, shared by all workers.

use std::sync::Arc;
use std::time::Instant;

use weighbridge_config::{Signature, Tensor};

use crate::cost::{self, Cost};
use crate::error::{Error, ErrorKind};
use crate::guard::guarded;
use crate::load::{self, Loaded};
use crate::run::Run;
use crate::{inspect, support};

/// What the operator's settings say about a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadOptions {
    /// The largest batch that is measured, in rows.
    pub max_batch_rows: usize,
    /// Bytes of weights that plans beside the first one may hold: each holds a copy.
    pub extra_plan_bytes: u64,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self { max_batch_rows: 32, extra_plan_bytes: 128 << 20 }
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
    /// operators at once, [`ErrorKind::Signature`], [`ErrorKind::Load`], [`ErrorKind::Panicked`].
    /// It never panics itself.
    pub fn load(onnx: &[u8], options: &LoadOptions) -> Result<Self, Error> {
        guarded("loading the model", || Self::load_unguarded(onnx, options))
    }

    fn load_unguarded(onnx: &[u8], options: &LoadOptions) -> Result<Self, Error> {
        let start = Instant::now();
        let (proto, inspection) = inspect::read(onnx)?;
        if inspection.external_data {
            let message = "loading the model: its weights lie in files of their own: save it as \
                           one file with onnx.save(onnx.load(path), path, save_as_external_data=False)";
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        support::refuse(&inspection.missing)?;
        let Loaded { built, notes } = load::load(&proto, options)?;
        let operators = support::census(&proto);
        drop(proto);
        let cost = cost::measure(&*built.plan, &built.signature, options.max_batch_rows);
        let default_domain = |(domain, _): &&(String, i64)| support::domain(domain).is_empty();
        let report = LoadReport {
            load_ms: start.elapsed().as_secs_f64() * 1e3,
            optimise_ms: built.optimise_ms,
            operators,
            opset: inspection.opset_imports.iter().find(default_domain).map_or(0, |(_, v)| *v),
            producer: inspection.producer,
            notes,
        };
        tracing::debug!(
            load_ms = report.load_ms,
            batchable = built.signature.batchable,
            base_us = cost.base_us,
            per_row_us = cost.per_row_us,
            "model loaded"
        );
        Ok(Self { plan: built.plan, signature: built.signature, cost, report })
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
